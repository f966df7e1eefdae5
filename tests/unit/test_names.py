"""Names come only from their parsers, and each parser has one canonical spelling."""

import re
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from amdcni.core.errors import InvalidName
from amdcni.core.names import (
    AuxiliaryDevice,
    BusDevice,
    DeviceKey,
    IfName,
    MacAddress,
    PciAddress,
    parse_bus_device,
    parse_container_id,
    parse_ifname,
    parse_mac,
    parse_netdev_name,
    parse_network_name,
    parse_plugin_name,
)
from amdcni.testing import strategies as some

PARSERS: list[Callable[[str], object]] = [
    parse_container_id,
    parse_network_name,
    parse_ifname,
    parse_mac,
    parse_netdev_name,
    parse_plugin_name,
    PciAddress.parse,
    AuxiliaryDevice.parse,
    parse_bus_device,
    DeviceKey.parse,
]

near_names = st.text("aZ09_.-:@/%\n f", max_size=17)
"""Texts that are sometimes a name of some type."""

any_texts = near_names | some.hostile_texts


def refusal_of(parse: Callable[[str], object], text: str) -> InvalidName | None:
    try:
        parse(text)
    except InvalidName as failure:
        return failure
    return None


# ---- all of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("parse", PARSERS)
@given(text=any_texts)
def test_a_parser_gives_a_value_or_an_error_that_names_what_is_wrong(
    parse: Callable[[str], object], text: str
) -> None:
    refusal = refusal_of(parse, text)
    parts = (text, *text.partition("@"))
    assert refusal is None or any(repr(part) in refusal.message for part in parts)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=any_texts)
@example("02:00:00:00:00:AB")
@example("00000000:0A:1F.7")
@example("mlx5_core.sf.4")
@example("@eth0")
def test_a_parser_keeps_the_spelling_that_it_produces(
    parse: Callable[[str], object], text: str
) -> None:
    try:
        value = parse(text)
    except InvalidName:
        return
    assert parse(str(value)) == value
    assert str(parse(str(value))) == str(value)


@pytest.mark.parametrize("parse", [each for each in PARSERS if each is not parse_netdev_name])
@given(data=st.data())
def test_no_name_ends_in_a_newline(parse: Callable[[str], object], data: st.DataObject) -> None:
    texts = [
        *("abc", "eth0", "02:00:00:00:00:01", "0000:01:00.0", "mlx5_core.sf.4", "@eth0"),
        str(data.draw(some.device_keys)),
    ]
    for text in texts:
        with pytest.raises(InvalidName):
            parse(f"{text}\n")


# ---- container IDs, network names, plugin names ------------------------------------------------

ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


@pytest.mark.parametrize("parse", [parse_container_id, parse_network_name])
@given(text=any_texts | some.container_ids)
def test_an_id_starts_alphanumeric_and_may_continue_with_underscores_dots_and_hyphens(
    parse: Callable[[str], object], text: str
) -> None:
    """CNI SPEC 1.1 §2: "Must not be empty. Must start with an alphanumeric character, optionally
    followed by any combination of one or more alphanumeric characters, underscore (), dot (.) or
    hyphen (-)."
    """
    fits = text[:1] in ALPHANUMERIC and set(text[1:]) <= ALPHANUMERIC | set("_.-")
    try:
        value = parse(text)
    except InvalidName:
        assert not fits
    else:
        assert fits
        assert value == text


@given(some.plugin_names)
def test_a_plugin_name_is_kept_unchanged(name: str) -> None:
    assert parse_plugin_name(name) == name


@given(any_texts)
@example("../bin/sh")
@example(".")
@example("..")
@example("-rf")
def test_a_plugin_name_never_leads_into_another_folder(text: str) -> None:
    try:
        name = parse_plugin_name(text)
    except InvalidName:
        return
    assert "/" not in name
    assert "\0" not in name
    assert name[0] not in ".-"


# ---- ifnames -----------------------------------------------------------------------------------

KERNEL_SPACES = frozenset(b"\t\n\v\f\r \xa0")
"""Bytes for which the kernel's `isspace` is true (lib/ctype.c)."""


def kernel_accepts(name: str) -> bool:
    """What net/core/dev.c, dev_valid_name, says of a name."""
    octets = name.encode("utf-8", "surrogatepass")
    return (
        0 < len(octets) < 16
        and octets not in (b".", b"..")
        and not any(octet in b"/:\0" or octet in KERNEL_SPACES for octet in octets)
    )


@given(some.ifnames)
def test_an_ifname_that_the_kernel_accepts_is_kept_unchanged(name: IfName) -> None:
    assert kernel_accepts(name)
    assert parse_ifname(name) == name


@given(any_texts)
@example("x" * 16)
@example("é" * 8)
@example("a b")
@example("a\x85b")
@example("à0")
@example("")
def test_what_the_kernel_refuses_is_not_an_ifname(text: str) -> None:
    if not kernel_accepts(text):
        with pytest.raises(InvalidName):
            parse_ifname(text)


def test_no_ifname_has_a_letter_with_a_no_break_space_in_its_bytes() -> None:
    with pytest.raises(InvalidName):
        parse_ifname("à0")


def test_a_pattern_that_the_kernel_would_expand_is_not_an_ifname() -> None:
    with pytest.raises(InvalidName):
        parse_ifname("eth%d")


