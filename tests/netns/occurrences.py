"""What may happen on the node of `test_any_order.py`, as Hypothesis draws it."""

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
from tests.netns.three_nics import BDFS, PODS

nics = st.sampled_from(sorted(BDFS))
pods = st.sampled_from(PODS)
ifnames = st.sampled_from(["net1", "net2"])
movers = st.sampled_from(["delegate", "native"])
sandboxes = st.builds(Sandbox, pods, ifnames, earlier=st.integers(0, 2))


def adds_of(nic: str) -> SearchStrategy[Call]:
    """ADD of a NIC for whatever pod, and again by the one who has it."""
    first = st.builds(Add, st.just(nic), st.builds(Sandbox, pods, ifnames), movers)
    again = st.builds(Add, st.just(nic), st.just(Holder(nic)), movers)
    return first | first | again


def deletes_of(nic: str) -> SearchStrategy[Call]:
    """DEL by the one who has a NIC, and by those who had it before."""
    holders = st.builds(Holder, st.just(nic), earlier=st.sampled_from([0, 0, 0, 0, 0, 1, 2]))
    return st.builds(Delete, holders, st.sampled_from([nic, None]), netns=st.booleans())


def checks_of(nic: str) -> SearchStrategy[Call]:
    """CHECK by the one who has a NIC."""
    return st.just(Check(nic, Holder(nic)))


def calls_about(nic: str) -> SearchStrategy[Call]:
    """Calls that have to wait for each other."""
    return adds_of(nic) | adds_of(nic) | deletes_of(nic) | deletes_of(nic) | checks_of(nic)


adds, checks = nics.flatmap(adds_of), nics.flatmap(checks_of)
strange_deletes: SearchStrategy[Call] = st.builds(
    Delete, sandboxes, st.none() | nics, netns=st.booleans()
)
deletes = nics.flatmap(deletes_of)
collections: SearchStrategy[Call] = st.builds(
    Collect, st.none() | st.frozensets(st.builds(Holder, nics) | sandboxes, max_size=4)
)
heals: SearchStrategy[Call] = st.sampled_from([Heal(), Status()])
rivals = nics.flatmap(lambda nic: st.lists(calls_about(nic), min_size=2, max_size=3))
crowds = st.lists(nics.flatmap(calls_about) | collections | heals, min_size=2, max_size=3)
moments = st.none() | st.integers(1, 27)
"""Before which change a call is killed, if it is; it makes 16 to 27 if it has something to do."""
