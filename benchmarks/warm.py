"""Times native ADDs and DELs inside one process, each beside a bare netlink move; a script.

It runs inside a node, where a NIC has the addresses.  Standard input is a JSON object with the
configuration (`config`), the variables of the call (`env`), the netdev's name (`ifname`) and the
number of `rounds`.  Standard output is a JSON object with the samples of all four, in ms.
"""

import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from pyroute2.iproute.linux import IPRoute, NetNS

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


def move_and_return(asked: Mapping[str, Any]) -> tuple[float, float]:
    """The times of a move under another name and of the way back, as pyroute2 does them."""
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
        host = os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
        with NetNS(path, flags=0) as there:

            def go_back() -> None:
                there.link("set", index=moved.ifindex, net_ns_fd=host, ifname=ifname)

            back_ms = milliseconds(go_back)
        os.close(host)
        back = own.find_netdev(ifname)
        assert back is not None
        own.change(back, up=True)
        for address in netdev.addresses:
            if not address.interface.ip.is_link_local:
                own.put_address(back, address)
    return moved_ms, back_ms


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
    samples: dict[str, list[float]] = {name: [] for name in ("ADD", "DEL", "move", "return")}
    for number in range(asked["rounds"] + 1):
        add_ms = milliseconds(lambda: call("ADD", asked))
        del_ms = milliseconds(lambda: call("DEL", asked))
        seen = (add_ms, del_ms, *move_and_return(asked))
        if number:
            for name, sample in zip(samples, seen, strict=True):
                samples[name].append(sample)
    json.dump(samples, sys.stdout)


if __name__ == "__main__":
    main()
