"""Network configurations of every CNI version, and what they mean."""

from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.names import PciAddress, PluginName
from amdcni.core.request import (
    DEFAULT_DATA_DIR,
    AddrGenMode,
    Device,
    DeviceSelector,
    LogLevel,
    LogSettings,
    Mover,
    Network,
)
from amdcni.core.spec import PluginList, Result
from amdcni.core.versions import CniVersion
from amdcni.testing.strategies.names import (
    altnames,
    bus_devices,
    ifnames,
    macs,
    network_names,
    paths,
    plugin_names,
    versions,
)
from amdcni.testing.strategies.result import plain_results_in, result_members
from amdcni.testing.strategies.values import json_values

KNOWN_KEYS: Final = frozenset(
    [
        "cniVersion",
        "name",
        "type",
        "dataDir",
        "logLevel",
        "logFile",
        "mover",
        "copyRoutes",
        "addrGenMode",
        "copySysctls",
        "moveRdma",
        "ipam",
        "deviceID",
        "pciBusID",
        "runtimeConfig",
        "device",
        "hwaddr",
        "kernelpath",
        "prevResult",
        "cni.dev/valid-attachments",
    ]
)
"""The keys of a configuration that mean something here."""

unknown_keys: SearchStrategy[str] = st.sampled_from(
    ["args", "capabilities", "dns", "mtu", "mac"]
) | (
    st.text(max_size=10).filter(
        lambda key: key.casefold() not in {known.casefold() for known in KNOWN_KEYS}
    )
)
"""Keys of a configuration that mean nothing here, in any spelling."""


@attrs.frozen
class Meaning:
    """A configuration, as JSON in `network.raw`, and what it means."""

    network: Network
    device: Device
    prev_result: Result | None

    @property
    def raw(self) -> dict[str, Any]:
        """The configuration."""
        return dict(self.network.raw)


selectors: SearchStrategy[DeviceSelector] = st.builds(
    DeviceSelector,
    bus_device=st.none() | bus_devices,
    ifname=st.none() | ifnames | altnames,
    hwaddr=st.none() | macs,
    kernelpath=st.none() | paths,
).filter(lambda selector: selector != DeviceSelector())
"""Selectors that are not empty."""


_booleans = st.booleans()
_silent = st.sampled_from([None, ""])
_runtime_configs = st.dictionaries(st.sampled_from(["mac", "ips"]), json_values, max_size=1)
_device_id_keys = st.sets(st.sampled_from(["deviceID", "pciBusID", "runtime"]), min_size=1)


@st.composite
def _device_members(draw: DrawFn, selector: DeviceSelector) -> dict[str, Any]:
    """The members that express `selector`, with some that say nothing."""
    raw: dict[str, Any] = {}
    runtime_config = draw(_runtime_configs)
    if selector.bus_device is not None:
        text = str(selector.bus_device)
        if isinstance(selector.bus_device, PciAddress) and draw(_booleans):
            text = text.upper()
        keys = draw(_device_id_keys)
        raw |= {key: text for key in sorted(keys - {"runtime"})}
        if "runtime" in keys:
            runtime_config["deviceID"] = text
    if runtime_config:
        raw["runtimeConfig"] = runtime_config
    for key, value in (
        ("device", selector.ifname),
        ("hwaddr", selector.hwaddr),
        ("kernelpath", selector.kernelpath),
    ):
        if value is not None:
            raw[key] = value
        elif draw(_booleans):
            raw[key] = draw(_silent)
    return raw


_silent_ipams: SearchStrategy[dict[str, Any]] = st.sampled_from([{}, {"ipam": None}, {"ipam": {}}])
_other_ipam_members = st.dictionaries(
    st.text(max_size=6).filter(lambda key: key.casefold() != "type"), json_values, max_size=2
)


@st.composite
def _ipam_members(draw: DrawFn, ipam: PluginName | None) -> dict[str, Any]:
    if ipam is None:
        return draw(_silent_ipams)
    return {"ipam": {**draw(_other_ipam_members), "type": ipam}}


_unknown_members = st.dictionaries(unknown_keys, json_values, max_size=2)
_maybe_plugin_names = st.none() | plugin_names
_log_settings = st.builds(LogSettings, st.sampled_from(LogLevel), st.none() | paths)
_data_dirs = st.just(DEFAULT_DATA_DIR) | paths
_oldest_versions: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"cniVersion": ""}, {"cniVersion": "0.1.0"}]
)
_delegate_members: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"mover": "delegate"}, {"mover": ""}, {"mover": None}]
)
movers: SearchStrategy[Mover] = st.sampled_from(Mover)
"""Who moves netdevs."""

