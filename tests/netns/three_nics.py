"""A node with three NICs of different kinds, one of them as an administrator configures it.

There is also a VLAN, or what stands for one: a netdev that is on no bus and ends with its pod.
All share one hardware address, also with a bystander.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from amdcni.testing import Dump, Nic, Node, Section, differences
from amdcni.testing.dumps import Subject, Value

VLAN, BYSTANDER = "vlan1", "vlan2"
BDFS = {
    "eth1": "0000:c1:00.0",
    "eth2": "0000:c2:00.0",
    "eth3": "0000:c3:00.0",
    VLAN: f"@{VLAN}",
}
"""The device of each NIC's record."""
MAC = "02:00:00:00:00:77"
PORT = "port1"
PORTS = "10.5.0.1/24"
"""The address of another netdev of eth1's device, which appears and disappears."""
PODS = ("pod1", "pod2", "pod3")

SHARED = ("203.0.113.0/24", "198.51.100.0/24")
"""The destinations of routes through two of the NICs: with hops of its own, and by a group."""
GROUP = "3003"
"""The group with nexthop objects through the same two NICs."""
RULES = {
    "eth1": [
        "priority 1010 from 10.0.0.0 oif eth1 table 1000",
        "priority 1011 iif rail0 oif eth1 prohibit",
    ],
    "eth2": ["priority 1020 iif eth2 table 1001"],
}
"""Policy rules of the NICs, in the words of `ip`, each with the name of its NIC."""

COMMANDS = [
    "link set eth1 alias fabric",
    "link property add dev eth1 altname rail0",
    "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 table 1000 metric 50 proto static",
    "route add 2001:db8::/64 via fd00::9 dev eth1 metric 77",
    f"route add {SHARED[0]} nexthop via 10.0.0.1 dev eth1 nexthop via 10.0.1.1 dev eth2",
    "nexthop add id 3001 via 10.0.0.1 dev eth1",
    "nexthop add id 3002 via 10.0.1.1 dev eth2",
    f"nexthop add id {GROUP} group 3001,3/3002,5",
    f"route add {SHARED[1]} nhid {GROUP}",
    "neighbour add 10.0.0.1 lladdr 02:00:00:00:00:77 dev eth1",
    "link set eth2 mtu 1400",
    *(f"rule add {rule}" for rules in RULES.values() for rule in rules),
]
"""What an administrator has configured besides addresses."""

TRAFFIC = [
    "qdisc add dev eth1 clsact",
    "filter add dev eth1 ingress prio 7 u32 match u32 0 0 action mirred egress mirror dev lo",
    "qdisc add dev eth2 root handle 1: htb default 10",
    "class add dev eth2 parent 1: classid 1:10 htb rate 1gbit",
]
"""Its traffic control."""


def furnished(node: Node) -> dict[str, Nic]:
    """Give the node NICs with attributes that only a record preserves; eth3 is down."""
    words = ["10.0.0.0/31 label eth1:fabric metric 70", "10.0.0.5/24 scope link", "fd00::8/64"]
    made = [
        node.add_nic(BDFS["eth1"], "eth1", words, peer_addresses=["10.0.0.1/31"], mac=MAC),
        node.add_nic(BDFS["eth2"], "eth2", ["10.0.1.0/31", "fd01::8/64"], virtio=1, mac=MAC),
        node.add_nic(BDFS["eth3"], "eth3", ["10.0.2.1/24"], up=False, mac=MAC),
        on_no_bus(node, VLAN, "10.0.3.1/24"),
    ]
    on_no_bus(node, BYSTANDER, "10.0.4.1/24")
    node.ip_batch(COMMANDS)
    for command in TRAFFIC:
        node.tc(command)
    node.sysctl("net/ipv4/conf/eth1/rp_filter", 2)
    return {nic.ifname: nic for nic in made}


def on_no_bus(node: Node, ifname: str, address: str) -> Nic:
    """Add a netdev that is on no bus, and that the kernel destroys with its pod."""
    nic = node.add_nic(f"0000:c4:00.{ifname[-1]}", ifname, [address], mac=MAC)
    node.nics.remove(nic)
    node.forget(nic, ifname)
    return nic


def require_lent(nic: Nic, link: Any) -> None:
    """Require that a netdev in a pod is the NIC, up and with its addresses."""
    assert link is not None
    assert link["link_index"] == nic.peer_ifindex
    assert "UP" in link["flags"]
    found = [f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"]]
    due = sorted(nic.addresses)
    assert sorted(address for address in found if not address.startswith("fe80:")) == due


def deviations(before: Dump, now: Dump, at_home: set[str]) -> list[str]:
    """Return what has changed in the NICs that are on the host, and in the rest of the host."""
    names = {*before.names(Section.NETDEV), *now.names(Section.NETDEV)}
    away = names - at_home - {"lo", BYSTANDER}
    return differences(without(before, away), without(now, away))


def without(whole: Dump, away: set[str]) -> Dump:
    """Return a dump without what concerns netdevs that are away, and what they share."""
    shared = SHARED if away else ()
    group = Subject(Section.NEXTHOP, GROUP) if away else None
    return Dump(
        {
            subject: attributes
            for subject, attributes in whole.subjects.items()
            if not subject.name.startswith(shared)
            and subject != group
            and away.isdisjoint(words(subject.name, *attributes.values()))
        }
    )


def without_marks(whole: Dump, begun: Iterable[str]) -> Dump:
    """A dump without the marks of devices whose release was begun and killed: they go with it."""
    marks = {f"amdcni-{device}" for device in begun}

    def unmarked(attributes: Mapping[str, Value]) -> dict[str, Value]:
        altnames = str(attributes.get("altnames", "")).split()
        left = " ".join(name for name in altnames if name not in marks)
        others = {name: value for name, value in attributes.items() if name != "altnames"}
        return {**others, "altnames": left} if left else others

    return Dump({subject: unmarked(of) for subject, of in whole.subjects.items()})


def renumbered(whole: Dump, ifname: str, ifindex: int) -> Dump:
    """A dump in which a netdev has another ifindex: it is a new one, made as the old one was."""
    netdev = Subject(Section.NETDEV, ifname)
    attributes = {**whole.subjects[netdev], "ifindex": str(ifindex)}
    return Dump({**whole.subjects, netdev: attributes})


def words(*texts: object) -> set[str]:
    """Return the words of texts, however they are separated, to look for a netdev's name."""
    return {word for text in texts for word in re.split(r"[^\w.-]+", str(text))}
