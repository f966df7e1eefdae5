"""Whatever a definition says, root writes only where it may, and what was lent still returns."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod, differences, dump
from tests.netns.command import output_of_amdcni
from tests.netns.guarded import Files, files, guard, set_policy
from tests.netns.runtime import (
    BDF,
    LEASES,
    STATE,
    Runtime,
    damage,
    expect_silence,
    plugin_folder,
    record_of,
    state_folder,
)

HOST_LOCAL: dict[str, Any] = {"type": "host-local", "ranges": [[{"subnet": "10.8.0.0/24"}]]}
GC_ALL: dict[str, Any] = {"cni.dev/valid-attachments": []}
OF_NOBODY: Any = {"container_id": None, "ifname": None, "netns": None}
OUTSIDE = "/run/elsewhere"
ANOTHER = 1000


@pytest.fixture
def mover() -> str:
    return "native"


@pytest.fixture(autouse=True)
def before(node: Node, nic: Nic, pod: Pod) -> Files:
    """What was on the node before the test."""
    guard(node)
    return files(node)


def place(node: Node, path: str) -> Path:
    """Return a path on the node as a test sees it."""
    return node.root / path.lstrip("/")


def new(before: Files, node: Node) -> list[str]:
    """Return what was made, changed or removed."""
    now = files(node)
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


# ---- ADD

PATHS: list[Any] = [
    *("/etc/cron.d/x", "/etc", "/", "/var/lib/cni", "/var/log/other.log", "/proc/self/root/etc"),
    *(OUTSIDE, f"{STATE}/../elsewhere", f"{STATE}/./x", f"{STATE}//x", f"/{STATE}"),
    *(f"{STATE}/locks", f"{STATE}/folders/x", f"{STATE}/{BDF}.json", f"{STATE}/.probe.tmp"),
    *(f"{STATE}/{BDF}.json/x", f"{STATE}/ip-interface-mappings.json", f"{STATE}/.{BDF}.json.tmp"),
    *("/run/amd-host-device" + "/a" * 2000, "/run/amd-host-device/" + "a" * 256),
    *("/run/amd-host-device\0", "/run/amd-host-device\udcff", "run/amd-host-device", 7, ["/etc"]),
]
KEYS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "dataDir": lambda path: {"dataDir": path},
    "logFile": lambda path: {"logFile": path, "logLevel": "debug"},
    "ipam.dataDir": lambda path: {"ipam": {**HOST_LOCAL, "dataDir": path}},
    "ipam.DATAdir": lambda path: {"ipam": {**HOST_LOCAL, "DATAdir": path}},
    "ipam.logFile": lambda path: {"ipam": {**HOST_LOCAL, "logFile": path}},
    "ipam.log_file": lambda path: {"ipam": {**HOST_LOCAL, "log_file": path}},
    "ipam.ranges.0.dataDir": lambda path: {"ipam": {**HOST_LOCAL, "ranges": [{"dataDir": path}]}},
}


@pytest.mark.parametrize("key", KEYS)
def test_an_add_that_may_not_use_a_path_names_its_key_and_writes_nothing(
    runtime: Runtime, node: Node, pod: Pod, before: Files, key: str
) -> None:
    host = dump(node)
    for path in PATHS:
        runtime.having(**KEYS[key](path)).add(pod).expect_error(7, key)
        assert new(before, node) == [], path
    assert differences(host, dump(node)) == []


def test_an_add_names_all_paths_that_it_may_not_use(
    runtime: Runtime, node: Node, pod: Pod, before: Files
) -> None:
    named = runtime.having(dataDir="/a", logFile="/b", ipam={**HOST_LOCAL, "dataDir": "/c"})
    named.add(pod).expect_error(7, "dataDir '/a'", "logFile '/b'", "ipam.dataDir '/c'")
    named.call("STATUS", **OF_NOBODY).expect_error(7, "dataDir '/a'")
    assert new(before, node) == []


@pytest.mark.parametrize(
    "key", ["DataDir", "LOGFILE", "Ipam", "dataD\u0131r", "runtimeConfig", "args", "prevResult"]
)
def test_no_other_key_leads_root_elsewhere(
    runtime: Runtime, node: Node, pod: Pod, before: Files, key: str
) -> None:
    inner = {"dataDir": OUTSIDE, "logFile": OUTSIDE, "cniVersion": "1.1.0"}
    value = OUTSIDE if "D" in key or "L" in key else inner
    tried = runtime.having(**{key: value})
    tried.add(pod)
    tried.delete(pod)
    assert [path for path in new(before, node) if not path.startswith(STATE[1:])] == []


def test_our_own_folders_and_those_for_leases_need_no_policy(
    runtime: Runtime, node: Node, pod: Pod, before: Files
) -> None:
    host = dump(node)
    folder, log = "/run/amd-host-device/a/b", "/var/log/amd-host-device.log"
    used = runtime.having(
        dataDir=folder, logFile=log, logLevel="debug", ipam={**HOST_LOCAL, "dataDir": LEASES}
    )
    used.added(pod)
    assert place(node, f"{folder}/{BDF}.json").is_file()
    assert place(node, f"{LEASES}/fabric/10.8.0.2").is_file()
    assert used.delete(pod).succeeded
    assert b"verb=DEL" in place(node, log).read_bytes()
    assert damage(host, node) == []
    allowed = (STATE[1:], "run/amd-host-device", LEASES[1:], log[1:])
    assert [path for path in new(before, node) if not path.startswith(allowed)] == []


# ---- DEL, GC and healing

EDITS: dict[str, dict[str, Any]] = {
    "dataDir": {"dataDir": "/etc"},
    "no folder": {"dataDir": "/proc/self/mem/x"},
    "long": {"dataDir": "/run/amd-host-device" + "/a" * 2000},
    "no text": {"dataDir": "/run/\0"},
    "record": {"dataDir": f"{STATE}/{BDF}.json"},
    "logFile": {"logFile": "/etc/log", "logLevel": "debug"},
    "log is a record": {"logFile": f"{STATE}/{BDF}.json", "logLevel": "debug"},
    "log is a lock": {"logFile": f"{STATE}/locks/{BDF}", "logLevel": "debug"},
    "ipam": {"ipam": {**HOST_LOCAL, "dataDir": "/etc"}},
    "all": {"dataDir": "/etc", "logFile": "/etc/log", "ipam": {**HOST_LOCAL, "log_file": "/etc/l"}},
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_del_returns_the_nic_after_the_definition_was_edited_to_forbidden_paths(
    runtime: Runtime, node: Node, pod: Pod, before: Files, edit: str
) -> None:
    host = dump(node)
    runtime.having(dataDir="/run/amd-host-device").added(pod)
    runtime.having(**EDITS[edit]).delete(pod).expect_silence()
    assert damage(host, node) == []
    allowed = (STATE[1:], "run/amd-host-device")
    assert [path for path in new(before, node) if not path.startswith(allowed)] == []


@pytest.mark.parametrize("by", ["DEL", "GC", "STATUS", "heal"])
def test_a_record_is_found_in_a_folder_that_the_policy_no_longer_allows(
    runtime: Runtime, node: Node, pod: Pod, by: str
) -> None:
    host = dump(node)
    policy = set_policy(node, folders=[OUTSIDE])
    moved = runtime.having(dataDir=f"{OUTSIDE}/x")
    moved.added(pod)
    assert place(node, f"{OUTSIDE}/x/{BDF}.json").is_file()
    policy.unlink()
    runtime.having(dataDir=f"{OUTSIDE}/y").add(node.add_pod("pod2")).expect_error(7, "dataDir")
    match by:
        case "DEL":
            expect_silence(moved.delete(pod))
        case "GC":
            expect_silence(moved.having(**GC_ALL).call("GC", **OF_NOBODY))
        case "STATUS":
            pod.delete()
            assert runtime.call("STATUS", **OF_NOBODY).succeeded
        case "heal":
            pod.delete()
            output_of_amdcni(node, "heal")
    assert damage(host, node) == []


def forge(node: Node, runtime: Runtime, pod: Pod) -> Path:
    """Make records as a pod can in its own files, which belong to root; return their folder."""
    runtime.added(pod)
    record = json.loads(record_of(node).read_bytes())
    expect_silence(runtime.delete(pod))
    record["captured"]["addresses"] = [{"interface": "192.0.2.1/24"}]
    record["netns"]["id"]["inode"] = 1
    record["ipam"] = "host-local"
    record["config"]["ipam"] = {**HOST_LOCAL, "dataDir": "/etc"}
    folder = place(node, "/run/pods-files/state")
    (folder / "unfinished").mkdir(parents=True)
    (folder / f"{BDF}.json").write_text(json.dumps(record))
    (folder / "unfinished" / BDF).touch()
    (folder / "foo.bar.1.json").write_text("somebody's")
    return folder


@pytest.mark.parametrize("verb", ["DEL", "GC", "STATUS", "CHECK"])
def test_records_that_only_the_definition_knows_of_are_not_believed(
    runtime: Runtime, node: Node, pod: Pod, verb: str
) -> None:
    folder = forge(node, runtime, pod)
    host, was = dump(node), files(node)
    for named in ("/run/pods-files/state", f"/proc/{os.getpid()}/root/{folder}"):
        forging = runtime.having(dataDir=named, prevResult={"cniVersion": "1.1.0"}, **GC_ALL)
        options = OF_NOBODY if verb in ("GC", "STATUS") else {"netns": pod}
        outcome = forging.call(verb, **options)
        assert outcome.succeeded is (verb in ("DEL", "GC"))
    assert differences(host, dump(node)) == []
    assert new(was, node) == []


def test_other_plugins_never_get_a_path_that_they_may_not_use(
    runtime: Runtime, node: Node, pod: Pod, tmp_path: Path
) -> None:
    versions = '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}'
    result = '{"cniVersion":"1.1.0","ips":[{"address":"10.8.0.2/24"}]}'
    spy = (
        f"case $CNI_COMMAND in VERSION) echo '{versions}';; "
        f"ADD) echo '{result}';; "
        "*) cat >/run/seen-$CNI_COMMAND;; esac"
    )
    path = [plugin_folder(tmp_path / "bin", spy=spy)]
    runtime.having(ipam={"type": "spy"}).added(pod, path=path)
    ipam = {"type": "spy", "DataDir": "/etc", "x": {"log_file": "/etc"}, "y": "kept"}
    for verb in ("GC", "DEL"):
        kept = {"cni.dev/valid-attachments": [{"containerID": "container-1", "ifname": "net1"}]}
        options: Any = OF_NOBODY if verb == "GC" else {"netns": pod}
        assert runtime.having(ipam=ipam, **kept).call(verb, path=path, **options).succeeded
        seen = json.loads(place(node, f"/run/seen-{verb}").read_bytes())
        assert "/etc" not in str(seen)
    assert json.loads(place(node, "/run/seen-GC").read_bytes())["ipam"]["y"] == "kept"


# ---- what is in the way


def link(path: Path) -> None:
    path.symlink_to("/run/elsewhere")


def hard_link(path: Path) -> None:
    path.hardlink_to(next(p for each in path.parents if (p := each / "precious").exists()))


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{os.open(path.parent, os.O_PATH)}/{path.name[:40]}")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


OBSTACLES = pytest.mark.parametrize(
    "obstacle", [link, hard_link, fifo, bound_socket, huge], ids=lambda made: made.__name__
)
LOG = "/run/amd-host-device/log"
INSIDE = (
    *(f"locks/{BDF}", "locks/folders", f"unfinished/{BDF}", f".{BDF}.json.tmp", ".probe.tmp"),
    *(
        "folders/entry",
        "ip-interface-mappings.json",
        "0000:c9:00.0.json",
        "unfinished/0000:c9:00.0",
    ),
)


def put_in_the_way(node: Node, obstacle: Callable[[Path], None]) -> None:
    """Put an obstacle in place of every file that a call may open."""
    places = [*(state_folder(node) / name for name in INSIDE), place(node, LOG)]
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        obstacle(path)


"""The command that lets a call have no more than one GiB of memory."""


@OBSTACLES
@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what it may not follow")
def test_nothing_but_its_own_files_is_written_followed_or_waited_for(
    runtime: Runtime, node: Node, pod: Pod, obstacle: Callable[[Path], None]
) -> None:
    host = dump(node)
    precious = [place(node, "/run/precious"), place(node, "/var/lib/cni/precious")]
    for path in precious:
        path.write_text("precious")
    talkative = runtime.having(logFile=LOG, logLevel="debug")
    for verb in ("ADD", "STATUS", "GC", "DEL"):
        put_in_the_way(node, obstacle)
        options: Any = OF_NOBODY if verb in ("STATUS", "GC") else {"netns": pod}
        outcome = talkative.slim().call(verb, **options)
        assert outcome.succeeded, outcome
    assert differences(host, dump(node)) == []
    assert [path.read_text() for path in precious] == ["precious", "precious"]
    assert not place(node, "/run/elsewhere").exists()
    assert not record_of(node).exists()


def test_links_in_place_of_the_folders_in_the_state_folder_are_not_followed(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    host = dump(node)
    elsewhere = place(node, "/run/elsewhere")
    elsewhere.mkdir()
    for verb in ("ADD", "DEL"):
        for name in ("unfinished", "several", "multipath", "locks"):
            path = state_folder(node) / name
            if path.is_dir():
                path.rename(path.with_name(f"was-{name}"))
            path.parent.mkdir(exist_ok=True)
            path.symlink_to("/run/elsewhere")
        assert runtime.call(verb, netns=pod).succeeded
    assert list(elsewhere.iterdir()) == []
    assert differences(host, dump(node)) == []


@contextmanager
def exchanging(node: Node, script: str) -> Iterator[None]:
    """Run a shell script again and again."""
    with node.start(["sh", "-c", f"while :; do {script}; done"]) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "script",
    [
        "ln -s ../precious l; mv -T l log; rm -f log; : >log",
        *(
            pytest.param(script, marks=pytest.mark.thorough)
            for script in (
                "ln ../precious l 2>/dev/null; mv -T l log; rm -f log; mkfifo log; rm -f log",
                "mv -T logs was; ln -s /run/victim logs; rm logs; mv -T was logs",
            )
        ),
    ],
)
def test_a_log_file_that_is_exchanged_during_the_call_leads_nowhere_else(
    runtime: Runtime, node: Node, pod: Pod, script: str
) -> None:
    for folder in ("victim", "amd-host-device/logs"):
        place(node, f"/run/{folder}").mkdir(parents=True)
    place(node, "/run/amd-host-device/precious").write_text("precious")
    place(node, "/run/victim/log").write_text("precious")
    inside = "cd /run/amd-host-device/logs" if "logs" not in script else "cd /run/amd-host-device"
    talkative = runtime.having(logFile="/run/amd-host-device/logs/log", logLevel="debug")
    with exchanging(node, f"({inside}; {script}) 2>/dev/null"):
        for _ in range(8):
            talkative.added(pod)
            assert talkative.delete(pod).succeeded
    assert place(node, "/run/amd-host-device/precious").read_text() == "precious"
    assert place(node, "/run/victim/log").read_text() == "precious"


# ---- whose folders

EXPOSED = {"another's": (ANOTHER, 0o700), "a group's": (0, 0o770), "everybody's": (0, 0o777)}


def expose(folder: Path, whose: str) -> None:
    """Let others write in a folder, or give it away."""
    owner, mode = EXPOSED[whose]
    os.chown(folder, owner, ANOTHER)
    folder.chmod(mode)


by_exposure = pytest.mark.parametrize("whose", EXPOSED)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


@by_exposure
@as_root
def test_a_folder_in_which_others_can_write_holds_no_new_record(
    runtime: Runtime, node: Node, pod: Pod, whose: str
) -> None:
    host = dump(node)
    for folder in ("/run/amd-host-device/x", STATE):
        runtime.having(dataDir=folder).added(pod)
        expect_silence(runtime.having(dataDir=folder).delete(pod))
        expose(place(node, folder), whose)
        code = 5 if folder == STATE else 7
        runtime.having(dataDir=folder).add(pod).expect_error(code, folder, "cannot be used safely")
        runtime.having(dataDir=f"{folder}/y").add(pod).expect_error(7, "dataDir", folder)
    assert damage(host, node) == []


@by_exposure
@as_root
def test_a_del_returns_the_nic_although_others_can_write_in_the_state_folder(
    runtime: Runtime, node: Node, pod: Pod, whose: str
) -> None:
    host = dump(node)
    runtime.added(pod)
    expose(state_folder(node), whose)
    assert runtime.delete(pod).succeeded
    assert damage(host, node) == []
