"""What an ADD would do with a definition: its faults, and the plugins that it would run."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment
from amdcni.core.errors import InvalidManifest
from amdcni.core.kubernetes import NetworkAttachmentDefinition, ObjectName, parse_definition
from amdcni.core.kubernetes.installation import (
    ConfDir,
    ConfFile,
    configurations_in,
    find_bin_dir,
    networks_dir_of,
)
from amdcni.core.kubernetes.review import (
    LENDER,
    Review,
    clash_of,
    clash_of_plans,
    request_of,
    review,
)
from amdcni.core.names import FilePath, PluginName
from amdcni.core.policy import Naming, Policy
from amdcni.core.request import DEFAULT_DATA_DIR, AddRequest
from amdcni.testing import strategies as some

RESOURCE = "amd.com/nic"


def definition(resource: str | None = RESOURCE, **config: Any) -> NetworkAttachmentDefinition:
    """One with a single plugin, or with a list if there are `plugins`."""
    kind = {} if "plugins" in config else {"type": LENDER}
    return NetworkAttachmentDefinition(
        ObjectName("default", "fabric"), resource, {"name": "fabric", **kind, **config}
    )


def needing(*plugins: str) -> Review:
    """The review of a definition without a fault."""
    names = tuple(map(PluginName, plugins))
    return Review(lends=True, plugins=names, data_dirs=(DEFAULT_DATA_DIR,))


# ---- what clashes in one pod


@given(some.add_requests, some.attachments, some.attachments)
def test_plans_clash_exactly_if_they_are_about_the_same_netdev(
    request: AddRequest, one: Attachment, other: Attachment
) -> None:
    alike = one.key == other.key and one.host_ifname == other.host_ifname
    assert (clash_of_plans(one, [(request, other)]) is not None) == alike
    assert clash_of_plans(one, []) is None
    said = clash_of_plans(one, [(request, other), (request, one)])
    assert said == (
        f"{one.host_ifname or one.key} is attached as {str(request.attachment.ifname)!r} first; "
        "one device cannot be two interfaces of a pod"
    )


def add_of(ifname: str, **config: Any) -> AddRequest:
    """What an ADD of a pod's interface asks for."""
    environ = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/p",
        "CNI_IFNAME": ifname,
        "CNI_PATH": "/opt/cni/bin",
    }
    return request_of(environ, {"cniVersion": "1.1.0", "name": "fabric", "type": LENDER, **config})


DEVICE, OTHER_DEVICE = {"deviceID": "0000:01:00.0"}, {"deviceID": "0000:02:00.0"}


@pytest.mark.parametrize(
    ("earlier", "config", "words"),
    [
        (DEVICE, DEVICE, "0000:01:00.0"),
        (DEVICE, {**DEVICE, "device": "eth1"}, "0000:01:00.0 with eth1"),
        ({**DEVICE, "device": "eth1"}, {"device": "eth1"}, "eth1"),
        (DEVICE, OTHER_DEVICE, None),
        ({**DEVICE, "device": "eth1"}, {**DEVICE, "device": "eth2"}, None),
        (DEVICE, {"device": "eth1"}, None),
    ],
)
def test_requests_clash_if_they_name_the_same_device_by_every_key_that_both_have(
    earlier: dict[str, Any], config: dict[str, Any], words: str | None
) -> None:
    said = clash_of(add_of("net2", **config), [add_of("net1", **earlier)])
    assert said == (
        None
        if words is None
        else f"{words} is attached as 'net1' first; one device cannot be two interfaces of a pod"
    )


def test_two_plugins_of_a_list_cannot_give_the_pod_netdevs_of_one_name() -> None:
    clashing = clash_of(add_of("net1", device="eth1"), [add_of("net1", device="eth2")])
    assert clashing == (
        "another plugin of the same list gives the pod a netdev as 'net1' first; "
        "lend each NIC through a network of its own"
    )
    assert clash_of(add_of("net1", device="eth1"), [add_of("net2", device="eth2")]) is None


# ---- reviews


@pytest.mark.parametrize("resource", [RESOURCE, "example.com/nic"])
def test_a_plain_definition_needs_the_delegate_and_static(resource: str) -> None:
    assert review(definition(resource)) == needing("host-device", "static")


