"""What the environment of a call says, judged before any JSON is read."""

import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.core.errors import InvalidConfiguration, InvalidEnvironment
from amdcni.core.formats import parse_request
from amdcni.core.names import (
    BusDevice,
    ContainerId,
    IfName,
    MacAddress,
    NetworkName,
    PciAddress,
)
from amdcni.core.request import (
    DEVICE_KEYS,
    OTHER_KEYS,
    AddRequest,
    CheckRequest,
    DelRequest,
    Device,
    DeviceSelector,
    GcRequest,
    Invocation,
    Network,
    Request,
    StatusRequest,
    parse_environment,
    pod_named_in,
    selector_of,
)
from amdcni.core.spec import AttachmentId, Interface, Ip, Result, Verb
from amdcni.core.versions import CniVersion
from amdcni.testing import strategies as some

# ---- valid environments ------------------------------------------------------------------------


@given(some.environments)
def test_a_call_is_read_from_its_environment(environ: dict[str, str]) -> None:
    invocation = parse_environment(environ)
    assert invocation.verb == environ["CNI_COMMAND"]
    assert invocation.netns == (environ.get("CNI_NETNS") or None)
    if invocation.verb in ("ADD", "DEL", "CHECK"):
        held = (environ["CNI_CONTAINERID"], environ["CNI_IFNAME"])
        assert invocation.attachment is not None
        assert (invocation.attachment.container_id, invocation.attachment.ifname) == held
    else:
        assert invocation.attachment is None


@given(some.environments)
def test_plugins_that_the_plugin_calls_get_the_whole_environment(environ: dict[str, str]) -> None:
    assert parse_environment(environ).environ == environ


@given(some.environments)
def test_plugins_are_searched_in_cni_path_first_and_in_each_folder_once(
    environ: dict[str, str],
) -> None:
    """CNI SPEC 1.1 §2: CNI_PATH is a "list of paths to search for CNI plugin executables. Paths are
    separated by an OS-specific list separator".
    """
    dirs = parse_environment(environ).plugin_dirs
    wanted_order = [path for path in environ.get("CNI_PATH", "").split(":") if path]
    wanted_order += ["/opt/cni/bin", "/var/lib/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"]
    assert set(dirs) == set(wanted_order)
    assert len(dirs) == len(set(dirs))
    assert [wanted_order.index(path) for path in dirs] == sorted(map(wanted_order.index, dirs))


# ---- wrong environments ------------------------------------------------------------------------

