"""Network configurations: what a runtime's stdin asks for, and what a called plugin gets."""

from typing import Any, Final, TypeVar, cast

import attrs

from amdcni.core import request as requests
from amdcni.core.codec.converter import (
    choose,
    faults_of,
    given_keys,
    keys_of,
    spell,
    structure,
    wrong,
)
from amdcni.core.codec.networks import CONFIGURATION, prev_result_of, valid_attachments_of
from amdcni.core.codec.text import decode_object
from amdcni.core.errors import (
    AmdcniError,
    InvalidConfiguration,
    UndecodableInput,
    UnsupportedField,
    UnsupportedVersion,
)
from amdcni.core.formats.pods import (
    POD_RUNTIME_KEYS,
    PodKeys,
    in_vain,
    pod_faults,
    pod_keys_of,
)
from amdcni.core.names import (
    BusDevice,
    FilePath,
    IpamName,
    MacAddress,
    NetdevName,
    NetworkName,
)
from amdcni.core.spec import Json, Verb
from amdcni.core.versions import (
    CHECK_SINCE,
    GC_AND_STATUS_SINCE,
    OLDEST,
    CniVersion,
    at_least,
)

T = TypeVar("T")


@attrs.frozen
class _RuntimeConfig:
    device_id: BusDevice | None = None


@attrs.frozen
class _Ipam:
    type: IpamName


@attrs.frozen
class _DeviceKeys:
    """The keys of a configuration that say which device to hand over, and how."""

    device_id: BusDevice | None = None
    pci_bus_id: BusDevice | None = None
    runtime_config: _RuntimeConfig | None = None
    device: NetdevName | None = None
    hwaddr: MacAddress | None = None
    kernelpath: FilePath | None = None
    ipam: _Ipam | None = None
    copy_routes: bool = False
    move_rdma: bool = True


@attrs.frozen
class _NetworkKeys:
    """The keys of a configuration that every verb needs."""

    name: NetworkName
    cni_version: CniVersion = OLDEST
    data_dir: FilePath = requests.DEFAULT_DATA_DIR


@attrs.frozen
class _LogKeys:
    log_level: requests.LogLevel = requests.LogLevel.WARNING
    log_file: FilePath | None = None


choose(requests.LogLevel, requests.Mover)
spell(_RuntimeConfig, device_id="deviceID")
spell(
    _DeviceKeys,
    device_id="deviceID",
    pci_bus_id="pciBusID",
    runtime_config="runtimeConfig",
    copy_routes="copyRoutes",
    move_rdma="moveRdma",
)
spell(_NetworkKeys, cni_version="cniVersion", data_dir="dataDir")
spell(_LogKeys, log_level="logLevel", log_file="logFile")


def known_keys(part: str | None = None) -> frozenset[str]:
    """The keys of ours in a configuration, or in a part of it such as `runtimeConfig`."""
    if part == "runtimeConfig":
        return frozenset((*keys_of(_RuntimeConfig), *POD_RUNTIME_KEYS))
    classes = (_NetworkKeys, _LogKeys, _DeviceKeys, PodKeys)
    return frozenset(("mover", *(key for cls in classes for key in keys_of(cls))))


def parse_request(invocation: requests.Invocation, stdin: bytes) -> requests.Request:
    """The request that `invocation` and the configuration on stdin make; not for VERSION.

    DEL, GC and STATUS need little of the configuration and forgive the rest: a configuration that
    was broken after ADD must not keep a NIC from coming back.

    Raises: UndecodableInput, InvalidConfiguration, UnsupportedVersion, UnsupportedField.
    """
    raw = decode_object(stdin, CONFIGURATION)
    strict = invocation.verb in (Verb.ADD, Verb.CHECK, Verb.STATUS)
    if strict:
        _refuse_faulty(raw)
    network = network_of(raw, strict=strict)
    _refuse_too_old(network.version, invocation.verb)
    attachment, netns = invocation.attachment, invocation.netns
    match invocation.verb:
        case Verb.ADD:
            return requests.AddRequest(
                invocation,
                network,
                device_of(raw),
                _given(attachment),
                _given(netns),
                prev_result_of(raw, network.version),
            )
        case Verb.DEL:
            return _del_request(invocation, network)
        case Verb.CHECK:
            previous = prev_result_of(raw, network.version)
            if previous is None:
                raise InvalidConfiguration("CHECK needs prevResult, the result of ADD")
            return requests.CheckRequest(
                invocation, network, device_of(raw), _given(attachment), _given(netns), previous
            )
        case Verb.GC:
            plugin = _ipam_of(_device_keys_or_none(raw))
            return requests.GcRequest(invocation, network, valid_attachments_of(raw), plugin)
        case Verb.STATUS:
            plugin = _ipam_of(_device_keys(raw))
            return requests.StatusRequest(invocation, network, plugin, _mover(raw))
    raise ValueError("VERSION is answered without a request")


