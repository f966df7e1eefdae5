"""Strings that have a grammar: each is a type of its own, made only by its parser.

A parser returns the value in its one canonical spelling or raises `InvalidName`, whose message
holds the offending value and the grammar.  Callers at an edge turn it into their own error.
"""

import re
from collections.abc import Collection
from typing import Final, NewType

import attrs

from amdcni.core.errors import InvalidName

ContainerId = NewType("ContainerId", str)
"""What a runtime calls a container; made by `parse_container_id`."""

NetworkName = NewType("NetworkName", str)
"""The name of a network configuration; made by `parse_network_name`."""

IfName = NewType("IfName", str)
"""The name of a netdev, on the host or in a pod; made by `parse_ifname`."""

NetdevName = NewType("NetdevName", str)
"""Any name that the kernel knows a netdev by, also an alternative one; by `parse_netdev_name`."""

MacAddress = NewType("MacAddress", str)
"""A hardware address in lower case with colons; made by `parse_mac`."""

PluginName = NewType("PluginName", str)
"""The file name of a CNI plugin's executable; made by `parse_plugin_name`."""

IpamName = NewType("IpamName", PluginName)
"""The file name of an IPAM plugin's executable; made by `parse_ipam_name`."""

FilePath = NewType("FilePath", str)
"""An absolute path; made by `parse_file_path`."""

_CONTAINER_ID: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_PCI_ADDRESS: Final = re.compile(
    r"(?P<domain>[0-9a-f]{4,8}):(?P<bus>[0-9a-f]{2}):(?P<device>[0-9a-f]{2})\.(?P<function>[0-7])",
    re.IGNORECASE,
)
_AUXILIARY: Final = re.compile(r"[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[0-9]+")
_MAC: Final = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5,31}", re.IGNORECASE)
_PLUGIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")

IFNAME_MAX_BYTES: Final = 15
"""The longest name of a netdev: IFNAMSIZ less the terminating zero."""

ALTNAME_MAX_BYTES: Final = 127
"""The longest alternative name of a netdev: ALTIFNAMSIZ less the terminating zero."""

NO_MAC: Final = MacAddress("00:00:00:00:00:00")
"""The hardware address of loopback, and of a netdev that has none yet: it identifies nothing."""


def parse_container_id(text: str) -> ContainerId:
    """A container ID as CNI SPEC 1.1 §2 has it: alphanumeric first, then also `_`, `.` and `-`."""
    if _CONTAINER_ID.fullmatch(text) is None:
        raise InvalidName(f"{text!r} is not a container ID: [a-zA-Z0-9][a-zA-Z0-9_.-]*")
    return ContainerId(text)


def parse_network_name(text: str) -> NetworkName:
    """A network name, of the same grammar as a container ID (CNI SPEC 1.1 §1)."""
    if _CONTAINER_ID.fullmatch(text) is None:
        raise InvalidName(f"{text!r} is not a network name: [a-zA-Z0-9][a-zA-Z0-9_.-]*")
    return NetworkName(text)


def parse_ifname(text: str) -> IfName:
    """A netdev name that the kernel accepts as it is (net/core/dev.c, dev_valid_name).

    The kernel judges byte by byte, and to it 0xA0 is white space too (lib/ctype.c).  `%` is refused
    as well: the kernel would take it for a pattern and choose another name.
    """
    encoded = _utf8(text)
    if (
        encoded is None
        or not 1 <= len(encoded) <= IFNAME_MAX_BYTES
        or text in (".", "..")
        or any(byte in _NOT_IN_IFNAMES for byte in encoded)
    ):
        raise InvalidName(
            f"{text!r} is not an interface name: 1 to 15 bytes, "
            "not '.' or '..', without '/', ':', '%' and white space"
        )
    return IfName(text)


def parse_netdev_name(text: str) -> NetdevName:
    """A name, perhaps an alternative one, that a netdev can have: the kernel accepts any bytes.

    It checks only the length (net/core/rtnetlink.c, ifla_policy): white space, slashes and bytes
    that are not UTF-8 are fine, the last as the lone surrogates of PEP 383.
    """
    try:
        octets = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        octets = b""
    if not 1 <= len(octets) <= ALTNAME_MAX_BYTES or b"\0" in octets:
        raise InvalidName(f"{text!r} is not the name of a netdev: 1 to 127 bytes, none of them 0")
    return NetdevName(text)


def parse_file_path(text: str) -> FilePath:
    """An absolute path that a file can have: where a plugin happens to run must not matter."""
    if not text.startswith("/") or "\0" in text or _utf8(text) is None:
        raise InvalidName(f"{text!r} is not an absolute path")
    return FilePath(text)


