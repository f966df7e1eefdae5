"""Records of attachments, and moments."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.names import DeviceKey, PciAddress
from amdcni.core.plans.snapshot import Clock
from amdcni.core.rdma import RdmaDevice
from amdcni.core.spec import Result
from amdcni.testing.strategies.configuration import movers
from amdcni.testing.strategies.environment import cni_args
from amdcni.testing.strategies.names import (
    attachment_ids,
    bus_devices,
    macs,
    netns_paths,
    network_names,
    plugin_names,
)
from amdcni.testing.strategies.node import captures, ifindexes, netns_ids
from amdcni.testing.strategies.result import results
from amdcni.testing.strategies.routing import sysctls
from amdcni.testing.strategies.values import json_objects

boot_ids: SearchStrategy[str] = st.uuids().map(str)
"""Boot IDs, as /proc/sys/kernel/random/boot_id shows them."""

clocks: SearchStrategy[Clock] = st.builds(
    Clock,
    now_s=st.integers(0, 2**31),
    boot_id=boot_ids,
    wall=st.datetimes().map(lambda time: f"{time.isoformat(timespec='seconds')}+00:00"),
)
"""Moments."""

netns_refs: SearchStrategy[NetnsRef] = st.builds(NetnsRef, netns_paths, netns_ids)
"""The pod's netns at the time of an ADD."""


_rdma_guids = st.none() | st.integers(1, 2**64 - 1).map(lambda guid: f"{guid:016x}")
_rdma_names = st.from_regex(r"[a-z][a-z0-9_]{0,12}[0-9]", fullmatch=True)


def rdma_device_lists(least: int, most: int) -> SearchStrategy[tuple[RdmaDevice, ...]]:
    """RDMA devices of one host: no two have a number, a name or a GUID in common."""
    devices = st.builds(RdmaDevice, st.integers(0, 2**31), _rdma_names, _rdma_guids)
    each_once = (
        lambda device: device.index,
        lambda device: device.name,
        lambda device: device.guid or device.index,
    )
    return st.lists(devices, min_size=least, max_size=most, unique_by=each_once).map(tuple)


rdma_devices: SearchStrategy[RdmaDevice] = rdma_device_lists(1, 1).map(lambda devices: devices[0])
"""RDMA devices."""

_few_rdma_devices = rdma_device_lists(0, 2)

_maybe_bus_devices = st.none() | bus_devices
_maybe_captures = st.none() | captures
_maybe_macs = st.none() | macs
_maybe_plugin_names = st.none() | plugin_names
_booleans = st.booleans()


@st.composite
def _attachments(
    draw: DrawFn,
    phases: SearchStrategy[Phase],
    captures: SearchStrategy[Captured | None],
    configs: SearchStrategy[dict[str, Any]],
    results: SearchStrategy[Result | None],
) -> Attachment:
    captured, bus_device = draw(captures), draw(_maybe_bus_devices)
    if captured is None:
        key = DeviceKey(draw(bus_devices) if bus_device is None else bus_device)
    else:
        alone = bus_device is not None and draw(_booleans)
        key = DeviceKey(bus_device, None if alone else captured.ifname)
    clock, phase = draw(clocks), draw(phases)
    attached = phase is not Phase.ATTACHING
    return Attachment(
        network=draw(network_names),
        id=draw(attachment_ids),
        netns=draw(netns_refs),
        key=key,
        phase=phase,
        boot_id=clock.boot_id,
        read_at_s=clock.now_s,
        since=clock.wall,
        config=draw(configs),
        args=draw(cni_args),
        captured=captured,
        ipam=draw(_maybe_plugin_names),
        mover=draw(movers),
        pod_mac=draw(_maybe_macs),
        pod_sysctls=draw(sysctls),
        pod_ifindex=draw(ifindexes) if attached and captured else None,
        result=draw(results) if attached else None,
        rdma=() if captured is None else draw(_few_rdma_devices),
        taken_over=draw(_booleans) if isinstance(key.bus_device, PciAddress) else False,
    )


phases: SearchStrategy[Phase] = st.sampled_from(Phase)
"""Every phase of a record."""

attachments: SearchStrategy[Attachment] = _attachments(
    phases, _maybe_captures, json_objects, results
)
"""Records, including those of devices of a userspace driver, which have no netdev."""


def attachments_of(
    *,
    phases: SearchStrategy[Phase] = phases,
    with_netdev: bool | None = None,
    configs: SearchStrategy[dict[str, Any]] = json_objects,
    results: SearchStrategy[Result | None] = results,
) -> SearchStrategy[Attachment]:
    """Records in some phases, all or none of them with a netdev if asked for.

    `configs` are those of the ADD, and `results` its answers if it has given one.
    """
    chosen = {None: _maybe_captures, True: captures, False: st.none()}[with_netdev]
    return _attachments(phases, chosen, configs, results)