@given(st.text("abyz09-_.@$#+=,;~!?*", min_size=1, max_size=15))
def test_printable_ascii_is_an_ifname_unless_the_kernel_refuses_it(text: str) -> None:
    assume(text not in (".", ".."))
    assert parse_ifname(text) == text


# ---- any names of netdevs ----------------------------------------------------------------------


@given(some.ifnames | some.altnames)
@example("x" * 127)
def test_every_name_that_a_netdev_can_have_is_kept_unchanged(name: str) -> None:
    assert parse_netdev_name(name) == name


@given(any_texts)
@example("x" * 128)
@example("é" * 64)
@example("a\0")
@example("\ud800")
@example("")
def test_a_name_that_no_netdev_can_have_is_refused(text: str) -> None:
    """Only the length counts, and that a zero ends a name (net/core/rtnetlink.c, ifla_policy)."""
    octets = text.encode("utf-8", "surrogatepass")
    escaped = re.sub("[\udc80-\udcff]", "", text)
    possible = (
        0 < len(octets) < 128 and b"\0" not in octets and not re.search("[\ud800-\udfff]", escaped)
    )
    if possible:
        assert parse_netdev_name(text) == text
    elif len(octets) > 3 * 127 or escaped == text:
        with pytest.raises(InvalidName):
            parse_netdev_name(text)


# ---- hardware addresses ------------------------------------------------------------------------


@given(some.macs)
def test_a_hardware_address_is_read_in_any_case_and_with_hyphens(mac: MacAddress) -> None:
    assert parse_mac(mac) == mac
    assert parse_mac(mac.upper()) == mac
    assert parse_mac(mac.replace(":", "-")) == mac


@given(st.binary(max_size=5) | st.binary(min_size=33, max_size=40))
def test_a_hardware_address_has_6_to_32_octets(octets: bytes) -> None:
    with pytest.raises(InvalidName):
        parse_mac(octets.hex(":"))


@pytest.mark.parametrize(
    "text", ["02-00:0000:00:01", "0g:00:00:00:00:01", "2:0:0:0:0:1", "²²:" * 6]
)
def test_a_hardware_address_is_pairs_of_hexadecimal_digits(text: str) -> None:
    with pytest.raises(InvalidName):
        parse_mac(text)


# ---- devices -----------------------------------------------------------------------------------

SYSFS_NAME = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
"""drivers/pci/probe.c names a function `%04x:%02x:%02x.%d`."""


@given(some.pci_addresses)
def test_a_pci_address_survives_being_written_and_read(address: PciAddress) -> None:
    assert PciAddress.parse(str(address)) == address
    assert PciAddress.parse(str(address).upper()) == address


@given(some.pci_addresses)
def test_a_pci_address_is_written_as_sysfs_writes_it(address: PciAddress) -> None:
    numbers = (address.domain, address.bus, address.device, address.function)
    assert str(address) == "{:04x}:{:02x}:{:02x}.{:d}".format(*numbers)
    assert SYSFS_NAME.fullmatch(str(address))


@given(some.pci_addresses, some.pci_addresses)
def test_pci_addresses_are_ordered_by_their_numbers(one: PciAddress, other: PciAddress) -> None:
    first = (one.domain, one.bus, one.device, one.function)
    second = (other.domain, other.bus, other.device, other.function)
    assert (one < other) == (first < second)


@pytest.mark.parametrize(
    "text",
    [
        "01:00.0",
        "0000:01:00",
        "0000:01:20.0",
        "0000:01:00.8",
        "000:01:00.0",
        "000000000:01:00.0",
        "0000:001:00.0",
        "0000-01-00.0",
        "0x00:01:00.0",
        "\uff10000:01:00.0",
        " 0000:01:00.0",
    ],
)
def test_an_incomplete_or_malformed_pci_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        PciAddress.parse(text)
    with pytest.raises(InvalidName):
        parse_bus_device(text)


@given(some.auxiliary_devices)
def test_an_auxiliary_device_survives_being_written_and_read(device: AuxiliaryDevice) -> None:
    assert AuxiliaryDevice.parse(str(device)) == device


@pytest.mark.parametrize("text", ["a.b", "a.b.c", "a..1", "../b.1", "a.b.1/x", "a.b.1.2"])
def test_an_auxiliary_device_is_a_driver_a_kind_and_a_number(text: str) -> None:
    with pytest.raises(InvalidName):
        AuxiliaryDevice.parse(text)


@given(some.bus_devices)
def test_a_bus_device_survives_being_written_and_read(device: BusDevice) -> None:
    assert parse_bus_device(str(device)) == device


@given(some.device_keys)
def test_a_device_key_survives_being_written_and_read(key: DeviceKey) -> None:
    assert DeviceKey.parse(str(key)) == key


@given(some.device_keys)
def test_a_device_key_can_be_part_of_a_file_name(key: DeviceKey) -> None:
    assert "/" not in str(key)
    assert "\0" not in str(key)
    assert str(key) not in ("", ".", "..")
    assert len(f".{key}.json.4194304.tmp".encode()) <= 255


@given(some.device_keys, some.device_keys)
def test_different_device_keys_are_written_differently(one: DeviceKey, other: DeviceKey) -> None:
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize("text", ["", "@", "0000:01:00.0@", "eth0", "@@/"])
def test_an_empty_or_malformed_device_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        DeviceKey.parse(text)
