"""The attributes of the netdev itself, and whether it is up."""

from amdcni.core.aspects.link import SetLink
from amdcni.core.host import Netdev
from amdcni.effects.messages import links
from amdcni.effects.rtnetlink import Rtnetlink


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetLink) -> None:
    """Set it."""
    change_link(kernel, netdev, {change.name: change.value})


def change_link(kernel: Rtnetlink, netdev: Netdev, attributes: dict[str, object]) -> None:
    """Set these attributes of the netdev, named as those of `Netdev`, in one request."""
    what = ", ".join(f"{name} {value!r}" for name, value in attributes.items())
    kernel.do(f"set {what} on {netdev.ifname}", links.change(netdev, attributes))
