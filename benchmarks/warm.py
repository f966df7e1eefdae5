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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyroute2.iproute.linux import IPRoute

from amdcni import verbs
from amdcni.core import formats
from amdcni.core.host import Address, Netdev
from amdcni.core.request import parse_environment
from amdcni.effects.netlink import Netlink
from amdcni.effects.netns import OWN_NETNS, entered
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
    """The times of a move under another name and of the way back, as pyroute2 does them.

    Both find the netdev as ADD and DEL do: up, with its addresses, which takes the kernel longer.
    Without `NetNS`, which forks: each page that the next call writes to would be copied first.
    """
    ifname, moved_ifname = asked["ifname"], asked["env"]["CNI_IFNAME"]
    pod_fd = os.open(asked["env"]["CNI_NETNS"], os.O_RDONLY | os.O_CLOEXEC)
    host_fd = os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    with Netlink(pod_fd) as pod, Netlink(host_fd) as host, IPRoute() as here:
        with entered(pod_fd):
            there = IPRoute()
        netdev = host.find_netdev(ifname)
        assert netdev is not None

        def move() -> None:
            here.link("set", index=netdev.ifindex, net_ns_fd=pod_fd, ifname=moved_ifname)

        moved_ms = milliseconds(move)
        moved = configured(pod, moved_ifname, netdev.addresses)

        def go_back() -> None:
            there.link("set", index=moved.ifindex, net_ns_fd=host_fd, ifname=ifname)

        with there:
            back_ms = milliseconds(go_back)
        configured(host, ifname, netdev.addresses)
    return moved_ms, back_ms


def configured(netns: Netlink, ifname: str, addresses: Iterable[Address]) -> Netdev:
    """The netdev of that name, once it is up and has the addresses."""
    netdev = netns.find_netdev(ifname)
    assert netdev is not None
    netns.change(netdev, up=True)
    for address in addresses:
        if not address.is_link_local:
            netns.put_address(netdev, address)
    return netdev


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
