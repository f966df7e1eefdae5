"""Names of everything that has one: containers, netdevs, devices, plugins, versions, paths."""

from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.names import (
    AuxiliaryDevice,
    BusDevice,
    ContainerId,
    DeviceKey,
    FilePath,
    IfName,
    MacAddress,
    NetdevName,
    NetworkName,
    PciAddress,
    PluginName,
)
from amdcni.core.spec import AttachmentId
from amdcni.core.versions import SUPPORTED, CniVersion

_ALPHANUMERIC: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

container_ids: SearchStrategy[ContainerId] = st.builds(
    lambda first, rest: ContainerId(first + rest),
    st.sampled_from(_ALPHANUMERIC),
    st.text(_ALPHANUMERIC + "_.-", max_size=63),
)
"""Container IDs (CNI SPEC 1.1 §2)."""

network_names: SearchStrategy[NetworkName] = container_ids.map(NetworkName)
"""Network names, which have the grammar of container IDs (CNI SPEC 1.1 §1)."""


def is_ifname(name: str) -> bool:
    """Whether the kernel accepts a name without `/`, `:` and spaces for a netdev as it is."""
    octets = name.encode()
    return len(octets) <= 15 and name not in (".", "..") and b"\xa0" not in octets


_plain_ifnames = st.builds(
    lambda prefix, number: IfName(f"{prefix}{number}"),
    st.sampled_from(["eth", "net", "ens", "enp1s0f"]),
    st.integers(0, 999),
)

ifnames: SearchStrategy[IfName] = _plain_ifnames | st.text(
    st.characters(
        min_codepoint=0x21,
        max_codepoint=0x2FF,
        categories=["L", "N", "P", "S"],
        exclude_characters="/:%",
    ),
    min_size=1,
    max_size=9,
).filter(is_ifname).map(IfName)
"""Names that the kernel accepts for a netdev as they are; some with letters other than ASCII."""

altnames: SearchStrategy[NetdevName] = (
    st.binary(min_size=1, max_size=127).filter(lambda octets: 0 not in octets)
    | st.sampled_from([b"enp129s0f0np0v100", b"a b", b"a/b", b"..", b"%d", b"\xff", b"x" * 127])
).map(lambda octets: NetdevName(octets.decode(errors="surrogateescape")))
"""Alternative names of netdevs; the kernel accepts any bytes, here with the escapes of PEP 383."""

ethernet_macs: SearchStrategy[MacAddress] = st.binary(min_size=6, max_size=6).map(
    lambda octets: MacAddress(octets.hex(":"))
)
"""Hardware addresses of Ethernet, six octets."""

macs: SearchStrategy[MacAddress] = ethernet_macs | st.binary(min_size=6, max_size=32).map(
    lambda octets: MacAddress(octets.hex(":"))
)
"""Hardware addresses of any kind of link, six octets and more (InfiniBand has twenty)."""

plugin_names: SearchStrategy[PluginName] = st.sampled_from(
    ["host-local", "static", "dhcp", "whereabouts"]
).map(PluginName) | st.text(_ALPHANUMERIC + "_", min_size=1, max_size=12).map(PluginName)
"""Names of plugin executables."""

pci_addresses: SearchStrategy[PciAddress] = st.builds(
    PciAddress,
    domain=st.just(0) | st.integers(0, 0xFFFF) | st.integers(0, 0xFFFF_FFFF),
    bus=st.integers(0, 0xFF),
    device=st.integers(0, 0x1F),
    function=st.integers(0, 7),
)
"""PCI addresses; domains of more than 16 bits exist too (VMD)."""

auxiliary_devices: SearchStrategy[AuxiliaryDevice] = st.builds(
    lambda driver, kind, number: AuxiliaryDevice(f"{driver}.{kind}.{number}"),
    st.text("abz059_-", min_size=1, max_size=9),
    st.sampled_from(["sf", "eth", "rdma-1", "x_2"]),
    st.integers(0, 999),
)
"""Devices of the auxiliary bus."""

bus_devices: SearchStrategy[BusDevice] = pci_addresses | auxiliary_devices
"""What a device plugin can allocate."""

device_keys: SearchStrategy[DeviceKey] = st.builds(
    DeviceKey, bus_devices, st.none() | ifnames
) | st.builds(DeviceKey, st.none(), ifnames)
"""Keys of records: a bus device, one of its netdevs, or a netdev on no bus."""

versions: SearchStrategy[CniVersion] = st.sampled_from(SUPPORTED)
"""Every supported CNI version."""


def versions_since(oldest: str) -> SearchStrategy[CniVersion]:
    """The supported CNI versions since `oldest`."""
    return st.sampled_from(SUPPORTED[SUPPORTED.index(CniVersion(oldest)) :])


paths: SearchStrategy[FilePath] = st.text("abcXYZ019._-/é ", min_size=1, max_size=20).map(
    lambda text: FilePath(f"/{text}")
)
"""Absolute paths."""

attachment_ids: SearchStrategy[AttachmentId] = st.builds(AttachmentId, container_ids, ifnames)
"""Pairs of a container ID and an ifname."""

netns_paths: SearchStrategy[str] = st.sampled_from(
    ["/run/netns/pod1", "/var/run/netns/cni-1", "/proc/4711/ns/net"]
)
"""Values of CNI_NETNS."""