_generation_modes = st.sampled_from(AddrGenMode)
_mtus = st.none() | st.integers(1, 65535)


@st.composite
def _native(draw: DrawFn, device: Device, raw: dict[str, Any]) -> tuple[Device, dict[str, Any]]:
    """The same for the mover `native`, which obeys keys that otherwise mean nothing."""
    own = ("mtu", "mac", "dns", "runtimeConfig", "addrGenMode", "copySysctls")
    runtime = {k: v for k, v in raw.get("runtimeConfig", {}).items() if k != "mac"}
    device = attrs.evolve(
        device,
        mover=Mover.NATIVE,
        mtu=draw(_mtus),
        mac=draw(st.none() | macs),
        addr_gen_mode=draw(_generation_modes),
        copy_sysctls=draw(_booleans),
    )
    raw = {key: value for key, value in raw.items() if key not in own}
    if device.mtu is not None or draw(_booleans):
        raw["mtu"] = device.mtu or draw(st.sampled_from([0, None]))
    if device.mac is not None and draw(_booleans):
        runtime["mac"] = device.mac
        raw |= draw(st.fixed_dictionaries({}, optional={"mac": macs}))
    elif device.mac is not None:
        raw["mac"] = device.mac
    if device.addr_gen_mode is not AddrGenMode.KEEP or draw(_booleans):
        raw["addrGenMode"] = device.addr_gen_mode.value
    if device.copy_sysctls or draw(_booleans):
        raw["copySysctls"] = device.copy_sysctls
    return device, raw | {"mover": "native"} | ({"runtimeConfig": runtime} if runtime else {})


@st.composite
def _meanings(
    draw: DrawFn,
    versions: SearchStrategy[CniVersion],
    selectors: SearchStrategy[DeviceSelector],
    with_prev_result: bool | None,
    movers: SearchStrategy[Mover],
) -> Meaning:
    version, name = draw(versions), draw(network_names)
    device = Device(draw(selectors), draw(_maybe_plugin_names))
    log, data_dir = draw(_log_settings), draw(_data_dirs)
    raw: dict[str, Any] = draw(_unknown_members)
    raw |= {"type": "amd-host-device", "name": name}
    if version != "0.1.0":
        raw["cniVersion"] = version
    else:
        raw |= draw(_oldest_versions)
    raw |= draw(_device_members(device.selector))
    raw |= draw(_ipam_members(device.ipam))
    if draw(movers) is Mover.NATIVE:
        device, raw = draw(_native(device, raw))
    else:
        raw |= draw(_delegate_members)
    if data_dir != DEFAULT_DATA_DIR:
        raw["dataDir"] = data_dir
    if log.level is not LogLevel.WARNING:
        raw["logLevel"] = log.level.value
    if log.file is not None:
        raw["logFile"] = log.file
    previous = None
    if draw(_booleans) if with_prev_result is None else with_prev_result:
        previous = draw(plain_results_in(version))
        raw["prevResult"] = result_members(previous, version)
    if draw(_booleans):
        raw = {key: raw[key] for key in reversed(raw)}
    return Meaning(Network(raw, name, version, data_dir, log), device, previous)


meanings: SearchStrategy[Meaning] = _meanings(versions, selectors, None, movers)
"""Configurations of every version, valid for ADD, with unknown keys, and what they mean."""


def meanings_in(
    versions: SearchStrategy[CniVersion],
    *,
    with_prev_result: bool | None = None,
    selectors: SearchStrategy[DeviceSelector] = selectors,
    movers: SearchStrategy[Mover] = movers,
) -> SearchStrategy[Meaning]:
    """Configurations of some versions, all or none of them with a prevResult if asked for."""
    return _meanings(versions, selectors, with_prev_result, movers)


configurations: SearchStrategy[dict[str, Any]] = meanings.map(lambda meaning: meaning.raw)
"""Configurations of every version, valid for ADD, as JSON objects."""

plugin_objects: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"type": st.sampled_from(["bridge", "sbr", "tuning"])},
    optional={
        "mtu": st.integers(68, 9000),
        "capabilities": st.dictionaries(st.sampled_from(["mac", "ips", "ports"]), st.booleans()),
    },
)
"""Plugins as they are in a list, some with capabilities."""

plugin_lists: SearchStrategy[PluginList] = st.builds(
    PluginList,
    name=network_names,
    version=versions,
    plugins=st.lists(plugin_objects, min_size=1, max_size=3).map(tuple),
    versions=st.lists(versions, max_size=2).map(tuple),
    disable_check=st.booleans(),
    disable_gc=st.booleans(),
    load_only_inlined_plugins=st.booleans(),
)
"""Network configuration lists."""