def _utf8(text: str) -> bytes | None:
    """The bytes of `text`; None for one with half characters, which the kernel never sees."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


_NOT_IN_IFNAMES: Final = b"/:%\0 \t\n\v\f\r\xa0"


def parse_mac(text: str) -> MacAddress:
    """A hardware address of 6 to 32 octets, lower case, separated by colons."""
    if _MAC.fullmatch(text) is None:
        raise InvalidName(f"{text!r} is not a hardware address such as '02:00:00:00:00:01'")
    return MacAddress(text.lower().replace("-", ":"))


def parse_plugin_name(text: str) -> PluginName:
    """The name of a plugin executable: a plain file name, never a path."""
    if _PLUGIN.fullmatch(text) is None:
        raise InvalidName(f"{text!r} is not a plugin name: a plain file name without '/'")
    return PluginName(text)


def parse_ipam_name(text: str) -> IpamName:
    """The name of an IPAM plugin: not of one that would endlessly call, or wait for, itself."""
    if text in _MOVERS:
        raise InvalidName(f"{text!r} moves netdevs and is not an IPAM plugin such as 'host-local'")
    return IpamName(parse_plugin_name(text))


_MOVERS: Final = ("host-device", "amd-host-device")


@attrs.frozen(order=True)
class PciAddress:
    """A PCI address, domain:bus:device.function (BDF); as text in lower-case hexadecimal."""

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> "PciAddress":
        """The address that `text` spells in full, such as `0000:01:00.0`; raises InvalidName."""
        match = _PCI_ADDRESS.fullmatch(text)
        if match is None or int(match["device"], 16) > 0x1F:
            raise InvalidName(f"{text!r} is not a PCI address such as '0000:01:00.0'")
        return cls(
            int(match["domain"], 16),
            int(match["bus"], 16),
            int(match["device"], 16),
            int(match["function"]),
        )

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function}"


@attrs.frozen(order=True)
class AuxiliaryDevice:
    """A device of the auxiliary bus, such as the sub-function `mlx5_core.sf.4`."""

    name: str

    @classmethod
    def parse(cls, text: str) -> "AuxiliaryDevice":
        """The device that `text` names, `driver.kind.number`; raises InvalidName."""
        if _AUXILIARY.fullmatch(text) is None:
            raise InvalidName(f"{text!r} is not an auxiliary device such as 'mlx5_core.sf.4'")
        return cls(text)

    def __str__(self) -> str:
        return self.name


BusDevice = PciAddress | AuxiliaryDevice
"""What a device plugin allocates: something on a bus that may have netdevs."""


def parse_bus_device(text: str) -> BusDevice:
    """The PCI address or auxiliary device that `text` names; raises InvalidName."""
    if _AUXILIARY.fullmatch(text) is not None:
        return AuxiliaryDevice.parse(text)
    try:
        return PciAddress.parse(text)
    except InvalidName:
        raise InvalidName(
            f"{text!r} is neither a PCI address such as '0000:01:00.0' "
            "nor an auxiliary device such as 'mlx5_core.sf.4'"
        ) from None


@attrs.frozen(order=True)
class DeviceKey:
    """What a record and a lock are about; at least one part is given.

    `bus_device` alone names the one netdev of a device.  `ifname` (on the host) distinguishes
    several netdevs of one device, and is the only part for a netdev that is on no bus.
    """

    bus_device: BusDevice | None
    ifname: IfName | None = None

    @classmethod
    def parse(cls, text: str) -> "DeviceKey":
        """The inverse of `str`: `0000:01:00.0`, `0000:01:00.0@ens1` or `@ens1`."""
        bus_text, at, name = text.partition("@")
        if bus_text == "" and at == "":
            raise InvalidName(f"{text!r} is not a device key such as '0000:01:00.0'")
        return cls(
            parse_bus_device(bus_text) if bus_text else None, parse_ifname(name) if at else None
        )

    @property
    def lock_name(self) -> str:
        """What a call that works on it locks: one lock for all netdevs of a bus device."""
        return str(self if self.bus_device is None else self.bus_device)

    def __str__(self) -> str:
        bus_text = "" if self.bus_device is None else str(self.bus_device)
        return bus_text if self.ifname is None else f"{bus_text}@{self.ifname}"


_MARK_PREFIX: Final = "amdcni-"


def mark_of(key: DeviceKey) -> str:
    """The alternative name by which the netdev of a record is recognized, wherever it is."""
    return f"{_MARK_PREFIX}{key}"


def is_mark(altname: str) -> bool:
    """Whether an alternative name is the mark of a record."""
    prefix, found, key = altname.partition(_MARK_PREFIX)
    if prefix or not found:
        return False
    try:
        DeviceKey.parse(key)
    except InvalidName:
        return False
    return True


def free_name(wanted: IfName, taken: Collection[str]) -> IfName:
    """`wanted` if nothing has that name yet, else the first free of `wanted_1`, `wanted_2` ...

    The name is cut where it would be too long for the kernel, which counts bytes.
    """
    name, number = str(wanted), 0
    while name in taken:
        number += 1
        stem = wanted.encode()[: IFNAME_MAX_BYTES - len(f"_{number}")]
        name = f"{stem.decode(errors='ignore')}_{number}"
    return parse_ifname(name)
