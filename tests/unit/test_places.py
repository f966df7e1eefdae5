"""Where a configuration may make root write: only in folders that are ours, or the policy's."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.formats import network_of
from amdcni.core.names import FilePath
from amdcni.core.places import Places, find_data_dir, places_of
from amdcni.core.policy import Policy
from amdcni.core.request import DEFAULT_DATA_DIR

FOLDER = FilePath("/srv/fabric")


def places(policy: Policy | None = None, **keys: Any) -> Places:
    raw: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net", "type": "amd-host-device"}
    raw |= keys
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
    "//var/lib/cni/amd-host-device",
    "/srv/fabric2",
    "/srv",
    "/srv/fabric/../x",
)


@pytest.mark.parametrize("path", USABLE)
def test_our_own_folders_may_be_named(path: str) -> None:
    found = places(dataDir=path)
    assert (found.data_dir.path, found.faults) == (path, ())


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert places(dataDir=f"{DEFAULT_DATA_DIR}/") == evolve(
        places(), raw=places(dataDir=f"{DEFAULT_DATA_DIR}/").raw
    )


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
    for key in ("logFile", "log_file"):
        assert len(places(Policy((FOLDER,)), ipam={"type": "x", key: path}).faults) == 1


@pytest.mark.parametrize("name", ["locks", "folders", "unfinished"])
def test_a_state_folder_may_not_be_inside_what_another_is_made_of(name: str) -> None:
    assert len(places(dataDir=f"{DEFAULT_DATA_DIR}/{name}/x").faults) == 1


@pytest.mark.parametrize("name", ["locks", RECORD, f"{RECORD}/x", ".probe.tmp", "x/locks"])
def test_a_state_folder_is_in_the_way_of_no_part_of_another(name: str) -> None:
    found = places(dataDir=f"{DEFAULT_DATA_DIR}/{name}")
    (fault,) = found.faults
    assert "has the name of a record" in fault
    assert found.data_dir.path == DEFAULT_DATA_DIR


@pytest.mark.parametrize(
    "path", ["/run/amd-host-device" + "/a" * 600, "/run/amd-host-device/" + "a" * 256]
)
def test_a_path_is_so_short_that_all_files_below_it_can_be_made(path: str) -> None:
    for key in ("dataDir", "logFile"):
        named: dict[str, Any] = {key: path}
        (fault,) = places(**named).faults
        assert fault.startswith(f"{key} '/run/amd-host-device")
        assert "1024 bytes" in fault or "255 bytes" in fault


# ---- what other plugins get

OURS = "/run/amd-host-device-ipam"
LEASES = "/run/cni/networks/x"
SOCKET = "/run/cni/dhcp.sock"


@pytest.mark.parametrize(
    ("key", "usable"),
    [
        ("dataDir", LEASES),
        ("DATAdir", LEASES),
        ("logFile", OURS),
        ("log_file", OURS),
        ("daemonSocketPath", SOCKET),
        ("daemon\u017focketPath", SOCKET),
    ],
)
def test_an_ipam_plugin_writes_only_in_the_folders_for_its_kind_of_file(
    key: str, usable: str
) -> None:
    for path in (usable, None, ""):
        assert places(ipam={"type": "host-local", key: path}).faults == ()
    others = {OURS, LEASES, SOCKET, "/etc/cron.d", "/var/lib/cni", f"{usable}/../x"} - {usable}
    for path in others:
        (fault,) = places(ipam={"type": "host-local", key: path}).faults
        assert fault.startswith(f"ipam.{key} {path!r}")


@pytest.mark.parametrize(
    "value", ["relative", "/run/\0", "\ud800", 7, True, ["/etc"], {"x": "/etc"}]
)
def test_what_is_no_path_is_no_path_for_an_ipam_plugin(value: Any) -> None:
    (fault,) = places(ipam={"type": "host-local", "dataDir": value}).faults
    assert fault.startswith("ipam.dataDir is ")
    assert "not an absolute path" in fault


HIDDEN: list[dict[str, Any]] = [
    {"ipam": {"type": "x", "ipam": {"dataDir": "/etc"}}},
    {"ipam": {"type": "x", "ranges": [{}, {"dataDir": "/etc"}]}},
    {"ipam": {"type": "x"}, "IPAM": {"DataDir": "/etc"}},
    {"ipam": {"type": "x"}, "Ipam": [{"log_file": "/etc"}]},
]


@pytest.mark.parametrize("keys", HIDDEN, ids=str)
def test_no_depth_and_no_spelling_hides_a_path(keys: dict[str, Any]) -> None:
    found = places(**keys)
    assert len(found.faults) == 1
    assert "/etc" in found.faults[0]
    assert "/etc" not in str(found.raw)


def test_other_plugins_get_the_configuration_without_the_paths_that_may_not_be_used() -> None:
    ipam = {"type": "x", "dataDir": "/etc", "log_file": "/run/amd-host-device/x", "a": [1, {}]}
    found = places(ipam=ipam, dataDir="/etc", other={"dataDir": "/etc"})
    assert found.raw == {
        **{"cniVersion": "1.0.0", "name": "net", "type": "amd-host-device", "dataDir": "/etc"},
        "other": {"dataDir": "/etc"},
        "ipam": {"type": "x", "log_file": "/run/amd-host-device/x", "a": [1, {}]},
    }


@pytest.mark.parametrize("path", [*USABLE, *UNUSABLE])
def test_a_state_folder_is_judged_alike_by_itself_and_in_a_configuration(path: str) -> None:
    found = find_data_dir(path, Policy((FOLDER,)))
    named = places(Policy((FOLDER,)), dataDir=path)
    assert found == (None if named.faults else named.data_dir)


@pytest.mark.parametrize("name", ["mlx5_core.sf.4.json", "locks"])
def test_leases_of_no_network_take_the_place_of_records(name: str) -> None:
    ipam = {"type": "host-local", "dataDir": FOLDER}
    (fault,) = places(Policy((FOLDER,)), name=name, ipam=ipam).faults
    assert fault == f"ipam.dataDir '{FOLDER}' may not be used by a network named {name!r}"
    assert places(Policy((FOLDER,)), name="fabric", ipam=ipam).faults == ()
    leases = {"type": "host-local", "dataDir": "/run/cni/networks"}
    assert places(name=name, ipam=leases).faults == ()


def test_only_the_first_faults_are_named_and_shortly_but_all_are_left_out() -> None:
    ipam = {"type": "x", "k" * 1000: [{"logFile": n} for n in range(1, 100)]}
    found = places(ipam=ipam)
    assert len(found.faults) == 20
    assert max(map(len, found.faults)) < 200
    assert found.raw["ipam"] == {"type": "x", "k" * 1000: [{}] * 99}


def test_every_fault_is_named() -> None:
    ipam = {"type": "host-local", "dataDir": "/c"}
    said = "; ".join(places(dataDir="/a", logFile="/b", ipam=ipam).faults)
    for words in ("dataDir '/a'", "logFile '/b'", "ipam.dataDir '/c'"):
        assert words in said