@pytest.mark.parametrize(
    ("config", "plugins"),
    [
        ({"ipam": {"type": "host-local"}}, ("host-device", "host-local")),
        ({"mover": "native"}, ()),
        ({"mover": "native", "ipam": {"type": "dhcp"}}, ("dhcp",)),
        (
            {"plugins": [{"type": LENDER}, {"type": "tuning"}, {"type": LENDER}]},
            ("host-device", "static"),
        ),
        (
            {"plugins": [{"type": LENDER, "ipam": {"type": "dhcp"}}, {"type": LENDER}]},
            ("host-device", "dhcp", "static"),
        ),
    ],
)
def test_the_plugins_are_those_that_add_would_run_for_the_configuration(
    config: dict[str, Any], plugins: tuple[str, ...]
) -> None:
    assert review(definition(**config)).plugins == plugins


def test_the_other_plugins_of_a_list_are_those_that_multus_runs() -> None:
    others = [{"type": name} for name in ("sbr", "tuning", "sbr")]
    listed = review(definition(plugins=[others[0], {"type": LENDER}, *others[1:]]))
    assert listed.chained == ("sbr", "tuning")
    assert listed.plugins == ("host-device", "static")


def test_the_state_folders_are_those_that_the_configuration_names() -> None:
    both = [{"type": LENDER, "dataDir": folder} for folder in ("/var/lib/b", "/var/lib/a")]
    assert review(definition(plugins=[*both, both[0]])).data_dirs == ("/var/lib/b", "/var/lib/a")


def test_every_fault_of_every_plugin_is_reported_with_its_path() -> None:
    first = {"type": LENDER, "dataDir": 3, "logLevel": "loud"}
    second = {"type": LENDER, "mover": "native", "mtu": "much"}
    (one, other) = review(definition(plugins=[first, second])).faults
    assert one.startswith("spec.config.plugins[0]: ")
    assert "$.dataDir" in one
    assert "$.logLevel" in one
    assert other.startswith("spec.config.plugins[1]: ")
    assert "$.mtu" in other


def test_every_misspelt_key_of_every_plugin_is_reported_with_its_path() -> None:
    lenders = [{"type": LENDER, "movre": "native"}, {"type": LENDER, "iapm": {}, "dataDri": "/a"}]
    reviewed = review(definition(plugins=[{"type": "tuning"}, *lenders]))
    assert reviewed.misspelt == tuple(
        f"spec.config.plugins[{index}]: $.{key}: the key {key!r} is not known; "
        f"did you mean {meant!r}?"
        for index, key, meant in [
            (1, "movre", "mover"),
            (2, "iapm", "ipam"),
            (2, "dataDri", "dataDir"),
        ]
    )


def test_a_fault_of_a_single_plugin_has_no_list_position_in_its_path() -> None:
    (fault,) = review(definition(mover="magic")).faults
    assert fault.startswith("spec.config: $.mover: 'magic' is not available")


def test_a_missing_annotation_hides_no_other_fault() -> None:
    annotation, other = review(definition(None, dataDir=3)).faults
    assert "k8s.v1.cni.cncf.io/resourceName" in annotation
    assert "$.dataDir" in other


@pytest.mark.parametrize("named", [{"device": "eth1"}, {"deviceID": "0000:01:00.0"}])
def test_a_configuration_that_names_its_device_needs_no_annotation(named: dict[str, str]) -> None:
    assert review(definition(None, **named)).faults == ()
    both = [{"type": LENDER, **named}, {"type": LENDER}]
    assert len(review(definition(None, plugins=both)).faults) == 1


def test_an_invalid_device_is_reported_unless_multus_replaces_it() -> None:
    (fault,) = review(definition(None, deviceID="first")).faults
    assert "$.deviceID" in fault
    assert review(definition(deviceID="first")).faults == ()


ALLOCATED = Policy(naming=Naming.ALLOCATED, ipam=(PluginName("host-local"),))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"dataDir": "/srv/amdcni"}, "dataDir '/srv/amdcni' is in no folder"),
        ({"logFile": "/etc/cron.d/x"}, "logFile '/etc/cron.d/x' is in no folder"),
        (
            {"ipam": {"type": "host-local", "dataDir": "/srv"}},
            "ipam.dataDir '/srv' is in no folder",
        ),
        ({"device": "eth1"}, "a definition may not name a device by device"),
        ({"hwaddr": "02:00:00:00:00:01"}, "a definition may not name a device by hwaddr"),
        ({"kernelpath": "/sys/devices/x"}, "a definition may not name a device by kernelpath"),
        ({"ipam": {"type": "dhcp"}}, "the IPAM plugin dhcp may not be used"),
    ],
)
def test_what_the_policy_does_not_let_a_configuration_say_is_a_fault_with_its_path(
    config: dict[str, Any], words: str
) -> None:
    assert review(definition(**config)).faults == ()
    (fault,) = review(definition(**config), ALLOCATED).faults
    assert fault.startswith(f"spec.config: {words}")
    plugins = [{"type": "tuning"}, {"type": LENDER, **config}]
    (fault,) = review(definition(plugins=plugins), ALLOCATED).faults
    assert fault.startswith("spec.config.plugins[1]: ")


