"""Whether an attachment is healthy."""

import ipaddress
from collections.abc import Callable

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.check import (
    config_for_delegate,
    differences,
    is_as_promised,
    is_settling,
    lacking,
    problems,
    problems_of,
    promised_by,
    promised_to,
    routes_of,
    routes_promised_to,
)
from amdcni.core.host import Address, AddressFlag, IpInterface, Netdev, Netns, NetnsId
from amdcni.core.names import IfName, MacAddress, PluginName
from amdcni.core.request import CheckRequest, Device, DeviceSelector, Invocation, Network
from amdcni.core.spec import Interface, Ip, Result, Route, Verb
from amdcni.core.versions import CniVersion
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Lending


def check_of(lending: Lending, version: str = "1.1.0") -> CheckRequest:
    """A CHECK of what is lent, with the result of its ADD as prevResult."""
    record = lending.record
    environ = {"CNI_COMMAND": "CHECK"}
    assert record.result is not None
    return CheckRequest(
        Invocation(Verb.CHECK, record.id, record.netns.path, (), environ),
        Network(record.config, record.network, CniVersion(version)),
        Device(DeviceSelector(record.key.bus_device, record.key.ifname)),
        record.id,
        record.netns.path,
        record.result,
    )


def with_netdev(lending: Lending, change: Callable[[Netdev], Netdev | None]) -> Netns:
    """The pod after a change of our netdev in it; a change to None removes the netdev."""
    after = [change(n) if n == lending.netdev else n for n in lending.pod.netdevs]
    return attrs.evolve(lending.pod, netdevs=tuple(n for n in after if n is not None))


@given(some.lendings)
def test_a_healthy_attachment_has_no_problems(lending: Lending) -> None:
    assert problems(check_of(lending), lending.record, lending.pod) == []
    assert problems_of(lending.record, lending.pod) == []
    assert is_as_promised(lending.record, lending.pod)


@given(some.lendings)
def test_nothing_is_as_promised_in_another_pod_or_once_the_pod_has_gone(lending: Lending) -> None:
    another = attrs.evolve(lending.pod, id=NetnsId(0, lending.pod.id.inode + 1))
    without_netdev = attrs.evolve(lending.record, captured=None)
    assert is_as_promised(without_netdev, lending.pod)
    for record in (lending.record, without_netdev):
        assert not is_as_promised(record, another)
        assert not is_as_promised(record, None)


@given(some.lendings, some.address_lists)
def test_changes_by_chained_plugins_are_not_a_problem(
    lending: Lending, more: tuple[Address, ...]
) -> None:
    """tuning changes the MTU and more; bandwidth and sbr add to the netdev."""
    pod = with_netdev(
        lending,
        lambda n: attrs.evolve(
            n, mtu=1400, alias="x", altnames=("other",), addresses=(*more, *n.addresses)
        ),
    )
    assert problems(check_of(lending), lending.record, pod) == []
    assert is_as_promised(lending.record, pod)


@given(some.lendings)
def test_a_mac_changed_by_tuning_is_not_a_problem(lending: Lending) -> None:
    mac = MacAddress("02:00:00:00:00:99")
    pod = with_netdev(lending, lambda n: attrs.evolve(n, mac=mac))
    assume(lending.record.key.ifname is None or lending.netdev.parent is None)
    assert problems(check_of(lending), lending.record, pod) == []


@given(some.lendings)
def test_a_netdev_that_is_down_is_one_problem(lending: Lending) -> None:
    pod = with_netdev(lending, lambda n: attrs.evolve(n, up=False))
    (line,) = problems(check_of(lending), lending.record, pod)
    assert line == f"{lending.netdev.ifname} is down"
    assert not is_as_promised(lending.record, pod)


@given(some.lendings, st.booleans())
def test_a_missing_link_is_one_problem_if_there_was_one_on_the_host(
    lending: Lending, was_there: bool
) -> None:
    assert lending.record.captured is not None
    captured = attrs.evolve(lending.record.captured, carrier=was_there)
    record = attrs.evolve(lending.record, captured=captured)
    pod = with_netdev(lending, lambda n: attrs.evolve(n, carrier=False))
    lines = problems(check_of(lending), record, pod)
    assert [f"{lending.netdev.ifname} has no link" in line for line in lines] == [True] * was_there
    assert is_settling(record, (), pod) == was_there
    assert is_as_promised(record, pod), "an ADD could not bring it back"


