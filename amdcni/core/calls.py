"""Which other plugin is called for an attachment, and what it gets (CNI SPEC 1.1 §4)."""

from typing import Any, Final, assert_never

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.check import config_for_delegate
from amdcni.core.codec import in_version, result_to_json
from amdcni.core.host import Netns
from amdcni.core.identity import dies_with_its_netns, find_in_pod
from amdcni.core.ipam import STATIC, static_ipam
from amdcni.core.names import PluginName
from amdcni.core.request import AddRequest, CheckRequest, Mover
from amdcni.core.spec import PluginCall, Verb
from amdcni.core.versions import CHECK_SINCE, INTERFACES_SINCE, OLDEST, at_least

DELEGATE: Final = PluginName("host-device")
"""The plugin that moves netdevs for the mover `delegate`."""


def plugins_for(mover: Mover, ipam: PluginName | None) -> tuple[PluginName, ...]:
    """The plugins that an ADD executes, `ipam` being the configuration's own IPAM plugin if any."""
    match mover:
        case Mover.DELEGATE:
            return (DELEGATE, STATIC if ipam is None else ipam)
        case Mover.NATIVE:
            return () if ipam is None else (ipam,)
        case _:
            assert_never(mover)


def config_for_plugins(
    request: AddRequest, mover: Mover, captured: Captured | None
) -> dict[str, Any]:
    """The configuration for the plugins that an ADD executes: complete, with unknown keys too.

    Before 0.3.0 a result has one address per family and plugins refuse to give more, so they are
    called in 0.3.0.
    """
    config = dict(request.network.raw)
    if not at_least(request.network.version, INTERFACES_SINCE):
        config = in_version(config, INTERFACES_SINCE)
    if mover is Mover.DELEGATE:
        return _for_delegate(request, captured, config)
    return config


def _for_delegate(
    request: AddRequest, captured: Captured | None, config: dict[str, Any]
) -> dict[str, Any]:
    """Add what the delegate needs: how to find the netdev, and which addresses to give it.

    A netdev is identified by its current name, which every version of the delegate understands, and
    a userspace driver's device by its PCI address.  The configuration's own `ipam` takes precedence
    over the captured addresses; with neither, there must be no `ipam`.
    """
    if captured is None:
        config["pciBusID"] = str(request.device.selector.bus_device)
    else:
        config["device"] = captured.ifname
    if request.device.ipam is None:
        config.pop("ipam", None)
        static = None if captured is None else static_ipam(captured.addresses)
        if static is not None:
            config["ipam"] = static
    return config


def add_call(record: Attachment) -> PluginCall:
    """The ADD of the delegate."""
    return _delegate_call(record, Verb.ADD)


def release_call(record: Attachment, pod: Netns | None) -> PluginCall | None:
    """The call that ends the attachment for a plugin; None if no plugin has to be called.

    The delegate moves whatever answers to CNI_IFNAME out of the pod, so it is called only while
    that is our netdev, or if there never was one, and while the path still leads to that pod.
    Otherwise the IPAM plugin is called directly, as it also is for a netdev that the kernel would
    destroy if the delegate were killed halfway.
    """
    alive = record.netns.is_alive_in(pod)
    if record.mover is Mover.DELEGATE and pod is not None and pod.path == record.netns.path:
        ours = find_in_pod(record, pod)
        called_so = ours is not None and ours.ifname == record.id.ifname
        called_so &= not dies_with_its_netns(record)
        if called_so or (record.captured is None and alive):
            return _delegate_call(record, Verb.DEL, **_previous(record))
    return ipam_release_call(record, netns_alive=alive)


def has_plugins(record: Attachment) -> bool:
    """Whether any other plugin is involved in the attachment."""
    return record.mover is Mover.DELEGATE or record.ipam is not None


def ipam_release_call(record: Attachment, *, netns_alive: bool) -> PluginCall | None:
    """The DEL of the configuration's own IPAM plugin; None if it has none."""
    return ipam_call(record, Verb.DEL, netns_alive=netns_alive, **_previous(record))


def _previous(record: Attachment) -> dict[str, Any]:
    """The result of the ADD as prevResult; nothing if it is unknown or the version has none."""
    version = record.config.get("cniVersion") or OLDEST
    if record.result is None or not at_least(version, CHECK_SINCE):
        return {}
    return {"prevResult": result_to_json(record.result, version)}


def owes_plugins(record: Attachment) -> bool:
    """Whether a plugin has to be called for the end of the attachment once the netdev is home.

    By then, all that the delegate does is call the IPAM plugin, unless there never was a netdev.
    """
    return record.ipam is not None or (record.captured is None and record.mover is Mover.DELEGATE)


def check_call(request: CheckRequest, record: Attachment, pod: Netns) -> PluginCall | None:
    """The call that asks another plugin whether its part is unchanged; None if none has a part."""
    match record.mover:
        case Mover.DELEGATE:
            config = config_for_delegate(request, record, pod)
            path = record.netns.path
            return PluginCall(DELEGATE, Verb.CHECK, config, record.id, path, record.args)
        case Mover.NATIVE:
            asked = {"cniVersion": request.network.version}
            asked["prevResult"] = request.network.raw["prevResult"]
            return ipam_call(record, Verb.CHECK, netns_alive=True, **asked)
        case _:
            assert_never(record.mover)


def lease_call(record: Attachment) -> PluginCall | None:
    """The call that asks the configuration's own IPAM plugin whether it still knows its addresses.

    None without such a plugin, without a result, or in a version that has no CHECK.
    """
    previous = _previous(record)
    return ipam_call(record, Verb.CHECK, netns_alive=True, **previous) if previous else None


def ipam_call(
    record: Attachment, verb: Verb, *, netns_alive: bool, **keys: object
) -> PluginCall | None:
    """A call of the configuration's own IPAM plugin; None if it has none.

    CNI_NETNS is empty once the netns is gone (CNI SPEC 1.1 §2, DEL).  `keys` override those of the
    configuration.
    """
    if record.ipam is None:
        return None
    netns = record.netns.path if netns_alive else ""
    config = {**record.config, **keys}
    return PluginCall(record.ipam, verb, config, record.id, netns, record.args)


def _delegate_call(record: Attachment, verb: Verb, **keys: object) -> PluginCall:
    config = {**record.config, **keys}
    return PluginCall(DELEGATE, verb, config, record.id, record.netns.path, record.args)
