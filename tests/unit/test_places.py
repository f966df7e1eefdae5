"""Where a configuration may make root write: only in folders that are ours, or the policy's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.formats import network_of
from amdcni.core.names import FilePath
from amdcni.core.places import Places, places_of
from amdcni.core.policy import Policy
from amdcni.core.request import DEFAULT_DATA_DIR

FOLDER = FilePath("/srv/fabric")


def places(policy: Policy | None = None, **keys: Any) -> Places:
    raw = {"cniVersion": "1.0.0", "name": "net", "type": "amd-host-device", **keys}
    return places_of(network_of(raw, strict=True), policy or Policy())


USABLE = (
    DEFAULT_DATA_DIR,
    f"{DEFAULT_DATA_DIR}-lab",
    f"{DEFAULT_DATA_DIR}-lab/one/two",
    "/run/amd-host-device",
    "/run/amd-host-device/fabric",
    "/var/log/amd-host-device.log",
    "/var/log/amd-host-device/fabric.log",
)
UNUSABLE = (
    "/",
    "/etc",
    "/etc/cron.d/x",
    "/var/lib/cni",
    "/var/lib/cni/networks",
    "/var/lib/cni/amd-host-devic",
    "/run/other",
    f"{DEFAULT_DATA_DIR}/../../../../etc",
    f"{DEFAULT_DATA_DIR}-lab/../x",
    f"{DEFAULT_DATA_DIR}/./x",
    f"{DEFAULT_DATA_DIR}//x",
    f"{DEFAULT_DATA_DIR}/",
    "//var/lib/cni/amd-host-device",
    "/srv/fabric2",
    "/srv",
    "/srv/fabric/../x",
)


@pytest.mark.parametrize("path", USABLE)
def test_our_own_folders_may_be_named(path: str) -> None:
    found = places(dataDir=path)
    assert (found.data_dir.path, found.faults) == (path, ())


@pytest.mark.parametrize("path", [*UNUSABLE, FOLDER, f"{FOLDER}/x"])
def test_without_a_policy_nothing_else_may_be(path: str) -> None:
    for key in ("dataDir", "logFile"):
        named: dict[str, Any] = {key: path}
        found = places(**named)
        (fault,) = found.faults
        assert fault.startswith(f"{key} {path!r} is in no folder")
        assert "/etc/amdcni/policy.json" in fault
        assert (found.data_dir.path, found.log_file) == (DEFAULT_DATA_DIR, None)


@pytest.mark.parametrize("path", [FOLDER, f"{FOLDER}/x", f"{FOLDER}/x/y.log"])
def test_a_policy_adds_folders(path: str) -> None:
    found = places(Policy((FOLDER,)), dataDir=path)
    assert (found.data_dir.base, found.data_dir.path, found.faults) == ("/srv", path, ())


@pytest.mark.parametrize("path", UNUSABLE)
def test_a_policy_adds_nothing_but_its_folders(path: str) -> None:
    assert len(places(Policy((FOLDER,)), dataDir=path).faults) == 1


parts = st.sampled_from(["..", ".", "", "etc", "amd-host-device", "fabric", "var", "lib", "cni"])


@given(st.lists(parts, max_size=8).map(lambda names: "/" + "/".join(names)))
def test_no_path_leads_out_of_its_folder(path: str) -> None:
    found = places(Policy((FOLDER,)), dataDir=path, logFile=path)
    for place in filter(None, (found.data_dir, found.log_file)):
        assert ".." not in place.path.split("/")
        assert place.path.startswith(("/var/lib/cni/amd-host-device", "/run/amd", f"{FOLDER}"))
        assert place.path.startswith(place.base)


RECORD = "0000:01:00.0.json"


@pytest.mark.parametrize(
    "path",
    [
        DEFAULT_DATA_DIR,
        f"{DEFAULT_DATA_DIR}/{RECORD}",
        f"{DEFAULT_DATA_DIR}/.{RECORD}.tmp",
        f"{DEFAULT_DATA_DIR}/{RECORD}.damaged-1",
        f"{DEFAULT_DATA_DIR}/ip-interface-mappings.json",
        f"{DEFAULT_DATA_DIR}/locks/0000:01:00.0",
        f"{DEFAULT_DATA_DIR}/unfinished/0000:01:00.0",
        f"{DEFAULT_DATA_DIR}/folders/x",
        f"{FOLDER}/{RECORD}",
        f"{FOLDER}/several/x",
    ],
)
def test_a_log_file_may_not_be_a_record_or_in_the_way_of_one(path: str) -> None:
    found = places(Policy((FOLDER,)), logFile=path)
    assert (found.log_file, len(found.faults)) == (None, 1)


@pytest.mark.parametrize("name", ["locks", "folders", "unfinished"])
def test_a_state_folder_may_not_be_inside_what_another_is_made_of(name: str) -> None:
    assert len(places(dataDir=f"{DEFAULT_DATA_DIR}/{name}/x").faults) == 1


@pytest.mark.parametrize("key", ["dataDir", "logFile", "log_file"])
def test_an_ipam_plugin_keeps_its_files_in_folders_for_leases_or_in_ours(key: str) -> None:
    for path in ("/var/lib/cni/networks", "/run/cni/networks/x", "/run/amd-host-device-ipam"):
        assert places(ipam={"type": "host-local", key: path}).faults == ()
    for path in ("/etc/cron.d", "/var/lib/cni", "/var/lib/cni/networks/../x", "relative"):
        (fault,) = places(ipam={"type": "host-local", key: path}).faults
        assert fault.startswith(f"ipam.{key} {path!r}")


def test_every_fault_is_named() -> None:
    ipam = {"type": "host-local", "dataDir": "/c"}
    said = "; ".join(places(dataDir="/a", logFile="/b", ipam=ipam).faults)
    for words in ("dataDir '/a'", "logFile '/b'", "ipam.dataDir '/c'"):
        assert words in said
