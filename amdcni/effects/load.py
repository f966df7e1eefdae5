"""What netdevs of the host carry beyond what they show; what cannot be read is left out."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from amdcni.core.host import Load, Netdev
from amdcni.core.names import IfName
from amdcni.effects.sysfs import entries

if TYPE_CHECKING:
    from amdcni.effects.netlink import Netlink

_PPPOE: Final = Path("/proc/thread-self/net/pppoe")


def read_load(
    netdevs: Collection[Netdev],
    chosen: Collection[Netdev],
    kernel: "Netlink",
) -> Load:
    """What `netdevs`, all those of the host, carry; for `chosen` alone, also whom they receive for.

    Requests are needed for the chosen, and for tunnels that are bound to nothing.
    """
    ways = {
        netdev.ifindex: kernel.find_way_to(netdev.below.remote)
        for netdev in netdevs
        if netdev.below.remote is not None
        and netdev.below.local is None
        and not (netdev.below.links or netdev.lower)
    }
    receives_for = {netdev.ifindex: kernel.receives_for(netdev) for netdev in chosen}
    return Load(
        pppoe=frozenset(pppoe_netdevs()),
        rdma=dict(rdma_devices()),
        tunnel_ways={tunnel: way for tunnel, way in ways.items() if way is not None},
        receives_for={ifindex: macs for ifindex, macs in receives_for.items() if macs},
    )


def pppoe_netdevs(path: Path = _PPPOE) -> Iterator[IfName]:
    """The netdevs with a session: each line but the first has the ID, a MAC address, and its name.

    The file shows the sessions of the network namespace in which it is opened.
    """
    for line in _text(path).splitlines()[1:]:
        words = line.split()
        if len(words) == 3:
            yield IfName(words[2])


def rdma_devices(sys: Path = Path("/sys")) -> Iterator[tuple[str, IfName]]:
    """The RDMA devices made by software, with their netdevs.

    Soft-RoCE names its netdev in `parent`.  Others, such as soft-iWARP, show it only as that of
    their first address; they are software if there is no `device` below them.
    """
    folder = sys / "class" / "infiniband"
    for device in sorted(entries(str(folder))):
        ifname = _text(folder / device / "parent")
        if not ifname and not os.path.exists(folder / device / "device"):
            ports = sorted(entries(str(folder / device / "ports")))
            paths = (folder / device / "ports" / port / "gid_attrs/ndevs/0" for port in ports)
            ifname = next(filter(None, map(_text, paths)), "")
        if ifname:
            yield device, IfName(ifname)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="surrogateescape").strip()
    except OSError:
        return ""