def _del_request(invocation: requests.Invocation, network: requests.Network) -> requests.DelRequest:
    keys = _device_keys_or_none(network.raw)
    return requests.DelRequest(
        invocation,
        network,
        _given(invocation.attachment),
        invocation.netns,
        selector=_selector_or_none(keys),
        mover=_mover_or_default(network.raw),
        ipam=_ipam_of(keys),
    )


def parse_call(invocation: requests.Invocation, stdin: bytes) -> requests.Request:
    """As `parse_request`, but a DEL becomes a request whatever the configuration is.

    The container ID and the ifname are all that it needs.  The request has the fault, and whatever
    can be used of the configuration, key by key.
    """
    try:
        return parse_request(invocation, stdin)
    except AmdcniError as fault:
        if invocation.verb is not Verb.DEL:
            raise
        return _broken_del(invocation, stdin, fault)


def _broken_del(
    invocation: requests.Invocation, stdin: bytes, fault: AmdcniError
) -> requests.DelRequest:
    try:
        raw = decode_object(stdin, CONFIGURATION)
    except UndecodableInput:
        raw = {}
    given = given_keys(raw, _NetworkKeys)
    usable = {key: value for key, value in given.items() if _is_usable(key, value)}
    usable = {"name": UNNAMED, **usable}
    network = attrs.evolve(network_of(usable), raw=raw, log=_log(raw, strict=False))
    return attrs.evolve(_del_request(invocation, network), fault=fault)


def _is_usable(key: str, value: Any) -> bool:
    """Whether one key of `_NetworkKeys` has a valid value."""
    try:
        return not faults_of({"name": UNNAMED, key: value}, _NetworkKeys)
    except UnsupportedVersion:
        return False


UNNAMED: Final = NetworkName("unnamed")
"""The network of a DEL whose configuration does not say its name."""


def _given(value: T | None) -> T:
    """`parse_environment` has checked that the verbs which need the value have it."""
    return cast(T, value)


def _refuse_too_old(version: CniVersion, verb: Verb) -> None:
    since = {
        Verb.CHECK: CHECK_SINCE,
        Verb.GC: GC_AND_STATUS_SINCE,
        Verb.STATUS: GC_AND_STATUS_SINCE,
    }.get(verb)
    if since is not None and not at_least(version, since):
        raise UnsupportedVersion(f"{verb} needs cniVersion {since} or newer, not {version!r}")


def _refuse_faulty(raw: Json) -> None:
    """Raise with every fault of all keys that we know, not only with those of the first few."""
    faults = [
        *_respelled(raw),
        *faults_of(given_keys(raw, _NetworkKeys), _NetworkKeys),
        *faults_of(given_keys(raw, _LogKeys), _LogKeys),
        *faults_of(_given_device_keys(raw), _DeviceKeys),
        *(pod_faults(raw) if _mover_or_default(raw) is requests.Mover.NATIVE else in_vain(raw)),
    ]
    if faults:
        raise InvalidConfiguration(wrong(CONFIGURATION, faults))


def network_of(raw: Json, *, strict: bool = True) -> requests.Network:
    """What every plugin needs of a configuration: name, cniVersion, state folder, log settings.

    Unless `strict`, wrong log settings are treated as absent.

    Raises: InvalidConfiguration, UnsupportedVersion.
    """
    keys = structure(
        given_keys(raw, _NetworkKeys), _NetworkKeys, InvalidConfiguration, CONFIGURATION
    )
    return requests.Network(raw, keys.name, keys.cni_version, keys.data_dir, _log(raw, strict))