NEEDED: dict[str, set[str]] = {
    "ADD": {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"},
    "DEL": {"CNI_CONTAINERID", "CNI_IFNAME"},
    "CHECK": {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"},
    "GC": {"CNI_PATH"},
    "STATUS": set(),
    "VERSION": set(),
}
"""CNI SPEC 1.1 §2, "Required environment parameters" of each operation, without CNI_COMMAND.

CNI_PATH is required for CHECK and GC; there are fallbacks, and only GC insists on it.
"""


@given(st.data(), some.verbs)
def test_all_missing_or_empty_variables_are_named_at_once(data: st.DataObject, verb: Verb) -> None:
    environ = data.draw(some.environments_for(verb))
    gone = data.draw(st.sets(st.sampled_from(sorted(NEEDED[verb])))) if NEEDED[verb] else set()
    for name in sorted(gone):
        if data.draw(st.booleans()):
            environ[name] = ""
        else:
            del environ[name]
    if not gone:
        parse_environment(environ)
        return
    with pytest.raises(InvalidEnvironment) as refusal:
        parse_environment(environ)
    named = {name for name in NEEDED["ADD"] | NEEDED["GC"] if name in refusal.value.message}
    assert named == gone
    assert verb in refusal.value.message


@given(some.environments_for(Verb.ADD), some.hostile_texts)
@example({"CNI_CONTAINERID": "c", "CNI_NETNS": "/n", "CNI_IFNAME": "net1"}, "add")
@example({"CNI_CONTAINERID": "c", "CNI_NETNS": "/n", "CNI_IFNAME": "net1"}, "")
def test_an_unknown_command_is_refused_and_the_known_ones_are_listed(
    environ: dict[str, str], command: str
) -> None:
    if command in NEEDED:
        return
    with pytest.raises(InvalidEnvironment) as refusal:
        parse_environment({**environ, "CNI_COMMAND": command})
    assert "CNI_COMMAND" in refusal.value.message
    assert repr(command) in refusal.value.message
    assert all(verb in refusal.value.message for verb in NEEDED)


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
@given(data=st.data())
def test_a_bad_container_id_and_a_bad_ifname_are_both_named(verb: str, data: st.DataObject) -> None:
    environ = data.draw(some.environments_for(Verb(verb)))
    bad_id = data.draw(st.sampled_from(["-a", "a b", "a/b", "é", "\udcff", "a\n", "../x"]))
    bad_ifname = data.draw(st.sampled_from(["..", "x" * 16, "a b", "a:b", "a/b", "\udcff", "a%d"]))
    with pytest.raises(InvalidEnvironment) as refusal:
        parse_environment({**environ, "CNI_CONTAINERID": bad_id, "CNI_IFNAME": bad_ifname})
    for said in ("CNI_CONTAINERID", "CNI_IFNAME", repr(bad_id), repr(bad_ifname)):
        assert said in refusal.value.message


near_environments = st.dictionaries(
    st.sampled_from(
        ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"]
    ),
    st.sampled_from([*Verb]) | some.hostile_texts,
)


@given(near_environments | some.environments, near_environments)
def test_any_environment_is_a_call_or_an_error(
    environ: dict[str, str], change: dict[str, str]
) -> None:
    try:
        invocation = parse_environment({**environ, **change})
    except InvalidEnvironment as failure:
        message = failure.message
    else:
        message = invocation.verb.value
    assert message.isprintable()


# ---- CNI_ARGS ----------------------------------------------------------------------------------


@given(some.environments_for(Verb.ADD), some.words, some.words)
def test_an_unknown_argument_is_refused_unless_ignore_unknown_is_set(
    environ: dict[str, str], key: str, value: str
) -> None:
    """CNI conventions, CNI_ARGS: "It is currently recommended that plugins fail on unknown args",
    unless there is `IgnoreUnknown`.
    """
    unknown = f"Unknown{key}={value}"
    for known in (environ["CNI_ARGS"], "IgnoreUnknown=0", "IgnoreUnknown=false"):
        args = ";".join(filter(None, [known, unknown]))
        with pytest.raises(InvalidEnvironment, match="IgnoreUnknown=true") as refusal:
            parse_environment({**environ, "CNI_ARGS": args})
        assert f"Unknown{key}" in refusal.value.message
    for ignoring in ("IgnoreUnknown=1", "IgnoreUnknown=true", "IgnoreUnknown=TRUE"):
        parse_environment({**environ, "CNI_ARGS": f"{unknown};{ignoring}"})
        parse_environment({**environ, "CNI_ARGS": f"{ignoring};{unknown}"})


@pytest.mark.parametrize("args", ["K8S_POD_NAME", "=x", "IP=1;x", ";;x;"])
@given(environ=some.environments_for(Verb.ADD))
def test_an_argument_without_a_key_or_a_value_is_refused(
    args: str, environ: dict[str, str]
) -> None:
    with pytest.raises(InvalidEnvironment, match="CNI_ARGS"):
        parse_environment({**environ, "CNI_ARGS": args})


@given(some.environments_for(Verb.DEL), some.hostile_texts)
def test_del_accepts_any_cni_args(environ: dict[str, str], args: str) -> None:
    parse_environment({**environ, "CNI_ARGS": args})


@given(some.environments_for(Verb.ADD))
def test_if_an_argument_occurs_twice_the_last_one_counts(environ: dict[str, str]) -> None:
    """Multus passes everything twice (reference.md §1)."""
    parse_environment({**environ, "CNI_ARGS": "IgnoreUnknown=0;A=1;IgnoreUnknown=1;A=1"})
    with pytest.raises(InvalidEnvironment):
        parse_environment({**environ, "CNI_ARGS": "IgnoreUnknown=1;A=1;IgnoreUnknown=0;A=1"})


@pytest.mark.parametrize(
    ("args", "pod"),
    [
        ("IgnoreUnknown=1;K8S_POD_NAMESPACE=ai;K8S_POD_NAME=trainer-0", "ai/trainer-0"),
        ("K8S_POD_NAME=trainer-0", None),
        ("K8S_POD_NAMESPACE=ai;K8S_POD_NAME=", None),
        ("", None),
        ("nonsense;;=", None),
    ],
)
def test_the_pod_is_known_by_its_namespace_and_name(args: str, pod: str | None) -> None:
    assert pod_named_in(args) == pod
    about = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1"}
    assert parse_environment({**about, "CNI_ARGS": args}).pod == pod


def test_the_value_of_an_argument_may_have_an_equals_sign() -> None:
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_IFNAME": "net1"}
    environ |= {"CNI_NETNS": "/run/netns/pod1", "CNI_ARGS": "K8S_POD_NAME=a=b"}
    assert parse_environment(environ).environ == environ


# ---- the device --------------------------------------------------------------------------------


def test_the_keys_that_name_a_device_are_those_of_host_device_and_multus() -> None:
    assert set(DEVICE_KEYS) == {"deviceID", "pciBusID", "runtimeConfig.deviceID"}
    assert set(OTHER_KEYS) == {"device", "hwaddr", "kernelpath"}


def test_without_a_device_the_error_lists_the_accepted_keys() -> None:
    with pytest.raises(InvalidConfiguration) as refusal:
        selector_of({})
    assert all(key in refusal.value.message for key in (*DEVICE_KEYS, *OTHER_KEYS))


@given(
    st.dictionaries(st.sampled_from(DEVICE_KEYS), some.bus_devices, min_size=1),
    st.none() | some.ifnames,
    st.none() | some.macs,
    st.none() | some.paths,
)
def test_device_ids_that_disagree_are_refused_and_each_shown_with_its_key(
    ids: dict[str, BusDevice], ifname: Any, hwaddr: Any, kernelpath: Any
) -> None:
    if len(set(ids.values())) == 1:
        selector = selector_of(ids, ifname=ifname, hwaddr=hwaddr, kernelpath=kernelpath)
        (bus_device,) = set(ids.values())
        assert selector == DeviceSelector(bus_device, ifname, hwaddr, kernelpath)
        return
    with pytest.raises(InvalidConfiguration) as refusal:
        selector_of(ids, ifname=ifname, hwaddr=hwaddr, kernelpath=kernelpath)
    for key, value in ids.items():
        assert f"{key} is {value}" in refusal.value.message


@given(some.selectors)
def test_a_selector_is_shown_with_everything_that_it_selects_by(selector: DeviceSelector) -> None:
    shown = str(selector)
    for part in (selector.bus_device, selector.ifname, selector.hwaddr, selector.kernelpath):
        assert part is None or str(part) in shown or ascii(part) in shown
    assert shown.isprintable()
    assert "None" not in shown.replace(str(selector.ifname or "?"), "").replace(
        selector.kernelpath or "?", ""
    )
    assert str(DeviceSelector(PciAddress(0, 1, 0, 0), IfName("ens1"))) == "0000:01:00.0 with ens1"


# ---- what real runtimes have sent --------------------------------------------------------------

RECORDED = Path(__file__).parent / "data" / "runtime-inputs"

POD = "4f1d2c3b4a5968778695a4b3c2d1e0f04f1d2c3b4a5968778695a4b3c2d1e0f0"
DEFAULT_POD = "aaaa2c3b4a5968778695a4b3c2d1e0f04f1d2c3b4a5968778695a4b3c2d1e0f0"
CNITOOL = "cnitool-eb69d96616c204ff963c"

NAD, NIC_NAD = "amd-host-device-nad", "amd-host-device-nad-nic"

CALLS: dict[str, list[tuple[str, str, str, str, str, str]]] = {
    "cnitool-1.1.0": [
        ("STATUS", "", "", "amdlist", "1.1.0", "0000:01:00.0"),
        ("ADD", CNITOOL, "net1", "amdlist", "1.1.0", "0000:01:00.0"),
        ("CHECK", CNITOOL, "net1", "amdlist", "1.1.0", "0000:01:00.0"),
        ("DEL", CNITOOL, "net1", "amdlist", "1.1.0", "0000:01:00.0"),
        ("GC", "", "", "amdlist", "1.1.0", "0000:01:00.0"),
        ("DEL", CNITOOL, "net1", "amdlist", "1.1.0", "0000:01:00.0"),
    ],
    "multus-0.3.1": [
        ("ADD", POD, "net1", NAD, "0.3.1", "0000:01:00.0"),
        ("ADD", POD, "net2", NAD, "0.3.1", "0000:02:00.0"),
        ("DEL", POD, "net2", NAD, "0.3.1", "0000:02:00.0"),
        ("DEL", POD, "net1", NAD, "0.3.1", "0000:01:00.0"),
    ],
    "multus-1.0.0-list-sbr": [
        ("ADD", POD, "net1", NIC_NAD, "1.0.0", "0000:01:00.0"),
        ("ADD", POD, "net2", NIC_NAD, "1.0.0", "0000:02:00.0"),
        ("DEL", POD, "net2", NIC_NAD, "1.0.0", "0000:02:00.0"),
        ("DEL", POD, "net1", NIC_NAD, "1.0.0", "0000:01:00.0"),
    ],
    "multus-1.0.0-selection": [
        ("ADD", POD, "rdma0", NIC_NAD, "1.0.0", "0000:01:00.0"),
        ("ADD", POD, "net2", NIC_NAD, "1.0.0", "0000:02:00.0"),
        ("DEL", POD, "net2", NIC_NAD, "1.0.0", "0000:02:00.0"),
        ("DEL", POD, "rdma0", NIC_NAD, "1.0.0", "0000:01:00.0"),
    ],
    "multus-1.1.0-capabilities": [
        ("ADD", POD, "net1", NIC_NAD, "1.1.0", "0000:01:00.0"),
        ("ADD", POD, "net2", NIC_NAD, "1.1.0", "0000:02:00.0"),
        ("DEL", POD, "net2", NIC_NAD, "1.1.0", "0000:02:00.0"),
        ("DEL", POD, "net1", NIC_NAD, "1.1.0", "0000:01:00.0"),
    ],
    "multus-1.1.0": [
        ("ADD", POD, "net1", NAD, "1.1.0", "0000:01:00.0"),
        ("ADD", POD, "net2", NAD, "1.1.0", "0000:02:00.0"),
        ("DEL", POD, "net2", NAD, "1.1.0", "0000:02:00.0"),
        ("DEL", POD, "net1", NAD, "1.1.0", "0000:01:00.0"),
    ],
    "multus-no-version": [
        ("ADD", POD, "net1", NIC_NAD, "0.1.0", "0000:01:00.0"),
        ("ADD", POD, "net2", NIC_NAD, "0.1.0", "0000:02:00.0"),
        ("DEL", POD, "net2", NIC_NAD, "0.1.0", "0000:02:00.0"),
        ("DEL", POD, "net1", NIC_NAD, "0.1.0", "0000:01:00.0"),
    ],
    "multus-static-delegate": [
        ("ADD", DEFAULT_POD, "net1", "amdnet", "1.1.0", "0000:01:00.0"),
        ("CHECK", DEFAULT_POD, "net1", "amdnet", "1.1.0", "0000:01:00.0"),
        ("DEL", DEFAULT_POD, "net1", "amdnet", "1.1.0", "0000:01:00.0"),
        ("STATUS", "", "", "amdnet", "1.1.0", "0000:01:00.0"),
        ("ADD", DEFAULT_POD, "eth0", "amdnet", "1.1.0", "0000:01:00.0"),
        ("GC", "", "", "amdnet", "1.1.0", "0000:01:00.0"),
        ("DEL", DEFAULT_POD, "eth0", "amdnet", "1.1.0", "0000:01:00.0"),
    ],
}
"""What was requested: verb, container ID, ifname, network, version, device."""

PREV_MACS = {"cnitool-1.1.0": "6a:3d:1d:bc:95:2f", "multus-static-delegate": "f6:e3:73:79:14:df"}
"""The MAC address in the prevResult of the CHECK of a scenario."""

VALID = {
    "multus-static-delegate": frozenset({AttachmentId(ContainerId(DEFAULT_POD), IfName("eth0"))})
}
"""What the GC of a scenario lists as valid."""


def recorded(scenario: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = json.loads((RECORDED / f"{scenario}.json").read_text())
    return calls


def expected_request(scenario: str, position: int, call: Mapping[str, Any]) -> Request:
    verb, container_id, ifname, name, version, bdf = CALLS[scenario][position]
    held = AttachmentId(ContainerId(container_id), IfName(ifname))
    about_one = verb in ("ADD", "DEL", "CHECK")
    netns = "/run/netns/pod1"
    invocation = Invocation(
        Verb(verb),
        held if about_one else None,
        netns if about_one else None,
        ("/opt/cni/bin", "/var/lib/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"),
        call["env"],
    )
    network = Network(json.loads(call["stdin"]), NetworkName(name), CniVersion(version))
    selector = DeviceSelector(PciAddress(0, int(bdf[5:7], 16), 0, 0))
    match verb:
        case "ADD":
            return AddRequest(invocation, network, Device(selector), held, netns)
        case "DEL":
            return DelRequest(invocation, network, held, netns, selector)
        case "CHECK":
            previous = Result(
                (Interface("net1", MacAddress(PREV_MACS[scenario]), sandbox=netns),),
                (
                    Ip(
                        ipaddress.ip_interface("192.168.1.8/31"),
                        ipaddress.ip_address("192.168.1.9"),
                        0,
                    ),
                    Ip(ipaddress.ip_interface("2001:db8:1::8/64"), None, 0),
                ),
            )
            return CheckRequest(invocation, network, Device(selector), held, netns, previous)
        case "GC":
            return GcRequest(invocation, network, VALID.get(scenario))
        case _:
            return StatusRequest(invocation, network)


def test_every_recording_has_an_expectation() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == {*CALLS, "network-status"}
    assert all(len(recorded(scenario)) == len(CALLS[scenario]) for scenario in CALLS)


@pytest.mark.parametrize(
    ("scenario", "position"),
    [(scenario, position) for scenario, calls in CALLS.items() for position in range(len(calls))],
)
def test_a_recorded_call_is_the_request_that_the_runtime_meant(
    scenario: str, position: int
) -> None:
    call = recorded(scenario)[position]
    request = parse_request(parse_environment(call["env"]), call["stdin"].encode())
    assert request == expected_request(scenario, position, call)
