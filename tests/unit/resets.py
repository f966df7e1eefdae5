"""A NIC that is reset while its pod has it, on the node of `two_nics`."""

from typing import Any

import pytest

from amdcni.core.codec import result_to_json
from amdcni.core.spec import Result, Verb
from amdcni.core.versions import CniVersion
from amdcni.verbs import healing
from amdcni.verbs.healing import Finding
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import ATTRIBUTES, Link, address
from tests.unit.fake_node import FakeNode
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.two_nics import A

IPAMS = pytest.mark.parametrize("ipam", [None, HOST_LOCAL], ids=["host's", "leased"])


def keys_for(ipam: object) -> dict[str, Any]:
    return {} if ipam is None else {"ipam": ipam}


def findings_of(machine: Machine, *, dry_run: bool = False) -> tuple[Finding, ...]:
    node = FakeNode(machine)
    with machine.running(node):
        return healing.heal(node, dry_run=dry_run)


def check(machine: Machine, result: Result, **keys: Any) -> None:
    """CHECK with the result that the ADD has answered."""
    previous = result_to_json(result, CniVersion("1.1.0"))
    ask(machine, Verb.CHECK, config_for(A, prevResult=previous, **keys))


def seen_in_pod(link: Link) -> object:
    """Everything that a pod can tell of its netdev, except its number."""
    addresses = {str(own.address.interface) for own in link.addresses if not own.by_kernel}
    state = (link.name, link.up, link.alias, *(getattr(link, name) for name in ATTRIBUTES))
    routes = {(r.destination, r.table, r.metric, r.protocol) for r in link.space.routes}
    return (link.space, state, addresses, sorted(link.altnames), routes)


def other_address(machine: Machine, link: Link) -> None:
    machine.kernel.configure(link, (address("10.9.9.9/24"),))
