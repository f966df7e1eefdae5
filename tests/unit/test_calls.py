"""Which calls other plugins get: from an ADD, at the end of an attachment, and from a CHECK."""

import ipaddress
import json

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment
from amdcni.core.calls import check_call, ipam_call, lease_call, plugins_for, release_call
from amdcni.core.check import config_for_delegate
from amdcni.core.codec import decode_object, encode
from amdcni.core.codec.results import result_to_json
from amdcni.core.formats import parse_request
from amdcni.core.host import Netdev, Netns
from amdcni.core.identity import dies_with_its_netns
from amdcni.core.ipam import static_ipam
from amdcni.core.names import IfName, PluginName
from amdcni.core.plans.attach import plan_add
from amdcni.core.request import AddRequest, CheckRequest, Mover
from amdcni.core.spec import Ip, PluginCall, Result, Verb
from amdcni.core.versions import CniVersion
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover, Lending
from tests.unit.handovers import any_handovers, call_in, native_handovers, plan_of, record_in

# ---- ADD: what the delegate gets


@given(any_handovers)
def test_the_delegate_is_called_with_our_verb_attachment_and_arguments(handover: Handover) -> None:
    call, request = call_in(plan_of(handover)), handover.request
    assert (call.plugin, call.verb) == ("host-device", Verb.ADD)
    assert (call.attachment, call.netns) == (request.attachment, request.netns)
    assert call.args == request.invocation.environ["CNI_ARGS"]
    assert call.config == record_in(plan_of(handover)).config


@given(some.configured_handovers)
def test_every_key_that_we_do_not_set_reaches_the_delegate_unchanged(handover: Handover) -> None:
    """From the bytes of stdin to those of the delegate's stdin."""
    ours = {"ipam", "device", "cniVersion"}
    if handover.netdev is None:
        ours |= {"pciBusID"}
    if handover.request.network.version < "0.3.0":
        ours |= {"prevResult"}
    stdin = encode(handover.request.network.raw).encode()
    request = parse_request(handover.request.invocation, stdin)
    assert isinstance(request, AddRequest)
    call = call_in(plan_add(request, handover.snapshot))
    given_raw = decode_object(stdin, "stdin")
    got = decode_object(encode(call.config).encode(), "the delegate's stdin")
    for key in given_raw.keys() - ours:
        assert json.dumps(got[key]) == json.dumps(given_raw[key])
    assert got.keys() - given_raw.keys() <= ours


@given(some.handovers)
def test_the_delegate_gets_the_netdev_by_its_name(handover: Handover) -> None:
    """plugins/main/host-device, getLink, looks at `device` first."""
    assert handover.netdev is not None
    assert call_in(plan_of(handover)).config["device"] == handover.netdev.ifname


@given(some.userspace_handovers)
def test_the_delegate_gets_a_device_without_a_netdev_by_its_address(
    handover: Handover,
) -> None:
    expected = str(handover.request.device.selector.bus_device)
    assert call_in(plan_of(handover)).config["pciBusID"] == expected


@given(any_handovers)
def test_the_delegate_gets_our_version_or_the_first_that_lists_addresses(
    handover: Handover,
) -> None:
    """A 0.1.0 or 0.2.0 result has one address per family, and plugins fail with more."""
    version = handover.request.network.version
    spoken = call_in(plan_of(handover)).config["cniVersion"]
    assert spoken == ("0.3.0" if version in ("0.1.0", "0.2.0") else version)


@given(some.configured_handovers)
def test_the_configured_ipam_replaces_the_captured_addresses(handover: Handover) -> None:
    plan, raw = plan_of(handover), handover.request.network.raw
    captured, config = record_in(plan).captured, call_in(plan).config
    if handover.request.device.ipam is not None:
        assert config["ipam"] == raw["ipam"]
    elif captured is None or static_ipam(captured.addresses) is None:
        assert "ipam" not in config
    else:
        assert config["ipam"] == static_ipam(captured.addresses)


