"""A pod with all capabilities over its own netns neither blinds nor breaks anything of the node."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.command import output_of_amdcni
from tests.netns.runtime import BDF, Runtime, damage

OTHER = "0000:c2:00.0"
MINE, THEIRS = f"amdcni-{BDF}", f"amdcni-{OTHER}"


def marks_exchanged(other: Nic) -> list[str]:
    """Give the NIC the mark of another one instead of its own."""
    return [
        f"link property del dev net1 altname {MINE}",
        f"link property add dev net1 altname {THEIRS}",
    ]


def both_marks(other: Nic) -> list[str]:
    """Give the NIC the mark of another one too."""
    return [f"link property add dev net1 altname {THEIRS}"]


def marks_given_away(other: Nic) -> list[str]:
    """Let netdevs of the pod's own have both marks, and the addresses of both NICs."""
    return [
        f"link property del dev net1 altname {MINE}",
        *("link set net1 down", "link set net1 name aside"),
        "link add name net1 address 02:00:00:00:00:01 type bridge",
        f"link property add dev net1 altname {MINE}",
        f"link add name eth2 address {other.mac} type bridge",
        f"link property add dev eth2 altname {THEIRS}",
    ]


def names_of_the_host(other: Nic) -> list[str]:
    """Give the NIC every name that netdevs of the host have or are about to have."""
    return [
        *("link set net1 down", "link set net1 name eth2"),
        *(f"link property add dev eth2 altname {name}" for name in ("mgmt0", "eth1", "fabric2")),
    ]


def address_of_another(other: Nic) -> list[str]:
    """Give the NIC the hardware address and the addresses of another one."""
    return [
        *("link set net1 down", f"link set net1 address {other.mac}", "link set net1 up"),
        *(f"address add {address} dev net1" for address in other.addresses),
    ]


def inside_others(other: Nic) -> list[str]:
    """Build on the NIC, and let it be a member."""
    return [
        "link add link net1 name on-top type macvlan mode bridge",
        *("link add over type bridge", "link set on-top master over"),
        *("link set net1 promisc on", "link set net1 allmulticast on", "link set net1 arp off"),
    ]


def many_of_everything(other: Nic) -> list[str]:
    """Let the kernel have much to say about the NIC."""
    return [
        *("link set net1 up", "address add 10.99.0.1/16 dev net1"),
        *(f"route add 10.{100 + n // 250}.{n % 250}.0/24 via 10.99.0.2" for n in range(2000)),
        *(
            f"neighbour add 10.99.{n // 250}.{n % 250 + 3} lladdr 02:00:00:00:01:01 dev net1"
            for n in range(500)
        ),
        *(f"rule add from 10.99.{n}.1 lookup 77" for n in range(200)),
    ]


ATTACKS: list[Callable[[Nic], list[str]]] = [
    marks_exchanged,
    both_marks,
    marks_given_away,
    names_of_the_host,
    address_of_another,
    inside_others,
    many_of_everything,
]
by_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda made: made.__name__)


@pytest.fixture
def other(node: Node, nic: Nic) -> Nic:
    """A second NIC, next to a netdev that the node has for itself."""
    node.ip("link add mgmt0 type bridge")
    nic = node.add_nic(OTHER, "eth2", ["10.0.0.2/31"])
    node.ip("link property add dev eth2 altname fabric2")
    return nic


def each_ended_in_every_way() -> Iterator[Any]:
    """Each attack with each end of its pod; `make test` tries one end for each attack."""
    for number, attack in enumerate(ATTACKS):
        for place, ends in enumerate(("by DEL", "by death", "after the other")):
            marks = [] if place == number % 3 else [pytest.mark.thorough]
            yield pytest.param(ends, attack, id=f"{ends}-{attack.__name__}", marks=marks)


@pytest.mark.parametrize(("ends", "attack"), list(each_ended_in_every_way()))
def test_both_nics_return_whatever_a_pod_does_with_its_own(
    runtime: Runtime,
    node: Node,
    pod: Pod,
    other: Nic,
    attack: Callable[[Nic], list[str]],
    ends: str,
) -> None:
    before = dump(node)
    victims = runtime.having(deviceID=OTHER, pciBusID=OTHER)
    victim = node.add_pod("pod2")
    runtime.added(pod)
    result = victims.added(victim, container_id="victim")
    pod.ip_batch(attack(other))
    if ends == "by death":
        pod.delete()
        node.refresh()
        output_of_amdcni(node, "heal")
    elif ends == "by DEL":
        assert runtime.delete(pod).succeeded
    assert victims.check(victim, result, container_id="victim").succeeded
    rows = json.loads(output_of_amdcni(node, "attachments", "--json"))
    assert OTHER in [row["device"] for row in rows if row["found"] == "held"]
    assert victims.delete(victim, container_id="victim").succeeded
    if ends == "after the other":
        assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


@by_attack
def test_the_other_nic_is_lent_and_returned_while_a_pod_attacks(
    runtime: Runtime, node: Node, pod: Pod, other: Nic, attack: Callable[[Nic], list[str]]
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.ip_batch(attack(other))
    for keys in ({"deviceID": OTHER}, {"device": "fabric2"}, {"hwaddr": other.mac}):
        victim = node.add_pod("pod2")
        named = runtime.having("deviceID", "pciBusID", **keys)
        named.added(victim, container_id="victim")
        assert victim.ping(other.peers[0])
        assert named.delete(victim, container_id="victim").succeeded
        victim.delete()
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []
