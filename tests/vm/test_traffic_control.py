"""Traffic control comes back as it was, of each kind that the core says comes back.

There are many kinds, and making the machine ready takes long, so each test is about many of them.
"""

from collections.abc import Iterator, Mapping

import pytest

from amdcni.testing import Dump, differences
from amdcni.testing.namespaces import ThrowawayError
from amdcni.testing.readings import dump_traffic_control
from amdcni.testing.strategies import BUILT_IN_TRAFFIC, MODULAR_TRAFFIC, UNSAVED_TRAFFIC
from tests.vm.guest import Guest, Pod
from tests.vm.nics import VMXNET3

TRAFFIC = {**BUILT_IN_TRAFFIC, **MODULAR_TRAFFIC}


@pytest.fixture
def pod(guest: Guest) -> Iterator[Pod]:
    """A pod; at the end, no traffic control is left."""
    guest.mover = "native"
    yield guest.pod("pod1")
    unset(guest)
    assert guest.damage() == []


def set_traffic(guest: Guest, commands: tuple[str, ...]) -> None:
    batch = "\n".join(commands).replace("eth1", VMXNET3.ifname)
    guest.host.output_of(["tc", "-batch", "-"], stdin=batch.encode())


def unset(guest: Guest) -> None:
    places = "".join(
        f"qdisc delete dev {VMXNET3.ifname} {place}\n" for place in ("root", "clsact", "ingress")
    )
    batch = f"{places}actions flush action gact\n"
    guest.host.run(["tc", "-force", "-batch", "-"], stdin=batch.encode())


def lent_and_returned(guest: Guest, pod: Pod, bare: Dump, *, killed: bool = False) -> list[str]:
    """Return the differences, and what was said."""
    before = dump_traffic_control(guest.host)
    assert differences(bare, before) != []
    said = [guest.add(VMXNET3, pod)]
    if killed:
        guest.kill(pod, VMXNET3)
    said.append(guest.delete(VMXNET3, pod))
    failed = [str(outcome) for outcome in said if outcome.exit_status or outcome.stderr]
    return failed + differences(before, dump_traffic_control(guest.host))


def test_each_kind_is_the_same_before_and_after(guest: Guest, pod: Pod) -> None:
    bare, failures = dump_traffic_control(guest.host), {}
    for name, commands in TRAFFIC.items():
        try:
            set_traffic(guest, commands)
            lines = lent_and_returned(guest, pod, bare)
        except (AssertionError, ThrowawayError) as failure:
            lines = [str(failure)]
        unset(guest)
        if lines:
            failures[name] = lines
            guest.reset()
            pod = guest.pod("pod1")
            guest.mover = "native"
    assert failures == {}


@pytest.mark.parametrize("name", ["all at once", "actions that send to netdevs"])
def test_traffic_control_is_the_same_after_the_pod_has_died(
    guest: Guest, pod: Pod, name: str
) -> None:
    bare = dump_traffic_control(guest.host)
    set_traffic(guest, TRAFFIC[name])
    assert lent_and_returned(guest, pod, bare, killed=True) == []


def test_what_cannot_be_put_back_is_named(guest: Guest, pod: Pod) -> None:
    said: dict[str, str] = {}
    expected: Mapping[str, str] = {name: words for name, (_, words) in UNSAVED_TRAFFIC.items()}
    for name, (commands, _) in UNSAVED_TRAFFIC.items():
        set_traffic(guest, commands)
        said[name] = guest.add(VMXNET3, pod).stderr.partition('what="')[2].partition('"')[0]
        guest.delete(VMXNET3, pod)
        unset(guest)
    assert said == expected