@given(native_handovers)
def test_an_ipam_plugin_of_a_native_add_gets_every_key_unchanged(handover: Handover) -> None:
    ours = {"cniVersion"}
    if handover.request.network.version < "0.3.0":
        ours |= {"prevResult"}
    config, raw = record_in(plan_of(handover)).config, handover.request.network.raw
    assert {key: config[key] for key in raw.keys() - ours} == {
        key: raw[key] for key in raw.keys() - ours
    }
    assert config.keys() - raw.keys() <= ours
    version = handover.request.network.version
    assert config.get("cniVersion", "0.3.0") == max(version, "0.3.0")


@given(st.none() | some.plugin_names)
def test_an_add_runs_the_delegate_and_one_ipam_plugin(ipam: PluginName | None) -> None:
    own = "static" if ipam is None else ipam
    assert plugins_for(Mover.DELEGATE, ipam) == ("host-device", own)


@given(st.none() | some.plugin_names)
def test_a_native_add_runs_the_configured_ipam_plugin_and_no_other(
    ipam: PluginName | None,
) -> None:
    assert plugins_for(Mover.NATIVE, ipam) == (() if ipam is None else (ipam,))


# ---- whom a DEL calls


def del_call(record: Attachment, plugin: str, netns: str) -> PluginCall:
    return PluginCall(PluginName(plugin), Verb.DEL, record.config, record.id, netns, record.args)


def ipam_del_call(record: Attachment, netns: str) -> PluginCall | None:
    return None if record.ipam is None else del_call(record, record.ipam, netns)


@given(some.lendings)
def test_del_calls_the_delegate_while_our_netdev_is_in_the_pod_under_its_ifname(
    lending: Lending,
) -> None:
    """Except for what the kernel would destroy if the delegate were killed midway."""
    record = attrs.evolve(lending.record, mover=Mover.DELEGATE)
    if dies_with_its_netns(record):
        assert release_call(record, lending.pod) == ipam_del_call(record, record.netns.path)
    else:
        expected = del_call(record, "host-device", record.netns.path)
        assert release_call(record, lending.pod) == expected


@given(some.native_handovers)
def test_a_software_netdev_is_never_given_to_the_delegate(handover: Handover) -> None:
    device = attrs.evolve(handover.request.device, mover=Mover.DELEGATE)
    handover = attrs.evolve(handover, request=attrs.evolve(handover.request, device=device))
    record = record_in(plan_of(handover))
    assert (record.mover is Mover.NATIVE) == dies_with_its_netns(record)


@given(some.lendings)
def test_after_a_native_add_del_calls_only_the_ipam_plugin(lending: Lending) -> None:
    record = attrs.evolve(lending.record, mover=Mover.NATIVE)
    assert release_call(record, lending.pod) == ipam_del_call(record, record.netns.path)


@given(some.lendings, some.netdevs, some.ifnames)
def test_del_never_calls_the_delegate_for_another_netdev_than_ours(
    lending: Lending, stranger: Netdev, renamed: IfName
) -> None:
    """The delegate would move whatever is called CNI_IFNAME out of the pod."""
    record, ours = lending.record, lending.netdev
    assert record.captured is not None
    known = {record.captured.mac, record.captured.permanent_mac, record.pod_mac, None}
    assume(stranger.mac not in known and stranger.permanent_mac not in known)
    assume(stranger.parent is None or stranger.parent != ours.parent)
    assume(renamed != ours.ifname)
    stranger = attrs.evolve(stranger, ifindex=ours.ifindex + 1, ifname=ours.ifname)
    elsewhere = [n for n in lending.pod.netdevs if n != ours]
    gone = attrs.evolve(lending.pod, netdevs=(*elsewhere, stranger))
    moved = attrs.evolve(gone, netdevs=(*gone.netdevs, attrs.evolve(ours, ifname=renamed)))
    for pod in (gone, moved, attrs.evolve(lending.pod, netdevs=tuple(elsewhere))):
        assert release_call(record, pod) == ipam_del_call(record, record.netns.path)


@given(some.attachments, some.hosts)
def test_without_its_netns_del_calls_only_the_ipam_plugin(record: Attachment, found: Netns) -> None:
    """CNI SPEC 1.1 §2, DEL: CNI_NETNS may be empty, and plugins "should generally complete a DEL
    action without error even if some resources are missing".
    """
    assume(not found.id.is_same(record.netns.id))
    for pod in (None, found, attrs.evolve(found, path=record.netns.path)):
        assert release_call(record, pod) == ipam_del_call(record, "")


@given(some.attachments_of(with_netdev=False), some.hosts)
def test_del_calls_the_delegate_for_a_device_without_a_netdev_while_its_netns_lives(
    record: Attachment, pod: Netns
) -> None:
    alive = attrs.evolve(pod, path=record.netns.path, id=record.netns.id)
    record = attrs.evolve(record, mover=Mover.DELEGATE)
    assert release_call(record, alive) == del_call(record, "host-device", record.netns.path)
    native = attrs.evolve(record, mover=Mover.NATIVE)
    assert release_call(native, alive) == ipam_del_call(native, record.netns.path)


@given(some.attachments, some.verbs, st.booleans())
def test_the_ipam_plugin_is_called_only_if_one_is_configured(
    record: Attachment, verb: Verb, alive: bool
) -> None:
    netns = record.netns.path if alive else ""
    expected = ipam_del_call(record, netns)
    call = ipam_call(record, verb, netns_alive=alive)
    assert call == (None if expected is None else attrs.evolve(expected, verb=verb))


# ---- CHECK


RESULT = Result(ips=(Ip(ipaddress.ip_interface("192.0.2.7/24")),))


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.1.0", None])
@pytest.mark.parametrize("result", [None, RESULT])
@pytest.mark.parametrize("ipam", [None, "host-local"])
@given(drawn=some.attachments)
def test_an_ipam_plugin_is_asked_about_its_lease_with_the_result_of_the_add(
    drawn: Attachment, ipam: PluginName | None, result: Result | None, version: CniVersion | None
) -> None:
    """SPEC 1.1 §2, CHECK: prevResult is required; 0.4.0 is the first version with the verb."""
    config = {**drawn.config, "cniVersion": version}
    record = attrs.evolve(drawn, ipam=ipam, result=result, config=config)
    call = lease_call(record)
    if ipam is None or result is None or version in ("0.3.1", None):
        assert call is None
    else:
        expected = del_call(record, ipam, record.netns.path)
        config["prevResult"] = result_to_json(result, CniVersion(str(version)))
        assert call == attrs.evolve(expected, verb=Verb.CHECK, config=config)


@given(some.check_requests, some.lendings)
def test_a_check_calls_the_plugins_that_took_part_in_the_add(
    request: CheckRequest, lending: Lending
) -> None:
    native = attrs.evolve(lending.record, mover=Mover.NATIVE)
    call = check_call(request, native, lending.pod)
    if native.ipam is None:
        assert call is None
    else:
        said = {"cniVersion": request.network.version}
        said["prevResult"] = request.network.raw["prevResult"]
        expected = del_call(native, native.ipam, native.netns.path)
        config = {**native.config, **said}
        assert call == attrs.evolve(expected, verb=Verb.CHECK, config=config)
    delegated = attrs.evolve(native, mover=Mover.DELEGATE)
    call = check_call(request, delegated, lending.pod)
    assert call is not None
    assert (call.plugin, call.verb) == ("host-device", Verb.CHECK)
    assert (call.attachment, call.netns) == (delegated.id, delegated.netns.path)
    assert call.args == delegated.args
    assert call.config == config_for_delegate(request, delegated, lending.pod)
