"""What a GC releases, and what it passes on."""

from typing import Any

import pytest

from amdcni.core.attachment import Attachment
from amdcni.core.errors import RestoreIncomplete
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import address
from tests.unit.fake_node import FakeNode
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import A, B, add, calls, leave_unfinished, pod_of


def gc(machine: Machine, *valid: tuple[str, str], **keys: Any) -> None:
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": listed}, **keys))


def test_gc_releases_exactly_what_is_not_in_the_list(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine, A, pod=1)
    add(machine, B, pod=2)
    gc(machine, ("pod1", "net1"), ("pod2", "net2"), ("pod7", "net1"))
    assert not keeper.is_whole()
    assert other.is_whole()
    assert set(machine.disk.files) == {A}
    gc(machine, ("pod1", "net1"))
    assert set(machine.disk.files) == {A}
    gc(machine)
    gc(machine)
    assert keeper.is_whole()


@pytest.mark.parametrize("dead", [(1,), (1, 2)], ids=["one pod", "two pods"])
def test_gc_reads_all_records_twice_however_many_pods_have_died(
    machine: Machine, dead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to find what is stale, and once to heal what is not."""
    for number, device in enumerate((A, B), 1):
        add(machine, device, pod=number, ipam=HOST_LOCAL)
    for number in dead:
        machine.kernel.destroy_netns(pod_of(machine, number))
    read, records = list[FakeNode](), FakeNode.records

    def counted(node: FakeNode) -> tuple[Attachment, ...]:
        read.append(node)
        return records(node)

    monkeypatch.setattr(FakeNode, "records", counted)
    gc(machine)
    assert len(read) == 2
    assert machine.disk.files == {}


@pytest.mark.parametrize(
    "listed", [{}, {"cni.dev/valid-attachments": None}], ids=["absent", "null"]
)
def test_gc_without_a_list_releases_nothing(
    machine: Machine, keeper: Keeper, listed: dict[str, object]
) -> None:
    add(machine)
    before = machine.picture()
    ask(machine, Verb.GC, config_for(**listed))
    assert machine.picture() == before


def test_gc_leaves_other_networks_alone(machine: Machine, keeper: Keeper) -> None:
    add(machine, name="storage")
    before = machine.picture()
    gc(machine)
    assert machine.picture() == before


def test_gc_releases_an_unfinished_attachment(machine: Machine, other: Keeper) -> None:
    leave_unfinished(machine)
    gc(machine)
    assert other.is_whole()
    assert machine.disk.files == {}


def test_gc_does_what_it_can_and_reports_every_failure(
    machine: Machine, kernel: Kernel, keeper: Keeper, other: Keeper
) -> None:
    (third,) = kernel.plug("0000:03:00.0", "ens3").links
    kernel.make_netns("/run/netns/pod3")
    kernel.configure(third, (address("203.0.113.1/24"),))
    for number, device in enumerate((A, B, "0000:03:00.0"), 1):
        add(machine, device, pod=number)
    kernel.host.refused |= {"fd00::1/64", "203.0.113.1/24"}
    with pytest.raises(RestoreIncomplete, match="fd00::1/64") as raised:
        gc(machine)
    assert any("203.0.113.1/24" in note for note in raised.value.__notes__)
    assert other.is_whole()
    assert set(machine.disk.files) == {A, "0000:03:00.0"}


def test_gc_is_passed_on_to_an_ipam_plugin_that_supports_it(machine: Machine) -> None:
    gc(machine, ("pod1", "net1"), ipam=HOST_LOCAL)
    assert calls(machine) == [("host-local", "GC")]
    (call,) = machine.plugins.executed
    assert call.config["cni.dev/valid-attachments"] == [{"containerID": "pod1", "ifname": "net1"}]


def test_gc_is_not_passed_on_to_an_ipam_plugin_older_than_gc(machine: Machine) -> None:
    machine.plugins.versions["host-local"] = ("0.4.0", "1.0.0")
    gc(machine, ipam=HOST_LOCAL)
    assert calls(machine) == []


def test_a_failing_ipam_gc_does_not_hide_what_was_not_released(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    kernel.host.refused.add("fd00::1/64")
    machine.plugins.troubles.append(Trouble("host-local", Verb.GC))
    with pytest.raises(RestoreIncomplete, match="fd00::1/64") as raised:
        gc(machine, ipam=HOST_LOCAL)
    assert any("trouble" in note for note in raised.value.__notes__)
