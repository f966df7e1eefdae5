"""Traffic control: as values, and in the words of `tc`, on an `eth1` with several queues."""

from collections.abc import Mapping
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.aspects.traffic_control import (
    EGRESS_FILTERS,
    INGRESS_FILTERS,
    TC_H_INGRESS,
    TrafficControl,
)
from amdcni.core.host import TC_H_ROOT, Chain, Filter, Qdisc, Redirection, TrafficClass
from amdcni.testing.strategies.names import ifnames

_majors = st.integers(1, 0xFFF).map(lambda major: major << 16)
_places = st.builds(int.__or__, _majors, st.integers(0, 0xFFFF))
_numbers = st.integers(0, 2**32 - 1)
_options = st.binary(max_size=8).map(bytes.hex)

qdiscs: SearchStrategy[Qdisc] = st.builds(
    Qdisc,
    st.sampled_from(["pfifo", "tbf", "fq_codel"]),
    _majors,
    _options,
    size_table=_options,
)
"""Root qdiscs."""

inner_qdiscs: SearchStrategy[Qdisc] = st.builds(
    Qdisc, st.sampled_from(["pfifo", "htb"]), _majors, _options, parent=_places
) | st.builds(
    Qdisc,
    st.just("clsact"),
    st.just(0xFFFF0000),
    parent=st.just(TC_H_INGRESS),
    ingress_block=st.none() | st.integers(1, 9),
    egress_block=st.none() | st.integers(1, 9),
)
"""Qdiscs in classes of others, and those for what comes in."""

traffic_classes: SearchStrategy[TrafficClass] = st.builds(
    TrafficClass, st.sampled_from(["htb", "hfsc"]), _places, st.just(TC_H_ROOT) | _places, _options
)
"""Classes of qdiscs."""

_of_filters = st.sampled_from([INGRESS_FILTERS, EGRESS_FILTERS]) | _places

chains: SearchStrategy[Chain] = st.builds(
    Chain, _of_filters, _numbers, st.none() | st.just("flower"), _options, shared=st.booleans()
)
"""Chains of filters, some with a template."""

filters: SearchStrategy[Filter] = st.builds(
    Filter,
    st.sampled_from(["u32", "bpf", "matchall", "flower"]),
    _of_filters,
    st.integers(1, 0xFFFF),
    st.integers(0, 0xFFFE),
    st.integers(1, 2**32 - 1),
    chain=_numbers,
    options=st.binary(min_size=1, max_size=8).map(bytes.hex),
    targets=st.lists(ifnames, max_size=2).map(tuple),
    shared=st.booleans(),
)
"""Filters, some with actions that send to netdevs."""


redirections: SearchStrategy[Redirection] = st.builds(
    Redirection, _numbers, st.integers(0, 2**31), _options
)
"""Actions that send to a netdev."""


@st.composite
def traffic_controls(draw: st.DrawFn) -> TrafficControl:
    """All of the traffic control of a netdev, in any order, each item in another one."""
    root = draw(qdiscs)
    handles, classes = {root.handle}, []
    inner: list[Qdisc] = []
    for minor in range(1, draw(st.integers(1, 8))):
        parent = draw(st.sampled_from(sorted(handles)))
        if draw(st.booleans()):
            number = parent & 0xFFFF0000 | minor
            place = parent if parent & 0xFFFF else TC_H_ROOT
            classes.append(TrafficClass("htb", number, place))
            handles.add(number)
        else:
            number = draw(_majors.filter(lambda major: major not in handles))
            inner.append(Qdisc("htb", number, parent=parent))
            handles.add(number)
    return TrafficControl(
        qdisc=root,
        qdiscs=tuple(draw(st.permutations(inner))),
        classes=tuple(draw(st.permutations(classes))),
        chains=tuple(draw(st.lists(chains, max_size=2))),
        filters=tuple(draw(st.lists(filters, max_size=3))),
    )


_HTB: Final = (
    "qdisc add dev eth1 root handle 1: htb default 0x20 r2q 100",
    "class add dev eth1 parent 1: classid 1:1 htb rate 100mbit ceil 200mbit",
    "class add dev eth1 parent 1:1 classid 1:10 htb rate 30mbit ceil 100mbit burst 20k prio 1",
    "class add dev eth1 parent 1:1 classid 1:20 htb rate 7000001bit quantum 3000",
    "class add dev eth1 parent 1:20 classid 1:21 htb rate 20gbit ceil 40gbit",
)
_U32: Final = "prio 5 protocol ip u32"

