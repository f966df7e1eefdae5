"""Where a configuration may make root write: only in folders that are ours, or the policy's."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.codec.text import shown
from amdcni.core.formats import network_of
from amdcni.core.names import FilePath
from amdcni.core.places import Place, Places, default_place, find_data_dir, places_of
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
    "/run/amd-host-device/locksX",
    "/run/amd-host-device.json",
    "/run/amd-host-deviceX",
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
    "/../srv/fabric",
)


@pytest.mark.parametrize("path", USABLE)
def test_our_own_folders_may_be_named(path: str) -> None:
    found = places(dataDir=path)
    assert (found.data_dir.path, found.faults) == (path, ())


@pytest.mark.parametrize(
    ("path", "base"),
    [
        (DEFAULT_DATA_DIR, "/var/lib/cni"),
        (f"{DEFAULT_DATA_DIR}-lab/one/two", "/var/lib/cni"),
        ("/run/amd-host-device/fabric.log", "/run"),
        ("/var/log/amd-host-device.log", "/var/log"),
        ("/srv/fabric/a/b.log", "/srv"),
        ("/data/a/b.log", "/"),
        ("/srv/locks/a.log", "/srv"),
    ],
)
def test_what_has_to_be_there_already_is_what_the_folder_is_in(path: str, base: str) -> None:
    policy = Policy((FOLDER, FilePath("/data"), FilePath("/srv/locks")))
    place = Place(base, FilePath(path))
    assert places(policy, dataDir=path).data_dir == place
    assert find_data_dir(path, policy) == place
    if path != DEFAULT_DATA_DIR:
        assert places(policy, logFile=path).log_file == place


def test_the_default_folder_is_the_one_of_a_configuration_that_names_none() -> None:
    assert default_place() == places().data_dir == Place("/var/lib/cni", DEFAULT_DATA_DIR)


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
        assert fault == (
            f"{key} {path!r} is in no folder where definitions may make root write "
            "(/var/lib/cni/amd-host-device*, /run/amd-host-device*, /var/log/amd-host-device*); "
            'to allow it, add its folder to "folders" in /etc/amdcni/policy.json'
        )
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


def long_path(size: int) -> str:
    """A path of that many bytes, none of whose parts is long."""
    return ("/run/amd-host-device" + "/aaaaaaaaa" * 100 + "a" * 9)[:size].ljust(size, "b")


@pytest.mark.parametrize(
    ("longest", "too_long", "words"),
    [
        (long_path(1024), long_path(1025), "is longer than 1024 bytes"),
        (
            "/run/amd-host-device/" + "a" * 255,
            "/run/amd-host-device/" + "a" * 256,
            "has a part of more than 255 bytes",
        ),
        (
            "/run/amd-host-device/" + "\u00e9" * 127,
            "/run/amd-host-device/" + "\u00e9" * 128,
            "has a part of more than 255 bytes",
        ),
    ],
)
def test_a_path_is_so_short_that_all_files_below_it_can_be_made(
    longest: str, too_long: str, words: str
) -> None:
    for key in ("dataDir", "logFile"):
        refused: dict[str, Any] = {key: too_long}
        accepted: dict[str, Any] = {key: longest}
        (fault,) = places(**refused).faults
        assert fault == f"{key} {too_long[:60]!r}... {words}"
        assert places(**accepted).faults == ()


def test_a_state_folder_on_disk_may_have_any_bytes_in_its_name() -> None:
    for path in (f"{DEFAULT_DATA_DIR}-\udcff", f"{DEFAULT_DATA_DIR}/\udcff"):
        assert find_data_dir(path, Policy()) == Place("/var/lib/cni", FilePath(path))


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
    assert fault == f"ipam.dataDir is {shown(value)}, not an absolute path"


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


@pytest.mark.parametrize(
    ("path", "faults"), [("/run/cni/networks/x", 0), ("/run/amd-host-device/x", 1)]
)
def test_a_path_at_any_depth_is_judged_by_its_own_key(path: str, faults: int) -> None:
    ipam = {"type": "x", "logFile": {"ranges": [{"dataDir": path}]}}
    assert len(places(ipam=ipam).faults) == 1 + faults
    assert len(places(ipam={"type": "x", "ranges": [{"dataDir": path}]}).faults) == faults


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
