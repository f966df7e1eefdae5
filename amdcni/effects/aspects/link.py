"""The attributes of the netdev itself, and whether it is up."""

from amdcni.core.aspects.link import SetLink
from amdcni.core.host import Netdev
from amdcni.effects.messages import links
from amdcni.effects.rtnetlink import Rtnetlink


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetLink) -> None:
    """Set it."""
    change_link(kernel, netdev, {change.name: change.value})


def change_link(kernel: Rtnetlink, netdev: Netdev, attributes: dict[str, object]) -> None:
    """Give the netdev these values of attributes of `Netdev`, in one request."""
    told = ", ".join(f"{name} {value!r}" for name, value in attributes.items())
    kernel.do(f"give {netdev.ifname} the {told}", links.change(netdev, attributes))
