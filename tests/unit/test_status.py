"""A STATUS says whether an ADD would work, and why not."""

from collections.abc import Callable
from typing import Any

import pytest

from amdcni.core.errors import AmdcniError, NotAvailable, PluginFailed, PluginNotFound
from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import add, by_delegate, calls, full_disk, no_ipam_plugin, read_only_disk


def status(machine: Machine, **keys: Any) -> None:
    ask(machine, Verb.STATUS, config_for(**keys))


def test_status_is_silent_and_changes_nothing_when_add_would_work(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    before = machine.picture()
    status(machine, ipam=HOST_LOCAL)
    assert machine.picture() == before
    asked = [plugin for plugin, verb in calls(machine) if verb == "STATUS"]
    assert asked == (["host-local"] if machine.mover == "native" else ["host-device", "host-local"])


@pytest.mark.parametrize("trouble", [no_ipam_plugin, full_disk, read_only_disk])
def test_status_and_add_both_fail_if_something_is_missing(
    machine: Machine, trouble: Callable[[Machine], None]
) -> None:
    trouble(machine)
    with pytest.raises(NotAvailable):
        status(machine, ipam=HOST_LOCAL)
    with pytest.raises(AmdcniError):
        add(machine, ipam=HOST_LOCAL)


@by_delegate
@pytest.mark.parametrize("plugin", ["host-device", "static"])
def test_without_the_plugins_of_the_delegate_neither_status_nor_add_works(
    machine: Machine, plugin: str
) -> None:
    machine.plugins.installed.remove(plugin)
    before = machine.picture()
    with pytest.raises(NotAvailable, match=plugin):
        status(machine)
    with pytest.raises(PluginNotFound, match=plugin):
        add(machine)
    assert machine.picture() == before


def test_status_reports_a_missing_ipam_plugin_and_a_missing_privilege(machine: Machine) -> None:
    with pytest.raises(NotAvailable, match="dhcp"):
        status(machine, ipam={"type": "dhcp"})
    machine.unready = "the privilege CAP_NET_ADMIN is missing"
    with pytest.raises(NotAvailable, match="CAP_NET_ADMIN"):
        status(machine)


def test_a_failing_status_of_a_called_plugin_is_passed_on(machine: Machine) -> None:
    machine.plugins.troubles.append(Trouble("host-local", Verb.STATUS))
    with pytest.raises(PluginFailed, match="trouble"):
        status(machine, ipam=HOST_LOCAL)


def test_a_plugin_older_than_status_is_not_called_for_it(machine: Machine) -> None:
    machine.plugins.versions["host-device"] = ("1.0.0",)
    machine.plugins.versions["static"] = ("1.0.0",)
    status(machine)
    assert calls(machine) == []
