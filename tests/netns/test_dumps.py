"""A dump of the test kit shows every change of a network configuration, and nothing else."""

import time

import pytest

from amdcni.testing import (
    Nic,
    Node,
    Section,
    differences,
    dump,
    skip_reason,
    throwaway_node,
    unchanged,
)
from tests.netns.runtime import BDF
from tests.netns.three_nics import without_marks

ADDRESS = "10.0.0.2/24 label eth1:a dev eth1"
DELETE = "address delete 10.0.0.2/24 dev eth1"
CHANGES = {
    "netdev mtu": "link set eth1 mtu 1400",
    "netdev address": "link set eth1 address 02:00:00:00:ff:ff",
    "netdev flags": "link set eth1 down",
    "netdev promiscuity": "link set eth1 promisc on",
    "netdev allmulti": "link set eth1 allmulticast on",
    "netdev txqlen": "link set eth1 txqueuelen 77",
    "netdev ifalias": "link set eth1 alias fabric",
    "netdev altnames": "link property add dev eth1 altname fabric-one",
    "netdev group": "link set eth1 group 7",
    "netdev master": "link set eth1 master br0",
    "netdev inet6_addr_gen_mode": "link set eth1 addrgenmode none",
    "netdev token": "token set ::77 dev eth1",
    "netdev eth1 is gone": "link set eth1 netns pod1",
    "netdev br1 is new": "link add br1 type bridge",
    "address label": f"{DELETE}; address add 10.0.0.2/24 label eth1:b dev eth1",
    "address broadcast": f"{DELETE}; address add {ADDRESS} broadcast 10.0.0.9",
    "address scope": f"{DELETE}; address add {ADDRESS} scope link",
    "address metric": f"{DELETE}; address add {ADDRESS} metric 50",
    "address peer": "address add 10.0.0.2 peer 10.0.9.9/32 dev eth1",
    "address noprefixroute": f"{DELETE}; address add {ADDRESS} noprefixroute",
    "address valid": "address change fd00::8/64 dev eth1 valid_lft 1000 preferred_lft 1000",
    "address preferred": "address change fd00::8/64 dev eth1 preferred_lft 0",
    "address nodad": "address add fd00::77/64 dev eth1 nodad",
    "address 10.0.0.2/24": DELETE,
    "address fe80:": "address delete fe80::ff:fe00:1/64 dev eth1",
    "route 10.9.0.0/16 dev eth1 table 100": "route add 10.9.0.0/16 dev eth1 table 100",
    "route 0.0.0.0/0": "route add default via 10.0.0.3",
    "route ::/0": "-6 route add default via fd00::9",
    "route fd09::/64": "-6 route add fd09::/64 dev eth1 table 100",
    "route 10.7.0.0/16": "route change 10.7.0.0/16 dev eth1 mtu 1300",
    "route 10.6.0.0/16": (
        "route add 10.6.0.0/16 nexthop via 10.0.0.3 weight 2 nexthop via 10.0.0.4"
    ),
    "route expires": "-6 route change fd07::/64 dev eth1 metric 1024 expires 1000",
    "address fd06::8/64 on eth1: valid was": (
        "address change fd06::8/64 dev eth1 valid_lft 800 preferred_lft 700"
    ),
    "route fd07::/64": "-6 route change fd07::/64 dev eth1 metric 1024 proto 99",
    "rule": "rule add from 10.0.0.2 table 100",
    "rule IPv6": "-6 rule add from fd00::8 table 100",
    "nexthop": "nexthop add id 7 dev eth1",
    "neighbour 10.0.0.77": "neighbour add 10.0.0.77 lladdr 02:00:00:00:00:77 dev eth1",
    "neighbour fd00::77": "neighbour add fd00::77 lladdr 02:00:00:00:00:77 dev eth1",
    "neighbour proxy": "neighbour add proxy 10.0.0.78 dev eth1",
    "neighbour 10.0.0.66": "neighbour change 10.0.0.66 lladdr 02:00:00:00:00:67 dev eth1",
}


@pytest.fixture
def configured(node: Node) -> Node:
    node.add_nic(BDF, "eth1", ["10.0.0.2/24 label eth1:a", "fd00::8/64"])
    node.ip("address add fd06::8/64 dev eth1 valid_lft 1000 preferred_lft 900")
    node.add_pod("pod1")
    node.ip_batch(
        [
            "link add br0 type bridge",
            "route add 10.7.0.0/16 dev eth1",
            "route add fd07::/64 dev eth1 metric 1024",
            "neighbour add 10.0.0.66 lladdr 02:00:00:00:00:66 dev eth1",
        ]
    )
    return node


@pytest.mark.parametrize(("where", "command"), CHANGES.items())
def test_a_dump_tells_of_a_change(configured: Node, where: str, command: str) -> None:
    before = dump(configured)
    for part in command.split("; "):
        configured.ip(part)
    after = dump(configured)
    assert before != after
    section, *words = where.split(maxsplit=1)
    lines = differences(before, after, sections=[Section(section)])
    assert any(word in line for line in lines for word in words or [section]), lines