BUILT_IN_TRAFFIC: Final[Mapping[str, tuple[str, ...]]] = {
    "classes with qdiscs and filters": (
        *_HTB,
        "qdisc add dev eth1 parent 1:10 handle 20: pfifo limit 7",
        "qdisc add dev eth1 parent 1:21 handle 30: htb default 1",
        "class add dev eth1 parent 30: classid 30:1 htb rate 1mbit",
        "qdisc add dev eth1 parent 30:1 handle 40: tbf rate 1mbit burst 10kb latency 50ms",
        "qdisc add dev eth1 parent 40:1 handle 50: bfifo limit 9000",
        f"filter add dev eth1 parent 1: {_U32} match ip dport 22 0xffff flowid 1:10",
        f"filter add dev eth1 parent 1: {_U32} match ip sport 22 0xffff flowid 1:10",
        "filter add dev eth1 parent 1: prio 9 protocol ipv6 u32 match u32 0 0 flowid 1:21",
        f"filter add dev eth1 parent 1:1 {_U32} match ip dsfield 4 0xff flowid 1:20",
    ),
    "hash tables of u32": (
        "qdisc add dev eth1 root handle 1: htb",
        "class add dev eth1 parent 1: classid 1:1 htb rate 1mbit",
        f"filter add dev eth1 parent 1: {_U32} divisor 1",
        f"filter add dev eth1 parent 1: handle 7: {_U32} divisor 16",
        f"filter add dev eth1 parent 1: handle 9: {_U32} divisor 256",
        f"filter add dev eth1 parent 1: {_U32} ht 7:3: match ip dst 10.0.0.3 flowid 1:1",
        f"filter add dev eth1 parent 1: {_U32} ht 7:3: match ip dst 10.0.1.3 flowid 1:1",
        f"filter add dev eth1 parent 1: {_U32} ht 800: match ip dst 10.0.0.0/16"
        " hashkey mask 0xff at 16 link 7:",
    ),
    "tables of u32 whose numbers have gaps": (
        "qdisc add dev eth1 clsact",
        *(
            f"filter add dev eth1 {side} prio {priority} protocol all u32 match u32 {priority} 0xff"
            for priority in range(1, 9)
            for side in ("ingress", "egress")
        ),
        *(f"filter del dev eth1 ingress prio {priority}" for priority in (1, 2, 4, 5)),
        *(f"filter del dev eth1 egress prio {priority}" for priority in (1, 3, 4)),
    ),
    "the only table of u32 with a late number": (
        "qdisc add dev eth1 ingress",
        *(
            f"filter add dev eth1 ingress prio {priority} u32 match u32 0 0 indev lo"
            for priority in range(1, 5)
        ),
        *(f"filter del dev eth1 ingress prio {priority}" for priority in range(1, 4)),
    ),
    "actions that send to netdevs": (
        "qdisc add dev eth1 clsact",
        f"filter add dev eth1 ingress {_U32} match u32 0 0 action mirred egress mirror dev lo"
        " pipe action mirred egress redirect dev eth1",
        f"filter add dev eth1 egress {_U32} match u32 1 1 skip_hw action mirred ingress mirror"
        " dev lo",
    ),
    "chains": (
        "qdisc add dev eth1 clsact",
        "chain add dev eth1 ingress chain 5",
        f"filter add dev eth1 ingress chain 3 {_U32} match u32 2 3",
        f"filter add dev eth1 ingress chain 0 {_U32} match u32 1 3",
    ),
    "classic BPF": (
        "qdisc add dev eth1 clsact",
        "filter add dev eth1 ingress prio 3 bpf bytecode '1,6 0 0 1,' flowid 1:1",
        "filter add dev eth1 ingress prio 3 bpf bytecode '1,6 0 0 2,' flowid 1:2",
        "filter add dev eth1 ingress prio 3 bpf bytecode '1,6 0 0 3,' direct-action",
    ),
    "a block that is shared": (
        "qdisc add dev eth1 ingress_block 21 egress_block 22 clsact",
        f"filter add block 21 {_U32} match u32 0 0 action mirred egress redirect dev lo",
        f"filter add block 22 {_U32} match u32 7 7",
        "chain add block 22 chain 4",
    ),
    "a size table without sizes": (
        "qdisc add dev eth1 root handle 3: stab overhead 10 linklayer ethernet"
        " tbf rate 100mbit burst 32k latency 10ms",
    ),
    "queues": (
        "qdisc replace dev eth1 root handle 1: mq",
        "qdisc replace dev eth1 parent 1:1 handle 11: pfifo limit 4",
        "qdisc replace dev eth1 parent 1:2 handle 12: tbf rate 1mbit burst 10kb latency 50ms",
    ),
}
"""What many kernels have built in, by what it is about."""

_CLSACT: Final = "qdisc add dev eth1 clsact"
_IN: Final = "filter add dev eth1 ingress"


def _qdisc(words: str) -> tuple[str, ...]:
    return (f"qdisc add dev eth1 root handle 1: {words}",)


def _filter(*words: str) -> tuple[str, ...]:
    return (_CLSACT, *(f"{_IN} {each}" for each in words))


def _action(words: str) -> tuple[str, ...]:
    return _filter(f"prio 7 protocol ip matchall action {words}")


MODULAR_TRAFFIC: Final[Mapping[str, tuple[str, ...]]] = {
    **{
        f"qdisc {words.partition(' ')[0]}": _qdisc(words)
        for words in (
            "bfifo limit 12345",
            "cake bandwidth 100mbit besteffort rtt 33ms nat wash ack-filter overhead 18 mpu 64"
            " memlimit 3mb fwmark 0xff",
            "codel limit 777 target 3ms interval 77ms ecn ce_threshold 1ms",
            "drr",
            "ets bands 6 strict 2 quanta 3000 2000 1600 1500 priomap 0 1 2 3 4 5 5 5",
            "fq limit 777 flow_limit 33 quantum 3000 initial_quantum 9000 maxrate 77mbit buckets"
            " 64 refill_delay 20ms orphan_mask 511 ce_threshold 3ms timer_slack 7us horizon 3s"
            " horizon_cap",
            "fq_codel limit 777 flows 64 target 7ms interval 71ms quantum 999 noecn"
            " ce_threshold 5ms memory_limit 3mb drop_batch 33",
            "hfsc default 10",
            "htb default 10",
            "multiq",
            "netem limit 77 delay 17ms loss 3% 25% duplicate 1% reorder 5% gap 3 corrupt 2%"
            " rate 7mbit 20",
            "pfifo limit 77",
            "pfifo_head_drop limit 77",
            "prio bands 4 priomap 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3 0",
            "sfq limit 99 perturb 9 quantum 3000 depth 33 divisor 512 headdrop",
            "tbf rate 77mbit burst 64k peakrate 99mbit mtu 2000 limit 99999",
        )
    },
    "fq_codel as it comes": _qdisc("fq_codel"),
    "codel as it comes": _qdisc("codel"),
    "fq as it comes": _qdisc("fq"),
    "cake as it comes": _qdisc("cake"),
    "sfq as it comes": _qdisc("sfq"),
    "sfq with red": _qdisc("sfq limit 3000 redflowlimit 100000 min 8000 max 60000 probability 0.2"),
    "netem with loss of states": _qdisc(
        "netem loss gemodel 1% 10% 70% 0.1% slot 1ms 2ms packets 7"
    ),
    "mqprio": _qdisc("mqprio num_tc 2 map 0 1 0 1 1 1 1 1 1 1 1 1 1 1 1 1 queues 1@0 1@1 hw 0"),
    "mq with fq_codel and fq": (
        "qdisc replace dev eth1 root handle 1: mq",
        "qdisc replace dev eth1 parent 1:1 handle 11: fq_codel target 7ms",
        "qdisc replace dev eth1 parent 1:2 fq maxrate 77mbit",
    ),
    "prio with qdiscs and filters": (
        "qdisc add dev eth1 root handle 1: prio",
        "qdisc add dev eth1 parent 1:1 handle 10: sfq",
        "qdisc add dev eth1 parent 1:2 handle 20: netem delay 3ms",
        "qdisc add dev eth1 parent 20:1 handle 21: fq_codel",
        "filter add dev eth1 parent 1: prio 1 protocol ip handle 7 fw classid 1:1",
        "filter add dev eth1 parent 1: prio 2 protocol all matchall classid 1:2",
    ),
    "hfsc with classes": (
        "qdisc add dev eth1 root handle 1: hfsc default 20",
        "class add dev eth1 parent 1: classid 1:1 hfsc sc rate 100mbit ul rate 200mbit",
        "class add dev eth1 parent 1:1 classid 1:10 hfsc rt m1 7777777bit d 11ms m2 33mbit"
        " ls m2 1mbit",
        "class add dev eth1 parent 1:1 classid 1:20 hfsc ls rate 1000001bit",
        "qdisc add dev eth1 parent 1:10 handle 10: fq_codel",
    ),
    "drr with classes": (
        "qdisc add dev eth1 root handle 1: drr",
        "class add dev eth1 parent 1: classid 1:1 drr quantum 3000",
        "class add dev eth1 parent 1: classid 1:2 drr",
        "qdisc add dev eth1 parent 1:2 handle 20: pfifo limit 5",
        "filter add dev eth1 parent 1: prio 1 protocol all matchall classid 1:2",
    ),
    "htb with flower and fw": (
        "qdisc add dev eth1 root handle 1: htb default 10",
        "class add dev eth1 parent 1: classid 1:10 htb rate 1mbit",
        "filter add dev eth1 parent 1: prio 1 protocol ip handle 7 fw classid 1:10",
        "filter add dev eth1 parent 1: prio 1 protocol ip handle 0x107 fw classid 1:10",
        "filter add dev eth1 parent 1: prio 2 protocol ip flower dst_ip 10.0.0.0/8 classid 1:10",
    ),
    "flower": _filter(
        "prio 10 protocol ip flower src_ip 10.0.0.0/8 ip_proto tcp dst_port 80 tcp_flags 0x2/0x7"
        " ip_tos 4/0xff skip_hw action drop",
        "prio 10 protocol ip flower dst_ip 10.0.0.1 ip_proto udp src_port 5-7 action pass",
        "prio 11 protocol ipv6 flower src_ip fd00::/64 ip_flags nofrag classid 1:7",
        "prio 12 protocol 802.1q flower vlan_id 7 vlan_prio 3 dst_mac 02:00:00:00:00:01",
        "prio 17 protocol 802.1q flower vlan_id 7 vlan_ethtype ip dst_ip 10.0.0.1 action pass",
        "prio 13 protocol ip flower enc_key_id 7 enc_dst_ip 10.1.1.1 enc_dst_port 4789"
        " geneve_opts 0102:80:00880022/ffff:ff:ffffffff action drop",
        "prio 14 protocol arp flower arp_tip 10.0.0.0/24 arp_op request action drop",
        "prio 15 protocol ip flower indev lo ct_state +trk+est ct_zone 7 action goto chain 9",
        "prio 15 chain 9 protocol ip flower action drop",
    ),
    "flower with a template": (
        _CLSACT,
        "chain add dev eth1 ingress chain 3 protocol ip flower dst_ip 0.0.0.0/16",
        f"{_IN} chain 3 prio 3 protocol ip flower dst_ip 10.7.0.0/16 action drop",
    ),
    "matchall": _filter("prio 10 protocol all matchall skip_hw action pass"),
    "fw": _filter("prio 10 protocol ip handle 0x7/0xff fw classid 1:7 action drop"),
    "basic": _filter(
        "prio 10 protocol ip basic match 'cmp(u16 at 3 layer 2 mask 0xff00 gt 20) and"
        " not u32(u32 0x7 0xff at nexthdr+0)' classid 1:1",
        "prio 10 protocol ip basic match 'nbyte(\"ababa\" at 12 layer 1)' classid 1:2",
    ),
    "cgroup": _filter("prio 10 protocol ip handle 1: cgroup action drop"),
    "flow": _filter(
        "prio 10 protocol ip handle 1 flow hash keys src,dst divisor 1024 baseclass 1:1"
    ),
    "route": (
        "qdisc add dev eth1 root handle 1: prio",
        "filter add dev eth1 parent 1: prio 10 protocol ip route from 7 to 8 classid 1:1",
    ),
    "gact": _action("drop random netrand reclassify 7"),
    "connmark": _action("connmark zone 7"),
    "csum": _action("csum ip4h and udp continue"),
    "nat": _action("nat ingress 10.0.0.0/24 10.1.0.0"),
    "pedit": _action(
        "pedit ex munge eth dst set 02:00:00:00:00:09 munge ip ttl add 0xff munge tcp dport set 80"
    ),
    "plain pedit": _action("pedit munge offset 0 u8 set 0x7 retain 0xf"),
    "police": _action(
        "police rate 77mbit burst 33k mtu 2000 peakrate 99mbit conform-exceed drop/pipe"
    ),
    "police by packets": _action("police pkts_rate 777 pkts_burst 33 conform-exceed drop"),
    "simple": _action('simple sdata "seven"'),
    "skbedit": _action("skbedit priority 1:7 mark 7/0xff queue_mapping 1 ptype host"),
    "tunnel_key": _action(
        "tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 7 dst_port 4789 nocsum tos 4 ttl 7"
        " geneve_opts 0102:80:00880022 pipe action mirred egress redirect dev lo"
    ),
    "tunnel_key unset": _action("tunnel_key unset"),
    "vlan": _action(
        "vlan push id 7 priority 3 protocol 802.1ad pipe action vlan pop pipe"
        " action vlan modify id 9 pipe action drop cookie 0abc hw_stats disabled"
    ),
    "all at once": (
        "qdisc add dev eth1 root handle 1: prio bands 5",
        "qdisc add dev eth1 parent 1:3 handle 30: htb default 1",
        "class add dev eth1 parent 30: classid 30:1 htb rate 77mbit",
        "qdisc add dev eth1 parent 30:1 handle 31: fq_codel",
        "filter add dev eth1 parent 30: prio 3 protocol ip flower ip_proto tcp classid 30:1",
        _CLSACT,
        "filter add dev eth1 egress prio 1 protocol all matchall action skbedit mark 7 pipe"
        " action police rate 1mbit burst 10k conform-exceed drop/pipe",
        "filter add dev eth1 egress prio 2 protocol ip u32 match u32 0 0 action drop",
        f"{_IN} prio 1 protocol ip flower dst_ip 10.7.0.0/16 action vlan pop pipe"
        " action mirred egress redirect dev lo",
        f"{_IN} prio 2 protocol ip u32 match u32 0 0 action drop",
    ),
}
"""What most kernels have in modules, by what it is about."""

