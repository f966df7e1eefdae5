"""A configuration that was edited or broken after the ADD does not prevent a NIC's return."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given

from amdcni.core.errors import AmdcniError, UndecodableInput
from amdcni.core.formats import parse_request
from amdcni.core.spec import Verb
from amdcni.testing import strategies as some
from amdcni.testing.strategies import edited_configurations
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_runtime import HOST_LOCAL, ask, request_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, B, add, by_delegate, delete


@pytest.mark.parametrize(
    "keys",
    [
        {"deviceID": 7},
        {"deviceID": A, "pciBusID": B},
        {"ipam": "broken"},
        {"prevResult": "broken"},
        {"logLevel": "loud", "mover": "magic"},
        {"cniVersion": "0.3.1"},
    ],
    ids=str,
)
def test_del_ignores_damage_to_the_configuration_since_the_add(
    machine: Machine, keeper: Keeper, keys: dict[str, Any]
) -> None:
    add(machine)
    delete(machine, None, **keys)
    assert keeper.is_whole()


@pytest.mark.parametrize("ipam", [None, HOST_LOCAL], ids=["static", "host-local"])
@pytest.mark.parametrize("netns", [POD1, None])
@given(stdin=edited_configurations | some.hostile_inputs)
def test_del_returns_the_nic_whatever_the_configuration_has_become(
    ipam: Mapping[str, object] | None, netns: str | None, stdin: bytes
) -> None:
    """A DEL needs only the container ID and the ifname (CNI SPEC 1.1 §2, DEL)."""
    machine = Machine()
    link = machine.kernel.plug(A, "ens1").links[0]
    machine.kernel.configure(link, (address("192.0.2.1/31"),))
    keeper = Keeper(machine, link)
    machine.kernel.make_netns(POD1)
    add(machine, ipam=ipam)
    ask(machine, Verb.DEL, stdin, netns=netns)
    assert keeper.is_whole()
    assert (machine.disk.files, machine.plugins.leases) == ({}, {})
    assert machine.kernel.violations == []


@given(stdin=edited_configurations)
def test_a_del_with_nothing_to_return_reports_a_broken_configuration(
    stdin: bytes,
) -> None:
    machine = Machine()
    machine.kernel.plug(A, "ens1")
    machine.kernel.make_netns(POD1)
    before = machine.picture()
    answers = []
    for act in (
        lambda: parse_request(request_for(machine, Verb.DEL, stdin).invocation, stdin),
        lambda: ask(machine, Verb.DEL, stdin),
    ):
        try:
            act()
            answers.append("")
        except AmdcniError as failure:
            answers.append(f"{type(failure).__name__}: {failure}")
    assert answers[0] == answers[1]
    assert machine.picture() == before


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb not in (Verb.DEL, Verb.VERSION)])
def test_every_other_verb_refuses_a_broken_configuration(machine: Machine, verb: Verb) -> None:
    with pytest.raises(UndecodableInput):
        ask(machine, verb, b"{")


@by_delegate
@pytest.mark.parametrize("stdin", [b'{"cniVersion":"1.1","deviceID":"%s"}' % A.encode()])
def test_a_nic_without_a_record_is_salvaged_if_a_broken_configuration_names_it(
    machine: Machine, nic: Link, keeper: Keeper, stdin: bytes
) -> None:
    add(machine)
    machine.kernel.watchers.clear()
    machine.disk.files.clear()
    ask(machine, Verb.DEL, stdin)
    assert nic.space is machine.kernel.host
    assert machine.last is not None
    assert "configuration-ignored" in machine.last.events
