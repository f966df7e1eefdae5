"""What may happen on the node of `test_any_order.py`, as strategies of Hypothesis."""

from typing import TypeVar

from attrs import frozen
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.netns.account import (
    Add,
    Call,
    Check,
    Collect,
    Delete,
    Heal,
    Holder,
    Sandbox,
    Status,
)
from tests.netns.three_nics import BDFS, PODS, RULES, VLAN

T = TypeVar("T")


@frozen
class Killed:
    """A call that is killed before the change with this number, if it makes that many."""

    call: Call
    before_change: int


@frozen
class AtOnce:
    """Calls that are started one after the other without waiting for each other."""

    calls: tuple[Call, ...]


@frozen
class PodEnds:
    """A pod ends, with its netns; if it `restarts`, another pod gets its name."""

    pod: str
    restarts: bool


@frozen
class Disk:
    """The disk with the state folder is full, or has space again."""

    full: bool


@frozen
class PodMeddles:
    """A pod changes the hardware addresses of its NICs, their altnames and what ethtool sets."""

    pod: str


@frozen
class Resets:
    """A NIC that a pod has is reset: its netdev is made anew, on the host and bare."""

    nic: str


@frozen
class Port:
    """Another netdev of the device of one NIC appears, or disappears."""

    appears: bool


@frozen
class Rests:
    """A netdev is put on top of a NIC on the host (`ip link add` words), or removed from there."""

    nic: str
    child: str


@frozen
class RulesGo:
    """Whoever has set the policy rules of a NIC that is away removes them."""

    nic: str


Occurrence = Killed | AtOnce | PodEnds | Disk | PodMeddles | Port | Rests | Resets | RulesGo


def weighted(*choices: tuple[int, SearchStrategy[T]]) -> SearchStrategy[T]:
    """Return one of the strategies by weight; `one_of` would count equal ones only once."""
    places = [place for place, (weight, _) in enumerate(choices) for _ in range(weight)]
    return st.sampled_from(places).flatmap(lambda place: choices[place][1])


nics = st.sampled_from(sorted(BDFS))
children = st.sampled_from(
    [
        "link {nic} type macvlan",
        "type vxlan id {id} dev {nic} dstport 4789",
        "type vxlan id {id} local {ip} dstport 4789",
    ]
)
pods = st.sampled_from(PODS)
ifnames = st.sampled_from(["net1", "net2"])
movers = st.sampled_from(["delegate", "native"])
sandboxes = st.builds(Sandbox, pods, ifnames, earlier=st.integers(0, 2))


def adds_of(nic: str) -> SearchStrategy[Call]:
    """Return ADDs of a NIC for any pod, and repeated ones by its holder."""
    first = st.builds(Add, st.just(nic), st.builds(Sandbox, pods, ifnames), movers)
    again = st.builds(Add, st.just(nic), st.just(Holder(nic)), movers)
    return weighted((2, first), (1, again))


def deletes_of(nic: str) -> SearchStrategy[Call]:
    """Return DELs by the holder of a NIC and by those who had it before."""
    holders = st.builds(Holder, st.just(nic), earlier=st.sampled_from([0, 0, 0, 0, 0, 1, 2]))
    return st.builds(Delete, holders, st.sampled_from([nic, None]), netns=st.booleans())


def checks_of(nic: str) -> SearchStrategy[Call]:
    """Return CHECK by the holder of a NIC."""
    return st.just(Check(nic, Holder(nic)))


def calls_about(nic: str) -> SearchStrategy[Call]:
    """Return calls that have to wait for each other."""
    return weighted((3, adds_of(nic)), (3, deletes_of(nic)), (1, checks_of(nic)))


adds, checks = nics.flatmap(adds_of), nics.flatmap(checks_of)
strange_deletes: SearchStrategy[Call] = st.builds(
    Delete, sandboxes, st.none() | nics, netns=st.booleans()
)
deletes = nics.flatmap(deletes_of)
collections: SearchStrategy[Call] = st.builds(
    Collect, st.none() | st.frozensets(st.builds(Holder, nics) | sandboxes, max_size=4)
)
heals: SearchStrategy[Call] = st.sampled_from([Heal(), Status()])
moments = st.integers(1, 30)
"""A call that has something to do makes 16 to 30 changes."""

alone = weighted(
    (5, adds), (3, deletes), (1, strange_deletes), (1, collections), (1, checks), (1, heals)
)
killed = weighted((3, adds), (3, deletes), (1, collections))
rivals = nics.flatmap(lambda nic: st.lists(calls_about(nic), min_size=2, max_size=3))
crowds = st.lists(nics.flatmap(calls_about) | collections | heals, min_size=2, max_size=3)

# One rule draws all of these: if there were many, Hypothesis would leave some out for a whole
# example, while losses happen between a kill, a rival and the next call.
alones = alone.map(lambda call: AtOnce((call,)))
together = weighted((2, rivals), (1, crowds)).map(lambda calls: AtOnce(tuple(calls)))
occurrences: SearchStrategy[Occurrence] = weighted(
    (8, alones),
    (6, st.builds(Killed, killed, moments)),
    (4, together),
    (1, st.builds(PodEnds, pods, st.booleans())),
    (1, st.builds(PodMeddles, pods)),
    (2, st.builds(Port, weighted((3, st.just(True)), (1, st.just(False))))),
    (1, st.builds(Disk, st.booleans())),
    (1, st.builds(Rests, nics, children)),
    (1, st.builds(RulesGo, st.sampled_from(sorted(RULES)))),
    (3, st.builds(Resets, st.sampled_from(sorted(set(BDFS) - {VLAN})))),
)