UNSAVED_TRAFFIC: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "red": (
        _qdisc("red limit 400000 min 30000 max 90000 avpkt 1000 burst 55 bandwidth 10mbit"),
        "the qdisc red",
    ),
    "choke": (_qdisc("choke limit 1000 bandwidth 10mbit min 90 max 300"), "the qdisc choke"),
    "pie": (_qdisc("pie target 15ms"), "the qdisc pie"),
    "varying delay": (
        _qdisc("netem delay 10ms 3ms distribution normal"),
        "the qdisc netem (a delay that varies: how it is distributed cannot be read)",
    ),
    "inside of red": (
        (
            *_qdisc("red limit 400000 min 30000 max 90000 avpkt 1000 burst 55 bandwidth 10mbit"),
            "qdisc add dev eth1 parent 1:1 handle 10: pfifo",
        ),
        "the qdiscs red, pfifo 10: in class 1:1",
    ),
    "size table": (
        ("qdisc add dev eth1 root handle 1: stab linklayer atm overhead 10 pfifo limit 7",),
        "the size table of the qdisc pfifo",
    ),
    "estimator": (
        ("qdisc add dev eth1 root handle 1: estimator 1sec 8sec pfifo limit 7",),
        "the rate estimator of the qdisc pfifo",
    ),
    "filters that cannot be dumped": (
        (
            "qdisc add dev eth1 root handle 1: prio",
            "filter add dev eth1 parent 1: prio 1 protocol ip fw",
        ),
        "filters, if there are any: they cannot be read (Message too long)",
    ),
    "two VLANs": (
        _filter("prio 1 protocol 802.1ad flower vlan_id 7 vlan_ethtype 802.1q cvlan_id 8"),
        "the filter flower (priority 1, chain 0) of clsact ingress (attribute 77)",
    ),
    "a shared action": (
        (
            "actions add action drop index 7",
            _CLSACT,
            f"{_IN} prio 1 protocol ip matchall action gact index 7",
        ),
        "the filter matchall (priority 1, chain 0) of clsact ingress"
        " (the action gact, which is shared)",
    ),
    "sample": (
        _action("sample rate 7 group 5"),
        "the filter matchall (priority 7, chain 0) of clsact ingress (the action sample)",
    ),
}
"""What cannot be put back, and what is said about it."""
