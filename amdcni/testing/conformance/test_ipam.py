"""IPAM plugins, and the addresses that plugins get from them (CNI SPEC 1.1 §4 and §5)."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from amdcni.core.spec import Verb
from amdcni.core.versions import INTERFACES_SINCE
from amdcni.testing.conformance.clauses import Level, clause, not_applicable, require
from amdcni.testing.conformance.shapes import entries_of
from amdcni.testing.conformance.stage import Container, Stage

_MOST_ROUNDS = 20


@clause(
    "§5 Delegated plugins (IPAM)",
    Verb.ADD,
    says='"it is missing the interfaces array, as well as the interface entry in ips"',
)
def test_the_result_of_an_ipam_plugin_is_abbreviated(stage: Stage) -> None:
    if not stage.subject.is_ipam:
        not_applicable("the plugin is not an IPAM plugin")
    container = stage.container().speaking(stage.version_since(INTERFACES_SINCE))
    result = container.attached()
    require(not result.get("interfaces"), f"interfaces is {result.get('interfaces')}")
    pointing = [ip for ip in entries_of(result, "ips") if "interface" in ip]
    require(not pointing, f"ips point to interfaces: {pointing}")


@clause(
    "§2 DEL",
    Verb.DEL,
    Level.SHOULD,
    says='An IPAM plugin "should generally release an IP allocation", so that none ever runs out',
)
def test_an_address_that_del_gave_back_can_be_had_again(stage: Stage) -> None:
    container = stage.container().speaking(stage.version_since(INTERFACES_SINCE))
    result = container.attached()
    _delete(container, result)
    given = _addresses(result)
    if not given:
        not_applicable("the result has no address")
    most = min(ipaddress.ip_interface(address).network.num_addresses for address in given)
    if most > _MOST_ROUNDS:
        not_applicable(f"the network has {most} addresses, more than {_MOST_ROUNDS}")
    # In more rounds than there are addresses, one has to come again.
    for number in range(1, most + 1):
        another = evolve(container, id=f"container-{number}")
        added = another.add()
        require(added.succeeded, f"after {number} containers have come and gone: {added}")
        result = added.expect_result()
        _delete(another, result)
        if given & _addresses(result):
            return
        given |= _addresses(result)


def _addresses(result: Mapping[str, Any]) -> set[str]:
    return {ip["address"] for ip in entries_of(result, "ips")}


def _delete(container: Container, result: Mapping[str, Any]) -> None:
    deleted = container.delete(result)
    if not deleted.succeeded:
        not_applicable(f"it needs a DEL that works, and this one does not: {deleted}")
    container.detach_before()
