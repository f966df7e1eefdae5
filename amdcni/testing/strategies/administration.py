"""What administrators configure on a NIC that has addresses: much of it depends on these."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from attrs import frozen
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.testing.namespaces import CommandFailed, Namespace
from amdcni.testing.strategies.traffic import BUILT_IN_TRAFFIC

ROUTE_COMMANDS: Final = (
    "route add 192.0.2.0/24 via 10.0.0.1 dev eth1",
    "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 table 1000 metric 50 proto static",
    "route add 192.0.2.0/24 dev eth1 scope link tos 0x10",
    "route add 192.0.2.0/24 via 172.16.0.1 dev eth1 onlink",
    "route add 192.0.2.0/24 via inet6 fd00::9 dev eth1",
    "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 mtu lock 1400 advmss 1300 initcwnd 20 rto_min 50",
    "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 congctl cubic quickack 1 realm 7",
    "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 src 10.0.0.0",
    "route add default via 10.0.0.1 dev eth1 table 100",
    "route add local 192.0.2.7 dev eth1 table 100",
    "route add 10.0.0.0/31 dev eth1 proto kernel scope link src 10.0.0.0 metric 100",
    "-6 route add 2001:db8::/64 via fd00::9 dev eth1 metric 77 pref high",
    "-6 route add 2001:db8::/64 via fe80::1 dev eth1 table 1000 mtu lock 1400",
    "-6 route add 2001:db8::/64 dev eth1 src fd00::8 proto static",
    "-6 route add 2001:db8:1::/48 via fe80::1 dev eth1 metric 1024 expires 3000",
    "-6 route add 2001:db8::/64 from fd00::/64 via fd00::9 dev eth1",
    "route add 192.0.2.0/24 encap ip id 7 dst 10.0.0.5 ttl 9 via 10.0.0.1 dev eth1",
    "-6 route add 2001:db8::/64 encap ip6 id 7 dst fd00::5 hoplimit 9 via fd00::9 dev eth1",
    "-6 route add 2001:db8::/64 encap seg6 mode encap segs fd00::5,fd00::6 via fd00::9 dev eth1",
    "-6 route add 2001:db8::/64 encap seg6local action End.X nh6 fd00::9 count dev eth1",
    "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 fastopen_no_cookie 1",
)
"""Routes of every table through `eth1`, which is up with 10.0.0.0/31 and fd00::8/64."""

NEIGHBOUR_COMMANDS: Final = (
    "neighbour add 10.0.0.1 lladdr 02:00:00:00:00:77 dev eth1",
    "neighbour add fd00::9 lladdr 02:00:00:00:00:77 dev eth1 router",
    "neighbour add proxy 10.0.0.77 dev eth1 protocol 186",
    "-6 neighbour add proxy fd00::77 dev eth1",
    "neighbour add 10.0.0.78 dev eth1 managed",
    "neighbour add 10.0.0.79 lladdr 02:00:00:00:00:79 dev eth1 nud stale extern_learn",
    "neighbour add 10.0.0.80 lladdr 02:00:00:00:00:80 dev eth1 nud noarp",
    "-6 neighbour add fd00::81 lladdr 02:00:00:00:00:81 dev eth1 nud noarp router",
)
"""Permanent, managed, learnt and proxy neighbours on `eth1`."""

NEXTHOP_COMMANDS: Final = (
    "nexthop add id 1 via 10.0.0.1 dev eth1 protocol static",
    "nexthop add id 2 via fd00::9 dev eth1",
    "nexthop add id 3 dev eth1",
    "nexthop add id 4 via 172.16.0.1 dev eth1 onlink",
    "nexthop add id 5 via 10.0.0.1 dev eth1 encap ip id 7 dst 10.0.0.5",
)
"""Nexthop objects through `eth1`."""

NEXTHOP_USERS: Final = (
    "nexthop add id 11 group 1,3/3,255",
    "nexthop add id 12 group 4/1 type resilient buckets 8 idle_timer 60 unbalanced_timer 300",
    "nexthop add id 13 group 2",
    "route add 198.51.100.0/24 nhid 11 metric 9",
    "route add 198.51.100.0/24 nhid 12",
    "route add 198.51.101.0/24 nhid 1 src 10.0.0.0",
    "-6 route add 2001:db8:9::/64 nhid 13",
)
"""Groups of these, and routes by one or the other."""

RULE_COMMANDS: Final = (
    "rule add priority 1010 from 10.0.0.0 table 1000",
    "rule add priority 1011 iif eth1 fwmark 7/15 ipproto tcp dport 443 prohibit",
    "rule add priority 1012 oif rail0 suppress_prefixlength 0 table main",
    "-6 rule add priority 1010 not from fd00::/64 table 1000 protocol 186",
)
"""Policy rules of `eth1`, one of them by an alternative name that it may have."""

IP_COMMANDS: Final = (
    *ROUTE_COMMANDS,
    *NEXTHOP_COMMANDS,
    *NEIGHBOUR_COMMANDS,
    "-6 address add fe80::77/64 dev eth1 nodad",
    "maddress add 01:00:5e:00:00:99 dev eth1",
    "link set eth1 group 7",
    "link set eth1 promisc on",
    "link set eth1 allmulticast on",
    "link set eth1 arp off",
    "link set eth1 multicast off",
    "link set eth1 mtu 1400",
    "link set eth1 txqueuelen 77",
    "link set eth1 gso_max_size 32000",
    "link set eth1 gso_max_segs 100",
    "link set eth1 gro_max_size 60000",
    "link property add dev eth1 altname fabric-rail-0-of-a-long-name altname rail0",
    "link set eth1 addrgenmode none",
    "token set ::5 dev eth1",
    *RULE_COMMANDS,
)
"""Everything that `ip` sets on such an `eth1`, one thing per command."""

_ADVERTISED: Final = (
    "-6 address add 2001:db8:5::5/64 dev eth1 valid_lft 3000 preferred_lft 2000 {flags} nodad",
    "-6 route add 2001:db8:5::/64 dev eth1 proto ra metric {metric} expires 3000",
    "-6 route add 2001:db8:6::/48 via fe80::1 dev eth1 proto ra metric {metric} expires 1700",
    "-6 route add 2001:db8:7::/48 via fe80::1 dev eth1 proto ra metric {metric}",
)
_DEAF: Final = {"ipv6/conf/eth1/accept_ra": 0}


@frozen
class Management:
    """What a network manager does to a NIC: sysctls, then commands of `ip`."""

    sysctls: Mapping[str, int]
    commands: tuple[str, ...]


MANAGEMENTS: Final[Mapping[str, Management]] = {
    "systemd-networkd": Management(
        _DEAF,
        (
            *(
                command.format(flags="mngtmpaddr noprefixroute", metric=1024)
                for command in _ADVERTISED
            ),
            "-6 route add 2001:db8:6::9 via fe80::2 dev eth1 proto redirect metric 1024",
        ),
    ),
    "NetworkManager": Management(
        {**_DEAF, "ipv6/conf/eth1/addr_gen_mode": 1},
        (
            "-6 address flush dev eth1 scope link",
            "-6 address add fe80::5/64 dev eth1 noprefixroute nodad",
            "-6 route add fe80::/64 dev eth1 proto kernel metric 1024",
            *(command.format(flags="noprefixroute", metric=100) for command in _ADVERTISED),
            "address add 10.7.0.5/24 dev eth1 noprefixroute",
            "route add 10.7.0.0/24 dev eth1 proto kernel scope link src 10.7.0.5 metric 100",
        ),
    ),
}
"""What managers do to an `eth1` when they, not the kernel, listen to its routers."""

ROOT_QDISCS: Final = ("pfifo limit 55", "tbf rate 100mbit burst 32k latency 10ms")
"""Root qdiscs, in the words of `tc`."""


QUEUE_SETTINGS: Final = (
    *("rx-0/rps_cpus=1", "rx-0/rps_flow_cnt=64", "gro_flush_timeout=20000"),
    *("napi_defer_hard_irqs=2", "gso_ipv4_max_size=30000", "gro_ipv4_max_size=40000"),
)
"""Settings of queues and offloads, as for `Namespace.queues`."""

ETHTOOL_CHANGES: Final = (
    ("feature", "tx-tcp-segmentation", "off"),
    ("feature", "tx-scatter-gather", "off"),
    ("feature", "rx-gro", "on"),
    ("feature", "rx-gro", "off"),
    ("channels", "rx", "1"),
    ("channels", "tx", "1"),
    ("rings", "rx", "512"),
    ("rings", "tx", "128"),
    ("coalescing", "rx-usecs", "77"),
    ("pause", "autoneg", "0"),
    ("message level", "mask", "3"),
    ("wake-on-LAN", "modes", "0"),
    ("link", "speed", "100"),
    ("RSS table", "", ",".join(["0"] * 128)),
)
"""What `ethtool` sets on any netdev, in the words of `Namespace.ethtool`."""

EthtoolChanges = tuple[tuple[str, str, str], ...]
"""Changes by kind, name and value."""

ethtool_changes: SearchStrategy[EthtoolChanges] = st.lists(
    st.sampled_from(ETHTOOL_CHANGES), max_size=4
).map(tuple)
"""Any of these, most of which a veth does not have."""


def change_ethtool(namespace: Namespace, ifname: str, changes: EthtoolChanges) -> None:
    """Make the changes that the driver accepts."""
    for kind, name, value in changes:
        with suppress(CommandFailed):
            namespace.ethtool(ifname, kind, name, value)


@frozen
class HostConfiguration:
    """What was set in addition to addresses: commands of `ip`, sysctls, a root qdisc and so on.

    `traffic` are commands of `tc`; those about the root are refused if there is a root qdisc.
    """

    commands: tuple[str, ...]
    sysctls: Mapping[str, int]
    qdisc: str | None
    management: Management | None = None
    queues: tuple[str, ...] = ()
    traffic: tuple[str, ...] = ()
    ethtool: EthtoolChanges = ()

    def configure(
        self,
        node: Namespace,
        ifname: str = "eth1",
        networks: tuple[str, str] = ("10.0.0.", "fd00::"),
    ) -> None:
        """Set all of it on a netdev, which may have other networks than those of `eth1`.

        Whatever the kernel accepts of it is a configuration.
        """

        def words_of(command: str) -> list[str]:
            named = command.replace("eth1", ifname)
            for usual, other in zip(("10.0.0.", "fd00::"), networks, strict=True):
                named = named.replace(usual, other)
            return named.split()

        management = self.management or Management({}, ())
        for path, value in {**management.sysctls, **self.sysctls}.items():
            node.sysctl(f"net/{path}".replace("eth1", ifname), value)
        for command in (*management.commands, *self.commands):
            node.run(["ip", *words_of(command)])
        if self.qdisc is not None:
            node.tc(f"qdisc add dev {ifname} root {self.qdisc}")
        batch = "\n".join(self.traffic).replace("eth1", ifname).encode()
        node.run(["tc", "-force", "-batch", "-"], stdin=batch)
        for setting in self.queues:
            # Limits for IPv4 came with Linux 6.3.
            with suppress(CommandFailed):
                node.queues(ifname, setting)
        change_ethtool(node, ifname, self.ethtool)


_commands = st.tuples(
    st.lists(st.sampled_from(IP_COMMANDS), max_size=12, unique=True),
    st.just(()) | st.just((*NEXTHOP_COMMANDS, *NEXTHOP_USERS)),
).map(lambda parts: (*parts[0], *parts[1]))

host_configurations: SearchStrategy[HostConfiguration] = st.builds(
    HostConfiguration,
    commands=_commands,
    sysctls=st.dictionaries(
        st.sampled_from(["ipv4/conf/eth1/rp_filter", "ipv6/conf/eth1/accept_ra"]),
        st.sampled_from([0, 1, 2]),
    ),
    qdisc=st.none() | st.sampled_from(ROOT_QDISCS),
    management=st.none() | st.sampled_from(list(MANAGEMENTS.values())),
    traffic=st.just(()) | st.sampled_from(list(BUILT_IN_TRAFFIC.values())),
    queues=st.lists(st.sampled_from(QUEUE_SETTINGS), max_size=3, unique=True).map(tuple),
    ethtool=ethtool_changes,
)
"""Any of these, some of which the kernel may refuse."""
