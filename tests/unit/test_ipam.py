"""Static IPAM: the host's addresses with the gateways of point-to-point prefixes."""

import ipaddress
import json
from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given

from amdcni.core.aspects.addresses import in_setting_order
from amdcni.core.host import Address, IpAddress, IpInterface
from amdcni.core.ipam import gateway_of, static_ipam
from amdcni.testing import strategies as some


def peer_of(interface: IpInterface) -> IpAddress | None:
    """RFC 3021 §2.1 for a /31, "the two possible Host-Numbers" are hosts of a point-to-point link;
    RFC 6164 §6 likewise for a /127: the gateway is the other of the two.
    """
    network = interface.network
    if network.num_addresses != 2:
        return None
    first, second = network[0], network[1]
    return second if interface.ip == first else first


@given(some.ip_interfaces)
def test_the_gateway_is_the_other_address_of_a_network_of_two(interface: IpInterface) -> None:
    assert gateway_of(interface) == peer_of(interface)


@given(some.ip_interfaces)
def test_each_end_of_a_point_to_point_link_is_the_others_gateway(interface: IpInterface) -> None:
    gateway = gateway_of(interface)
    if gateway is not None:
        far = ipaddress.ip_interface((gateway, interface.network.prefixlen))
        assert gateway_of(far) == interface.ip


@pytest.mark.parametrize(
    ("interface", "gateway"),
    [
        ("192.168.1.8/31", "192.168.1.9"),
        ("192.168.1.9/31", "192.168.1.8"),
        ("10.0.0.255/31", "10.0.0.254"),
        ("2001:db8:1::8/127", "2001:db8:1::9"),
        ("2001:db8:1::ffff/127", "2001:db8:1::fffe"),
        ("192.168.1.8/32", None),
        ("192.168.1.8/30", None),
        ("2001:db8:1::8/31", None),
        ("2001:db8:1::8/128", None),
    ],
)
def test_prefixes_of_31_and_127_bits_have_a_gateway(interface: str, gateway: str | None) -> None:
    expected = None if gateway is None else ipaddress.ip_address(gateway)
    assert gateway_of(ipaddress.ip_interface(interface)) == expected


def fit_for_a_pod(addresses: Iterable[Address]) -> list[Address]:
    """Every address except those that a pod's kernel makes itself, fe80::/10 (RFC 4291 §2.5.6)."""
    link_local = ipaddress.ip_network("fe80::/10")
    return [address for address in addresses if address.interface.ip not in link_local]


@given(some.address_lists)
def test_a_pod_gets_every_address_that_is_not_link_local_in_setting_order(
    addresses: tuple[Address, ...],
) -> None:
    """One with several peers is given once, as below."""
    ipam = static_ipam(addresses)
    expected: list[dict[str, str]] = []
    for interface in dict.fromkeys(
        address.interface for address in fit_for_a_pod(in_setting_order(addresses))
    ):
        gateway = peer_of(interface)
        entry = {"address": str(interface)}
        expected.append(entry if gateway is None else {**entry, "gateway": str(gateway)})
    assert expected == ([] if ipam is None else ipam["addresses"])


@given(some.addresses, some.ip_addresses)
def test_an_address_with_two_peers_is_given_to_a_pod_once(
    address: Address, peer: IpAddress
) -> None:
    twice = (address, attrs.evolve(address, peer=peer))
    assert static_ipam(twice) == static_ipam((address,))


@given(some.address_lists)
def test_there_is_no_ipam_without_an_address(addresses: tuple[Address, ...]) -> None:
    assert (static_ipam(addresses) is None) == (not fit_for_a_pod(addresses))


@given(some.address_lists)
def test_the_static_plugin_gets_only_keys_that_it_knows(
    addresses: tuple[Address, ...],
) -> None:
    """plugins/ipam/static: `type`, `addresses`, and in each `address` and `gateway`, in CIDR
    notation and as an IP.
    """
    ipam = static_ipam(addresses)
    if ipam is None:
        return
    assert json.loads(json.dumps(ipam)) == ipam
    assert ipam.keys() == {"type", "addresses"}
    assert ipam["type"] == "static"
    for entry in ipam["addresses"]:
        assert entry.keys() <= {"address", "gateway"}
        assert str(ipaddress.ip_interface(entry["address"])) == entry["address"]
        assert str(ipaddress.ip_address(entry.get("gateway", "::"))) == entry.get("gateway", "::")