def unusable(address: Address, how: str) -> Address:
    if how == "deprecated":
        return attrs.evolve(address, preferred_s=0)
    return attrs.evolve(address, flags=address.flags | AddressFlag[how])


def had_a_lifetime(record: Attachment, which: IpInterface) -> bool:
    """Whether the host's own address, which the pod has got, was to be deprecated some day."""
    given = record.captured if record.ipam is None else None
    own = () if given is None else given.addresses
    return any(a.interface == which and a.preferred_s is not None for a in own)


WHY = {
    "deprecated": "is deprecated: its preferred lifetime is 0",
    "DADFAILED": "is somebody else's: duplicate address detection failed",
    "TENTATIVE": "cannot be used: duplicate address detection does not end",
}


@given(some.lendings, st.data())
def test_each_unusable_address_is_one_problem(lending: Lending, data: st.DataObject) -> None:
    """Only IPv6 has duplicate address detection (RFC 4862, section 5.4)."""
    assume(lending.netdev.addresses)
    which = data.draw(st.sampled_from(lending.netdev.addresses)).interface
    how = data.draw(st.sampled_from(list(WHY)))
    pod = with_netdev(
        lending,
        lambda n: attrs.evolve(
            n,
            addresses=tuple(unusable(a, how) if a.interface == which else a for a in n.addresses),
        ),
    )
    lines = problems(check_of(lending), lending.record, pod)
    expected = which.version == 6
    if how == "deprecated":
        expected = not had_a_lifetime(lending.record, which)
    fault = f"{lending.netdev.ifname}: {which} {WHY[how]}"
    assert set(lines) == ({fault} if expected else set())
    assert is_as_promised(lending.record, pod) == (not expected)


@given(some.lendings, st.sampled_from(["TENTATIVE", "DADFAILED"]))
def test_only_detection_that_may_still_end_counts_as_settling(lending: Lending, how: str) -> None:
    seen = with_netdev(
        lending,
        lambda n: attrs.evolve(
            n,
            carrier=True,
            addresses=tuple(unusable(a, "TENTATIVE") for a in n.addresses),
        ),
    )
    pod = attrs.evolve(
        seen,
        netdevs=tuple(
            attrs.evolve(n, addresses=tuple(unusable(a, how) for a in n.addresses))
            for n in seen.netdevs
        ),
    )
    promised = promised_by(lending.record)
    assert is_settling(lending.record, promised, pod) == (how == "TENTATIVE" and bool(promised))
    assert not is_settling(lending.record, (), pod)
    down = attrs.evolve(pod, netdevs=tuple(attrs.evolve(n, up=False) for n in pod.netdevs))
    assert not is_settling(lending.record, promised, down)


@given(some.lendings, some.addresses, st.booleans())
def test_an_address_that_had_a_lifetime_on_the_host_may_be_deprecated(
    lending: Lending, address: Address, leased: bool
) -> None:
    """Unless the configured IPAM plugin assigned it."""
    assert lending.record.captured is not None
    captured = attrs.evolve(
        lending.record.captured, addresses=(attrs.evolve(address, preferred_s=9),)
    )
    record = attrs.evolve(
        lending.record, captured=captured, ipam=PluginName("host-local") if leased else None
    )
    seen = attrs.evolve(address, flags=0, preferred_s=0)
    pod = with_netdev(lending, lambda n: attrs.evolve(n, addresses=(seen,)))
    lines = differences(record, (Ip(address.interface),), pod, with_link=False)
    assert ["is deprecated" in line for line in lines] == [True] * leased


@given(some.lendings, st.data())
def test_each_missing_address_is_one_problem(lending: Lending, data: st.DataObject) -> None:
    promised = lending.netdev.addresses
    assume(promised)
    gone = data.draw(st.sets(st.sampled_from(promised), min_size=1))
    left = tuple(address for address in promised if address not in gone)
    missing = {a.interface for a in gone} - {a.interface for a in left}
    pod = with_netdev(lending, lambda n: attrs.evolve(n, addresses=left))
    lines = problems(check_of(lending), lending.record, pod)
    assert set(lines) == {f"{lending.netdev.ifname} lacks {interface}" for interface in missing}
    assert is_as_promised(lending.record, pod) == (not missing)


