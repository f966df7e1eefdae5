"""Traffic control comes back as it was, of each kind that the core says comes back.

There are many kinds, and a call takes long, so two NICs have as many of them at once as they can.
What is built into many kernels, the kernel tests play one by one.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest

import pytest

from amdcni.testing import Dump, differences
from amdcni.testing.readings import dump_traffic_control
from amdcni.testing.strategies import BUILT_IN_TRAFFIC, MODULAR_TRAFFIC, UNSAVED_TRAFFIC
from tests.vm.guest import Guest, Pod
from tests.vm.nics import VIRTIO, VMXNET3, Slot

LEAVES = {
    name: commands
    for name, commands in MODULAR_TRAFFIC.items()
    if len(commands) == 1 and name != "mqprio" and "duplicate" not in commands[0]
}
"""Qdiscs that can be in a class of another: no mqprio, and no netem that duplicates."""
FILTERS = {
    name: commands
    for name, commands in MODULAR_TRAFFIC.items()
    if all(" clsact" in command or " ingress " in command for command in commands)
}
"""What is under one clsact at the same time, each kind with priorities of its own."""
ROOTS = {
    name: commands
    for name, commands in MODULAR_TRAFFIC.items()
    if name not in LEAVES and name not in FILTERS
}
"""What needs a NIC to itself."""
MANY_QUEUES = ("mqprio", "mq with pfifo and tbf", "mq with fq_codel and fq")


def together() -> tuple[str, ...]:
    """Return commands that set all leaves and filters on one NIC."""
    commands = ["qdisc add dev eth1 root handle 1: drr", "qdisc add dev eth1 clsact"]
    for number, (leaf,) in enumerate(LEAVES.values(), 1):
        place = f"parent 1:{number:x} handle {number + 1:x}:"
        commands.append(f"class add dev eth1 parent 1: classid 1:{number:x} drr")
        commands.append(leaf.replace("root handle 1:", place))
    for number, filters in enumerate(FILTERS.values()):
        commands += [_behind(number * 100, each) for each in filters if " clsact" not in each]
    return tuple(commands)


def _behind(first: int, command: str) -> str:
    """Return the command with its priority counted from `first`."""
    priority = r"\bprio (\d+) (?=chain|protocol)"
    return re.sub(priority, lambda match: f"prio {first + int(match[1])} ", command)


def rounds() -> Iterator[dict[Slot, tuple[str, ...]]]:
    """Yield what two NICs have at the same time, until each kind was there."""
    of_vmxnet3 = [together(), *(ROOTS[name] for name in MANY_QUEUES)]
    of_virtio = [commands for name, commands in ROOTS.items() if name not in MANY_QUEUES]
    for both in zip_longest(of_vmxnet3, of_virtio):
        yield {slot: commands for slot, commands in zip(NICS, both, strict=True) if commands}


NICS = (VMXNET3, VIRTIO)
"""Only the first has several queues."""


@pytest.fixture
def pod(guest: Guest) -> Iterator[Pod]:
    """A pod; at the end, no traffic control is left."""
    guest.mover = "native"
    yield guest.pod("pod1")
    unset(guest)
    assert guest.damage() == []


def set_traffic(guest: Guest, commands: tuple[str, ...], slot: Slot = VMXNET3) -> None:
    batch = "\n".join(commands).replace("eth1", slot.ifname)
    guest.host.output_of(["tc", "-batch", "-"], stdin=batch.encode())


def unset(guest: Guest, *slots: Slot) -> None:
    places = "".join(
        f"qdisc delete dev {slot.ifname} {place}\n"
        for slot in slots or (VMXNET3,)
        for place in ("root", "clsact", "ingress")
    )
    batch = f"{places}actions flush action gact\n"
    guest.host.run(["tc", "-force", "-batch", "-"], stdin=batch.encode())


def lent_and_returned(
    guest: Guest, pod: Pod, bare: Dump, *slots: Slot, killed: bool = False
) -> list[str]:
    """Return the differences, and what was said."""
    before = dump_traffic_control(guest.host)
    assert differences(bare, before) != []
    names = {slot: f"net{number}" for number, slot in enumerate(slots, 1)}
    said = [guest.add(slot, pod, ifname=name) for slot, name in names.items()]
    if killed:
        guest.kill(pod, *slots)
    said += [guest.delete(slot, pod, ifname=name) for slot, name in names.items()]
    failed = [str(outcome) for outcome in said if outcome.exit_status or outcome.stderr]
    return failed + differences(before, dump_traffic_control(guest.host))


def test_each_kind_is_the_same_before_and_after(guest: Guest, pod: Pod) -> None:
    assert {*LEAVES, *FILTERS, *ROOTS} == {*MODULAR_TRAFFIC}
    bare = dump_traffic_control(guest.host)
    for commands in rounds():
        for slot, words in commands.items():
            set_traffic(guest, words, slot)
        lines = lent_and_returned(guest, pod, bare, *commands)
        assert lines == [], "\n".join(
            ["where", *(word for kind in commands.values() for word in kind)]
        )
        unset(guest, *commands)


@pytest.mark.parametrize("name", ["all at once", "actions that send to netdevs"])
def test_traffic_control_is_the_same_after_the_pod_has_died(
    guest: Guest, pod: Pod, name: str
) -> None:
    bare = dump_traffic_control(guest.host)
    set_traffic(guest, {**BUILT_IN_TRAFFIC, **MODULAR_TRAFFIC}[name])
    assert lent_and_returned(guest, pod, bare, VMXNET3, killed=True) == []


def test_what_cannot_be_put_back_is_named(guest: Guest, pod: Pod) -> None:
    said: dict[str, str] = {}
    expected: Mapping[str, str] = {name: words for name, (_, words) in UNSAVED_TRAFFIC.items()}
    for name, (commands, _) in UNSAVED_TRAFFIC.items():
        set_traffic(guest, commands)
        said[name] = guest.add(VMXNET3, pod).stderr.partition('what="')[2].partition('"')[0]
        guest.delete(VMXNET3, pod)
        unset(guest)
    assert said == expected
