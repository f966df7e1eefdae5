"""The types of the CNI specification."""

from ipaddress import ip_interface

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.codec import result_to_json
from amdcni.core.host import IpInterface
from amdcni.core.names import MacAddress, PluginName
from amdcni.core.spec import (
    AttachmentId,
    Interface,
    Ip,
    PluginCall,
    Result,
    Verb,
    with_sandbox_at,
)
from amdcni.core.versions import parse_version
from amdcni.testing import strategies as some


def test_the_verbs_are_those_of_cni_spec_1_1() -> None:
    """CNI SPEC 1.1 §2, "CNI operations"."""
    assert set(Verb) == {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"}


@given(some.attachment_ids, some.attachment_ids)
def test_different_attachments_are_shown_differently(
    one: AttachmentId, other: AttachmentId
) -> None:
    assert (str(one) == str(other)) == (one == other)


@given(some.results, some.ifnames, some.netns_paths)
def test_a_netdev_has_the_addresses_that_point_to_it_or_nowhere(
    result: Result, ifname: str, sandbox: str
) -> None:
    """CNI SPEC 1.1 §5: `interface` is "the index into the interfaces list for a CNI Plugin Result
    indicating which interface this IP configuration should be applied to".
    """
    with_ours = attrs.evolve(
        result, interfaces=(*result.interfaces, Interface(ifname, sandbox=sandbox))
    )
    for ip in with_ours.ips_of(ifname, sandbox):
        if ip.interface is not None:
            pointed_to = with_ours.interfaces[ip.interface]
            assert pointed_to.name == ifname
            assert pointed_to.sandbox in (sandbox, None)
    everywhere = {ip for ip in result.ips if ip.interface is None}
    assert everywhere <= set(with_ours.ips_of(ifname, sandbox))


@given(some.ip_interfaces, some.ifnames, st.none() | some.netns_paths)
def test_an_address_on_another_name_or_sandbox_does_not_belong_to_the_netdev(
    address: IpInterface, ifname: str, sandbox: str | None
) -> None:
    here = Interface(ifname, sandbox=sandbox)
    elsewhere = [Interface(f"{ifname}x", sandbox=sandbox), Interface(ifname, sandbox="/other")]
    for stranger in elsewhere:
        ip = Ip(address, interface=0)
        result = Result((stranger, here), (ip, attrs.evolve(ip, interface=1)))
        assert result.ips_of(ifname, sandbox) == (attrs.evolve(ip, interface=1),)


@given(some.ip_interfaces, st.integers(1, 9))
def test_an_address_that_points_outside_the_result_belongs_to_no_netdev(
    address: IpInterface, index: int
) -> None:
    result = Result((Interface("net1"),), (Ip(address, interface=index),))
    assert result.ips_of("net1", None) == ()


@given(some.results, some.results, some.ifnames, some.netns_paths)
def test_a_result_after_another_contains_both(
    ours: Result, previous: Result, ifname: str, sandbox: str
) -> None:
    """CNI SPEC 1.1 §5: `prevResult` is part of the result."""
    ours = attrs.evolve(ours, interfaces=(*ours.interfaces, Interface(ifname, sandbox=sandbox)))
    both = ours.after(previous)
    assert netdevs_of(both) == netdevs_of(previous) | netdevs_of(ours)
    assert {ip.address for ip in both.ips} == {ip.address for ip in (*previous.ips, *ours.ips)}
    assert set(both.routes) == {*previous.routes, *ours.routes}
    assert both.dns == (ours.dns or previous.dns)
    assert pointed_to(both) == pointed_to(previous) | pointed_to(ours)


def netdevs_of(result: Result) -> set[tuple[str, str | None]]:
    return {(netdev.name, netdev.sandbox) for netdev in result.interfaces}


def pointed_to(result: Result) -> set[tuple[IpInterface, str, str | None]]:
    """Which address is on which interface, as far as the result contains the interface."""
    return {
        (ip.address, netdev.name, netdev.sandbox)
        for ip in result.ips
        for index, netdev in enumerate(result.interfaces)
        if index == ip.interface
    }


def test_an_address_stays_on_its_netdev_wherever_that_is_in_the_merged_result() -> None:
    first, second = (ip_interface(f"10.0.0.{number}/24") for number in (1, 2))
    previous = Result((Interface("eth0"), Interface("net1")), (Ip(first, interface=0),))
    ours = Result((Interface("net1"), Interface("net2")), (Ip(second, interface=1),))
    assert ours.after(previous) == Result(
        (Interface("eth0"), Interface("net1"), Interface("net2")),
        (Ip(first, interface=0), Ip(second, interface=2)),
    )


@given(some.results, some.results)
def test_a_merged_result_contains_nothing_twice(ours: Result, previous: Result) -> None:
    both = ours.after(previous)
    assert len(both.interfaces) == len(netdevs_of(both))
    assert len(both.ips) == len(set(both.ips))
    assert len(both.routes) == len(set(both.routes))
    assert both.after(previous) == both


@given(some.results, some.interfaces, some.macs)
def test_a_netdev_in_both_results_is_taken_from_the_later_one(
    previous: Result, netdev: Interface, mac: MacAddress
) -> None:
    modified = attrs.evolve(netdev, mac=mac)
    previous = attrs.evolve(previous, interfaces=(*previous.interfaces, netdev))
    assert modified in Result((modified,)).after(previous).interfaces


@given(some.results, some.ip_interfaces, st.sampled_from([-1, 99]))
def test_an_index_without_an_interface_does_not_point_into_the_other_result(
    previous: Result, address: IpInterface, index: int
) -> None:
    both = Result(ips=(Ip(address, interface=index),)).after(previous)
    assert Ip(address) in both.ips


def call_with(previous: object) -> PluginCall:
    config = {"type": "host-device", "prevResult": previous}
    return PluginCall(PluginName("host-device"), Verb.CHECK, config, None, "/seen/there", "")


def test_a_call_whose_netns_is_elsewhere_from_here_names_it_so_in_its_previous_result() -> None:
    """`host-device` compares both (plugins/main/host-device, cmdCheck)."""
    lent, other = {"name": "net1", "sandbox": "/seen/there"}, {"name": "eth0", "sandbox": "/other"}
    call = call_with({"interfaces": [lent, other, "odd"], "ips": []})
    moved = call.with_netns_at("/seen/here")
    assert moved.netns == "/seen/here"
    assert moved.config["prevResult"] == {
        "interfaces": [{**lent, "sandbox": "/seen/here"}, other, "odd"],
        "ips": [],
    }
    assert moved.with_netns_at("/seen/there") == call


@pytest.mark.parametrize("previous", [None, "odd", {"interfaces": "odd"}, {}])
def test_what_is_no_result_is_passed_on_as_it_is(previous: object) -> None:
    call = call_with(previous)
    assert call.with_netns_at("/seen/here").config == call.config


@given(some.results, some.netns_paths)
def test_a_result_names_the_old_path_again_if_it_is_moved_back(result: Result, path: str) -> None:
    written = result_to_json(result, parse_version("1.1.0"))
    there = with_sandbox_at(written, path, "/somewhere else")
    assert with_sandbox_at(there, "/somewhere else", path) == written