@given(some.lendings, some.ifnames)
def test_another_name_is_one_problem(lending: Lending, ifname: IfName) -> None:
    assume(ifname != lending.netdev.ifname)
    pod = with_netdev(lending, lambda n: attrs.evolve(n, ifname=ifname))
    (line,) = problems(check_of(lending), lending.record, pod)
    assert repr(ifname) in line
    assert repr(lending.record.id.ifname) in line


@given(some.lendings)
def test_a_missing_netdev_is_the_only_problem(lending: Lending) -> None:
    captured = lending.record.captured
    assert captured is not None
    own_macs = {captured.mac, captured.permanent_mac} - {None}
    pod = with_netdev(lending, lambda n: None)
    assume(not any(own_macs & {n.mac, n.permanent_mac} for n in pod.netdevs))
    (line,) = problems(check_of(lending), lending.record, pod)
    assert f"{lending.record.key} is not in {lending.record.netns.path!r}" in line
    assert not is_as_promised(lending.record, pod)


@given(some.lendings, st.booleans())
def test_a_missing_or_other_netns_is_the_only_problem(lending: Lending, gone: bool) -> None:
    own = lending.pod.id
    cookie = None if own.cookie is None else own.cookie + 1
    other = attrs.evolve(own, inode=own.inode + 1, cookie=cookie)
    pod = None if gone else attrs.evolve(lending.pod, id=other)
    (line,) = problems(check_of(lending), lending.record, pod)
    assert repr(lending.record.netns.path) in line
    assert not is_as_promised(lending.record, pod)


@given(some.lendings, st.sampled_from([Phase.ATTACHING, Phase.DETACHING]))
def test_an_interrupted_call_is_one_problem(lending: Lending, phase: Phase) -> None:
    record = attrs.evolve(lending.record, phase=phase)
    (line,) = problems(check_of(lending), record, lending.pod)
    assert phase in line
    assert "interrupted" in line


@given(some.lendings, some.ip_interfaces)
def test_an_address_of_another_netdev_in_the_result_is_not_checked(
    lending: Lending, address: IpInterface
) -> None:
    assert lending.record.result is not None
    interfaces = (*lending.record.result.interfaces, Interface("other", sandbox="/elsewhere"))
    ips = (*lending.record.result.ips, Ip(address, interface=1))
    check = attrs.evolve(check_of(lending), prev_result=Result(interfaces, ips))
    assert problems(check, lending.record, lending.pod) == []


@given(some.lendings, some.ip_interfaces)
def test_an_address_that_names_no_netdev_is_ours_only_if_our_add_returned_it(
    lending: Lending, address: IpInterface
) -> None:
    assert lending.record.result is not None
    ours = lending.record.result
    returned = [ip.address for ip in ours.ips]
    assume(address not in returned)
    nameless = tuple(attrs.evolve(ip, interface=None) for ip in (*ours.ips, Ip(address)))
    check = attrs.evolve(check_of(lending), prev_result=Result(ours.interfaces, nameless))
    assert problems(check, lending.record, lending.pod) == []
    bare = with_netdev(lending, lambda n: attrs.evolve(n, addresses=()))
    lines = problems(check, lending.record, bare)
    assert {line.rpartition(" ")[2] for line in lines} == set(map(str, returned))


@given(
    some.check_requests,
    some.attachments_of(phases=st.just(Phase.ATTACHED), with_netdev=False),
    some.hosts,
)
def test_a_device_without_a_netdev_has_no_problems_while_its_pod_lives(
    request: CheckRequest, record: Attachment, found: Netns
) -> None:
    pod = attrs.evolve(found, id=record.netns.id)
    assert problems(request, record, pod) == []
    assert is_as_promised(record, pod)


@given(some.lendings)
def test_an_attachment_without_a_result_is_not_healthy(lending: Lending) -> None:
    assert not is_as_promised(attrs.evolve(lending.record, result=None), lending.pod)


@given(some.netdevs, st.lists(some.ip_interfaces, max_size=3))
def test_an_address_is_present_only_with_its_prefix_length(
    netdev: Netdev, promised: list[IpInterface]
) -> None:
    ips = tuple(map(Ip, promised))
    there = {str(address.interface) for address in netdev.addresses}
    expected = [ip for ip in ips if str(ip.address) not in there]
    assert lacking(ips, netdev) == expected


