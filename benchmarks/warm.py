"""Times native ADDs inside one process, each beside a bare netlink move; a script.

It runs inside a node, where a NIC has the addresses.  Standard input is a JSON object with the
configuration (`config`), the variables of the call (`env`), the netdev's name (`ifname`) and the
number of `rounds`.  Standard output is a JSON object with the samples of both, in ms.
"""

import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from pyroute2.iproute.linux import IPRoute

from amdcni import verbs
from amdcni.core import formats
from amdcni.core.request import parse_environment
from amdcni.effects.netlink import Netlink
from amdcni.effects.netns import OWN_NETNS
from amdcni.effects.node import LinuxNode

_UNTIL_TICK_S = 0.008
"""A move ends at a tick of the kernel's clock: samples begin at any time between two of them."""


def call(command: str, asked: Mapping[str, Any]) -> None:
    """Serve a call as the executable does, once everything is loaded."""
    stdin = json.dumps(asked["config"]).encode()
    invocation = parse_environment({**asked["env"], "CNI_COMMAND": command})
    request = formats.parse_request(invocation, stdin)
    data_dir = request.network.data_dir
    with LinuxNode(data_dir, invocation.plugin_dirs, invocation.environ, silent) as node:
        verbs.serve(request, node)


def silent(event: str, **facts: object) -> None:
    """Report nothing."""


def move_and_return(asked: Mapping[str, Any]) -> float:
    """The time of a move under another name as pyroute2 does it, without that of the way back."""
    path, ifname, moved_ifname = (
        asked["env"]["CNI_NETNS"],
        asked["ifname"],
        asked["env"]["CNI_IFNAME"],
    )
    with (
        Netlink(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as pod,
        Netlink(os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)) as own,
        IPRoute() as route,
    ):
        netdev = own.find_netdev(ifname)
        assert netdev is not None

        def move() -> None:
            route.link("set", index=netdev.ifindex, net_ns_fd=path, ifname=moved_ifname)

        moved_ms = milliseconds(move)
        moved = pod.find_netdev(moved_ifname)
        assert moved is not None
        pod.move(moved, own, netdev.ifname, up=True)
        back = own.find_netdev(ifname)
        assert back is not None
        for address in netdev.addresses:
            if not address.interface.ip.is_link_local:
                own.put_address(back, address)
    return moved_ms


def milliseconds(act: Callable[[], None]) -> float:
    until_s = time.perf_counter() + random.uniform(0, _UNTIL_TICK_S)
    while time.perf_counter() < until_s:
        pass
    started_s = time.perf_counter()
    act()
    return (time.perf_counter() - started_s) * 1000


def main() -> None:
    gc.disable()  # as in the executable
    asked = json.load(sys.stdin)
    adds, moves = [], []
    for number in range(asked["rounds"] + 1):
        add_ms = milliseconds(lambda: call("ADD", asked))
        call("DEL", asked)
        move_ms = move_and_return(asked)
        if number:
            adds.append(add_ms)
            moves.append(move_ms)
    json.dump({"adds_ms": adds, "moves_ms": moves}, sys.stdout)


if __name__ == "__main__":
    main()
