"""A runtime on the machine in memory: what it calls for, and how."""

import json
from collections.abc import Mapping
from typing import Any, Final

from amdcni import verbs
from amdcni.core import formats
from amdcni.core.request import Request, parse_environment
from amdcni.core.spec import Result, Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import FakeNode


def config_for(address: str | None = None, /, **keys: object) -> dict[str, Any]:
    """The configuration that Multus passes for the device at `address`."""
    config: dict[str, Any] = {"cniVersion": "1.1.0", "name": "fabric", "type": "amd-host-device"}
    if address is not None:
        config |= {"deviceID": address, "pciBusID": address}
    return config | keys


HOST_LOCAL: Final[Mapping[str, object]] = {"type": "host-local", "subnet": "10.9.0.0/24"}
"""An `ipam` whose addresses come from `Plugins.pool`."""


def ask(
    machine: Machine,
    verb: Verb,
    config: Mapping[str, object] | bytes,
    *,
    container: str = "pod1",
    ifname: str = "net1",
    netns: str | None = "/run/netns/pod1",
    args: str = "",
    kill_at: int | None = None,
    kill_before: str | None = None,
) -> Result | None:
    """Start a process that serves one call, as a runtime does; it is then `Machine.last`.

    A configuration of bytes is passed on standard input unchanged.
    """
    request = request_for(
        machine, verb, config, container=container, ifname=ifname, netns=netns, args=args
    )
    data_dir = request.network.data_dir
    node = FakeNode(machine, data_dir=data_dir, kill_at=kill_at, kill_before=kill_before)
    with machine.running(node):
        return verbs.serve(request, node)


def request_for(
    machine: Machine,
    verb: Verb,
    config: Mapping[str, object] | bytes,
    *,
    container: str = "pod1",
    ifname: str = "net1",
    netns: str | None = "/run/netns/pod1",
    args: str = "",
) -> Request:
    """What a runtime asks of a process."""
    environ = {
        "CNI_COMMAND": verb.value,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": netns or "",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": args,
    }
    if isinstance(config, bytes):
        stdin = config
    else:
        stdin = json.dumps({"mover": machine.mover, **config}).encode()
    return formats.parse_call(parse_environment(environ), stdin)