@pytest.mark.parametrize(
    "name",
    [
        "net/ipv4/conf/eth1/rp_filter",
        "net/ipv4/conf/default/rp_filter",
        "net/ipv4/neigh/eth1/gc_stale_time",
        "net/ipv6/conf/eth1/accept_ra_defrtr",
        "net/ipv6/neigh/eth1/gc_stale_time",
    ],
)
def test_a_dump_tells_of_a_sysctl(configured: Node, name: str) -> None:
    before = dump(configured)
    changed = 2 if configured.sysctl(name) != "2" else 1
    assert configured.sysctl(name, changed) == str(changed)
    folder, _, attribute = name.rpartition("/")
    lines = differences(before, dump(configured))
    assert any(line.startswith(f"sysctl {folder}: {attribute} was ") for line in lines)


def test_a_dump_tells_of_a_setting_of_ethtool(configured: Node) -> None:
    before = dump(configured)
    configured.ethtool("eth1", "feature", "tx-tcp-segmentation", "off")
    assert differences(before, dump(configured)) == [
        "ethtool eth1: feature tx-tcp-segmentation was on, is off"
    ]


def test_a_dump_tells_of_a_qdisc_and_of_its_options(configured: Node) -> None:
    before = dump(configured)
    configured.tc("qdisc add dev eth1 root handle 1: tbf rate 1mbit burst 10kb latency 50ms")
    shaped = dump(configured)
    assert "kind was noqueue, is tbf" in "".join(differences(before, shaped))
    configured.tc("qdisc change dev eth1 root handle 1: tbf rate 2mbit burst 10kb latency 50ms")
    (line,) = differences(shaped, dump(configured))
    assert line.startswith("qdisc root of eth1: options was ")


def test_a_dump_tells_of_the_order_of_addresses_which_chooses_the_source(node: Node) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24"])
    before = dump(node)
    node.ip("address delete 10.0.0.3/24 dev eth1")
    without = dump(node)
    assert differences(before, without, sections=[Section.ADDRESS_ORDER]) == []
    node.ip("address add 10.0.0.3/24 dev eth1")
    (line,) = differences(before, dump(node))
    assert line == (
        "address order of inet on eth1: order was 10.0.0.2/24, 10.0.0.3/24, 10.0.0.4/24,"
        " is 10.0.0.2/24, 10.0.0.4/24, 10.0.0.3/24"
    )


def test_another_ifindex_is_one_difference_and_not_one_of_each_address_and_route(
    node: Node, nic: Nic
) -> None:
    before = dump(node)
    (link,) = node.ip_json("link show dev eth1")
    pod = node.add_pod("pod1")
    pod.ip(f"link add br0 index {link['ifindex']} type bridge")
    node.ip("link set eth1 netns pod1")
    pod.ip(f"link set eth1 netns {node.netns}")
    node.ip_batch(["link set eth1 up", *(f"address add {a} dev eth1" for a in nic.addresses)])
    was, now = link["ifindex"], node.ip_json("link show dev eth1")[0]["ifindex"]
    assert differences(before, dump(node)) == [f"netdev eth1: ifindex was {was}, is {now}"]


def test_a_lifetime_that_merely_goes_on_is_no_change(node: Node) -> None:
    node.add_nic(BDF, "eth1", ["fd00::8/64 valid_lft 1000 preferred_lft 900"])
    before = dump(node)
    time.sleep(1.1)
    assert before == dump(node)


def test_a_dump_waits_for_duplicate_address_detection() -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    with throwaway_node(duplicate_address_detection=True) as node:
        node.add_nic(BDF, "eth1", ["fd00::8/64"])
        (link,) = node.ip_json("address show dev eth1")
        assert any(entry.get("tentative") for entry in link["addr_info"])
        dump(node)
        (link,) = node.ip_json("address show dev eth1")
        assert not any(entry.get("tentative") for entry in link["addr_info"])


def test_what_has_to_stay_as_it_was_is_compared_at_the_end(node: Node, nic: Nic) -> None:
    with unchanged(node):
        node.ip("address add 192.0.2.1/32 dev eth1")
        node.ip("address del 192.0.2.1/32 dev eth1")
    new = r"address 192\.0\.2\.1/32 on eth1 is new"
    with pytest.raises(AssertionError, match=new), unchanged(node):
        node.ip("address add 192.0.2.1/32 dev eth1")


def test_marks_of_begun_releases_can_be_left_out(node: Node) -> None:
    node.add_nic("0000:c1:00.0", "eth1")
    node.add_nic("0000:c2:00.0", "eth2")
    node.ip("link property add dev eth2 altname fabric")
    before = dump(node)
    node.ip("link property add dev eth1 altname amdcni-0000:c1:00.0")
    node.ip("link property add dev eth2 altname amdcni-@eth2")
    after = dump(node)
    assert len(differences(before, without_marks(after, ["@eth2"]))) == 1
    assert differences(before, without_marks(after, ["0000:c1:00.0", "@eth2"])) == []