def test_what_the_policy_does_not_allow_is_reported_beside_what_is_wrong_anyway() -> None:
    annotation, denial = review(definition(None, dataDir="/srv/amdcni"), ALLOCATED).faults
    assert "k8s.v1.cni.cncf.io/resourceName" in annotation
    assert denial.startswith("spec.config: dataDir '/srv/amdcni' is in no folder")


def test_what_the_policy_lets_a_configuration_say_is_no_fault() -> None:
    folders = Policy((FilePath("/srv/amdcni"),))
    assert review(definition(dataDir="/srv/amdcni/a", device="eth1"), folders).faults == ()
    assert review(definition(logFile="/var/log/amd-host-device.log"), Policy()).faults == ()
    for policy in (ALLOCATED, Policy(fault="it is torn")):
        assert review(definition(), policy) == review(definition())
    assert review(definition(None, deviceID="0000:01:00.0"), ALLOCATED).faults == ()


@pytest.mark.parametrize(
    "config",
    [
        {"cniVersion": "9.0.0"},
        {"name": "not a name"},
        {"plugins": [{"type": LENDER}, {"type": "../../bin/sh"}]},
        {"capabilities": ["ips"]},
    ],
)
def test_what_multus_and_the_runtime_refuse_is_a_fault_too(config: dict[str, Any]) -> None:
    reviewed = review(definition(**config))
    assert (reviewed.lends, len(reviewed.faults)) == (True, 1)


@given(some.definitions)
def test_a_definition_without_our_plugin_has_neither_faults_nor_needs(
    other: NetworkAttachmentDefinition,
) -> None:
    assert review(other) == Review(lends=False)


@given(some.json_objects, st.none() | some.resources)
def test_any_manifest_can_be_reviewed(config: dict[str, Any], resource: str | None) -> None:
    manifest = {
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "fabric"},
        "spec": {"config": json.dumps({**config, "type": LENDER})},
    }
    try:
        parsed = parse_definition(manifest)
    except InvalidManifest:
        return
    judged = review(attrs.evolve(parsed, resource=resource))
    assert judged.lends
    assert judged.faults or "host-device" in judged.plugins or config.get("mover") == "native"


# ---- the node's configurations

MULTUS = {"name": "multus", "type": "multus", "binDir": "/var/lib/cni/bin"}


@pytest.mark.parametrize(
    ("config", "is_multus"),
    [
        (MULTUS, True),
        ({"plugins": [{"type": "multus-shim"}]}, True),
        ({"plugins": [{"type": "bridge"}, {"type": "portmap"}]}, False),
        ({"plugins": "multus"}, False),
        ({"plugins": [3]}, False),
        (None, False),
    ],
)
def test_multus_is_recognized_by_its_type(config: dict[str, Any] | None, is_multus: bool) -> None:
    assert ConfFile("a.conf", config).is_multus == is_multus


def test_only_the_first_configuration_says_where_multus_has_its_plugins() -> None:
    multus, other = ConfFile("a.conf", MULTUS), ConfFile("b.conf", {"type": "bridge"})
    assert find_bin_dir(ConfDir("/etc", (multus, other))) == "/var/lib/cni/bin"
    assert find_bin_dir(ConfDir("/etc", (other, multus))) is None
    assert find_bin_dir(ConfDir("/etc")) is None
    assert networks_dir_of(ConfDir("/etc")) == "/etc/cni/multus/net.d"
    elsewhere = ConfFile("a.conf", {**MULTUS, "confDir": "/etc/networks"})
    assert networks_dir_of(ConfDir("/etc", (elsewhere, multus))) == "/etc/networks"
    assert networks_dir_of(ConfDir("/etc", (other, elsewhere))) == "/etc/cni/multus/net.d"
    for nothing in ({"type": "multus"}, {"type": "multus", "binDir": ""}):
        assert find_bin_dir(ConfDir("/etc", (ConfFile("a.conf", nothing),))) == "/opt/cni/bin"


def test_configurations_are_found_by_their_own_names() -> None:
    files = (ConfFile("a.conf", MULTUS), ConfFile("b.conf", {"name": 3}), ConfFile("c.conf"))
    assert configurations_in(ConfDir("/etc", files)) == {"multus": MULTUS}