def test_an_address_with_another_prefix_length_is_missing() -> None:
    ip = Ip(ipaddress.ip_interface("10.0.0.1/24"))
    seen = Netdev(2, IfName("net1"), addresses=(Address(ipaddress.ip_interface("10.0.0.1/32")),))
    assert lacking((ip,), seen) == [ip]


@given(some.lendings)
def test_an_address_that_names_no_netdev_is_ours_if_our_own_add_has_reported_it(
    lending: Lending,
) -> None:
    record = lending.record
    ours = Interface(record.id.ifname, sandbox=record.netns.path)
    named = Ip(ipaddress.ip_interface("192.0.2.1/24"), interface=0)
    nameless = Ip(ipaddress.ip_interface("192.0.2.2/24"))
    check = attrs.evolve(check_of(lending), prev_result=Result((ours,), (named, nameless)))
    for result, expected in (
        (Result(ips=(nameless,)), (named, nameless)),
        (Result(), (named,)),
        (None, (named,)),
    ):
        assert promised_to(check, attrs.evolve(record, result=result)) == expected


@pytest.mark.parametrize(
    ("preferred_s", "ipam", "is_expected"),
    [(600, None, True), (None, None, False), (600, PluginName("host-local"), False)],
)
@given(lending=some.lendings)
def test_an_address_may_be_deprecated_only_if_it_had_a_lifetime_of_its_own_on_the_host(
    lending: Lending, preferred_s: int | None, ipam: PluginName | None, is_expected: bool
) -> None:
    ip, limited = (ipaddress.ip_interface(f"2001:db8::{n}/64") for n in (1, 2))
    own = (Address(ip, preferred_s=preferred_s), Address(limited, preferred_s=600))
    assert lending.record.captured is not None
    captured = attrs.evolve(lending.record.captured, addresses=own)
    record = attrs.evolve(lending.record, captured=captured, ipam=ipam)
    pod = with_netdev(lending, lambda n: attrs.evolve(n, addresses=(Address(ip, preferred_s=0),)))
    fault = f"{lending.netdev.ifname}: {ip} is deprecated: its preferred lifetime is 0"
    assert differences(record, (Ip(ip),), pod) == ([] if is_expected else [fault])


@given(some.lendings)
def test_the_promised_routes_are_those_of_our_own_add_that_are_still_in_prev_result(
    lending: Lending,
) -> None:
    first, second = (Route(ipaddress.ip_interface(f"10.{n}.0.0/16")) for n in (1, 2))
    record = attrs.evolve(lending.record, result=Result(routes=(first, second)))
    check = attrs.evolve(check_of(lending), prev_result=Result(routes=(second,)))
    assert routes_of(record) == {first.dst.network, second.dst.network}
    assert routes_promised_to(check, record) == {second.dst.network}
    for changed in (attrs.evolve(record, captured=None), attrs.evolve(record, result=None)):
        assert routes_promised_to(check, changed) == frozenset()


# ---- what the delegate gets -------------------------------------------------------------------


@given(some.lendings, some.macs, some.versions_since("0.4.0"))
def test_the_delegate_checks_the_netdev_as_it_is_now(
    lending: Lending, mac: MacAddress, version: CniVersion
) -> None:
    """CNI SPEC 1.1 §2, CHECK; the delegate knows nothing of the plugins that came after it."""
    check = check_of(lending, version)
    pod = with_netdev(lending, lambda n: attrs.evolve(n, mac=mac))
    config = config_for_delegate(check, lending.record, pod)
    expected = {"name": lending.netdev.ifname, "mac": mac, "sandbox": check.netns}
    assert config["prevResult"] == {"cniVersion": version, "interfaces": [expected]}
    assert config["cniVersion"] == version
    rest = lending.record.config.keys() - {"cniVersion", "prevResult"}
    assert {key: config[key] for key in rest} == {key: lending.record.config[key] for key in rest}


@given(some.check_requests, some.attachments_of(with_netdev=False), some.hosts)
def test_the_delegate_gets_no_mac_for_a_device_without_a_netdev(
    request: CheckRequest, record: Attachment, pod: Netns
) -> None:
    ifname = request.attachment.ifname
    empty = attrs.evolve(pod, netdevs=())
    config = config_for_delegate(request, record, empty)
    (interface,) = config["prevResult"]["interfaces"]
    assert interface == {"name": ifname, "sandbox": request.netns}
