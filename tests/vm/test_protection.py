"""Kinds of netdevs on top of a NIC that not every developer's kernel has."""

from tests.vm.guest import Guest, addresses_of, peers_of
from tests.vm.nics import E1000E

PROTECTED = 103
NAME = E1000E.ifname
LOCAL = addresses_of(E1000E)[0].partition("/")[0]
REMOTE = peers_of(E1000E)[0]

CHILDREN = {
    f"link add link {NAME} name top type vlan id 7": "carries top",
    f"link add link {NAME} name top type ipvlan": "carries top",
    f"link add link {NAME} name top type macsec": "carries top",
    f"link add top type geneve id 7 remote {REMOTE}": f"carries top (to {REMOTE})",
    f"link add top type vxlan id 7 local {LOCAL} dstport 4789": f"carries top (from {LOCAL})",
    "link add top type vrf table 77": "is a member of top",
}


def test_a_nic_that_carries_something_is_refused(guest: Guest) -> None:
    guest.mover = "native"
    pod = guest.pod("pod1")
    for adding, words in CHILDREN.items():
        guest.host.ip(adding)
        if "member" in words:
            guest.host.ip(f"link set {NAME} master top")
        guest.add(E1000E, pod).expect_error(PROTECTED, f"{NAME} {words};")
        guest.host.ip("link delete top")
    assert guest.records() == {}