def _log(raw: Json, strict: bool) -> requests.LogSettings:
    try:
        keys = structure(given_keys(raw, _LogKeys), _LogKeys, InvalidConfiguration, CONFIGURATION)
    except InvalidConfiguration:
        if strict:
            raise
        return requests.LogSettings()
    return requests.LogSettings(keys.log_level, keys.log_file)


def device_of(raw: Json) -> requests.Device:
    """What the configuration says about the device: which one, and what the pod gets with it.

    Raises: InvalidConfiguration for contradictions and unusable values, UnsupportedField.
    """
    keys, mover = _device_keys(raw), _mover(raw)
    device = requests.Device(
        _selector(keys), _ipam_of(keys), mover, keys.copy_routes, move_rdma=keys.move_rdma
    )
    if mover is not requests.Mover.NATIVE:
        return device
    pod = pod_keys_of(raw)
    return attrs.evolve(
        device,
        mtu=pod.mtu or None,
        mac=pod.wanted_mac,
        addr_gen_mode=pod.addr_gen_mode,
        copy_sysctls=pod.copy_sysctls,
    )


def copies_routes(raw: Json) -> bool:
    """Whether a configuration with which an ADD has succeeded gives the pod the host's routes."""
    return raw.get("copyRoutes") is True


def moves_rdma(raw: Json) -> bool:
    """Whether RDMA devices follow the netdev, by a configuration with which an ADD has succeeded.

    With a key that is null or "", which mean absent to runtimes, they do.
    """
    return raw.get("moveRdma") is not False


def _device_keys(raw: Json) -> _DeviceKeys:
    return structure(_given_device_keys(raw), _DeviceKeys, InvalidConfiguration, CONFIGURATION)


def _given_device_keys(raw: Json) -> dict[str, Any]:
    given = given_keys(raw, _DeviceKeys)
    if isinstance(given.get("runtimeConfig"), dict):
        given["runtimeConfig"] = given_keys(given["runtimeConfig"], _RuntimeConfig)
    if raw.get("ipam") in (None, {}):
        given.pop("ipam", None)
    elif raw["ipam"] == "":
        given["ipam"] = ""
    return given


def _device_keys_or_none(raw: Json) -> _DeviceKeys | None:
    try:
        return _device_keys(raw)
    except InvalidConfiguration:
        return None


def _selector(keys: _DeviceKeys) -> requests.DeviceSelector:
    runtime_id = None if keys.runtime_config is None else keys.runtime_config.device_id
    by_key = zip(requests.DEVICE_KEYS, (keys.device_id, keys.pci_bus_id, runtime_id), strict=True)
    return requests.selector_of(
        {key: value for key, value in by_key if value is not None},
        ifname=keys.device,
        hwaddr=keys.hwaddr,
        kernelpath=keys.kernelpath,
    )


def _selector_or_none(keys: _DeviceKeys | None) -> requests.DeviceSelector | None:
    try:
        return None if keys is None else _selector(keys)
    except InvalidConfiguration:
        return None


def _ipam_of(keys: _DeviceKeys | None) -> IpamName | None:
    return None if keys is None or keys.ipam is None else keys.ipam.type


def _mover(raw: Json) -> requests.Mover:
    given = raw.get("mover")
    text = requests.Mover.DELEGATE if given in (None, "") else given
    if text not in list(requests.Mover):
        raise UnsupportedField(
            f"$.mover: {text!r} is not available; use one of {', '.join(requests.Mover)}"
        )
    return requests.Mover(text)


def _mover_or_default(raw: Json) -> requests.Mover:
    try:
        return _mover(raw)
    except UnsupportedField:
        return requests.Mover.DELEGATE


def _respelled(raw: Json) -> list[str]:
    """Keys in another case than ours, which only Go would accept: a delegate would obey them."""
    parts = (
        ("$", raw, (_NetworkKeys, _LogKeys, _DeviceKeys)),
        ("$.runtimeConfig", raw.get("runtimeConfig"), (_RuntimeConfig,)),
        ("$.ipam", raw.get("ipam"), (_Ipam,)),
    )
    faults = []
    for at, members, classes in parts:
        exact = {key.casefold(): key for cls in classes for key in keys_of(cls)}
        for key in members if isinstance(members, dict) else ():
            meant = exact.get(key.casefold(), key)
            if meant != key:
                faults.append(f"{at}.{key}: write this key as {meant!r}")
    return faults
