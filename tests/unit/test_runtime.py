"""A runtime that runs real programs, and what it remembers from one call to the next."""

import json
import os
from pathlib import Path

import attrs
import pytest

from amdcni.core.codec import parse_plugin_list
from amdcni.core.errors import (
    AmdcniError,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    StateFailure,
    UndecodableInput,
    UnknownAttachment,
)
from amdcni.core.libcni import Wanted
from amdcni.core.names import ContainerId, IfName
from amdcni.core.spec import AttachmentId, PluginList
from amdcni.effects.plugins import Plugins
from amdcni.runtime import Cache, Runtime

NET1 = Wanted(AttachmentId(ContainerId("c1"), IfName("net1")), "/run/netns/pod1")
NET2 = attrs.evolve(NET1, id=AttachmentId(ContainerId("c1"), IfName("net2")))

PLUGIN = """#!/bin/sh
printf '%s\\n' "${0##*/} $CNI_COMMAND $CNI_CONTAINERID/$CNI_IFNAME" >> calls
cat >> stdin
echo >> stdin
[ ! -e "fail-$CNI_COMMAND" ] || { echo '{"cniVersion":"1.1.0","code":11,"msg":"later"}'; exit 1; }
[ $CNI_COMMAND != ADD ] ||
    echo '{"cniVersion":"1.1.0","interfaces":[{"name":"'${0##*/}'"}]}'
"""


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the plugins `first` and `second`, which write there how they are called."""
    for name in ("first", "second"):
        (tmp_path / name).write_text(PLUGIN)
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def runtime(plugin_folder: Path) -> Runtime:
    return Runtime(
        Plugins((str(plugin_folder),), os.environ).execute, Cache(str(plugin_folder / "cni"))
    )


def network(version: str = "1.1.0", name: str = "fabric", **keys: object) -> PluginList:
    plugins = [{"type": "first"}, {"type": "second"}]
    source = {"cniVersion": version, "name": name, "plugins": plugins, **keys}
    return parse_plugin_list(json.dumps(source).encode())


def calls(plugin_folder: Path) -> list[str]:
    return (plugin_folder / "calls").read_text().splitlines()


def stdin_of_calls(plugin_folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (plugin_folder / "stdin").read_text().splitlines()]


def cached_files(plugin_folder: Path) -> list[str]:
    return sorted(path.name for path in (plugin_folder / "cni/results").iterdir())


def test_an_attachment_can_be_added_checked_and_deleted(
    runtime: Runtime, plugin_folder: Path
) -> None:
    runtime.status(network())
    result = runtime.add(network(), NET1)
    assert [interface.name for interface in result.interfaces] == ["second"]
    assert cached_files(plugin_folder) == ["fabric-c1-net1"]
    runtime.check(network(), NET1)
    runtime.gc(network(), [NET1.id])
    runtime.delete(network(), NET1)
    assert cached_files(plugin_folder) == []
    verbs = ["STATUS", "ADD", "CHECK", "GC"]
    ids = {"STATUS": "/", "GC": "/"}
    forth = [f"{name} {v} {ids.get(v, 'c1/net1')}" for v in verbs for name in ("first", "second")]
    assert calls(plugin_folder) == [*forth, "second DEL c1/net1", "first DEL c1/net1"]
    previous = [each.get("prevResult") for each in stdin_of_calls(plugin_folder)]
    names = [p["interfaces"][0]["name"] if isinstance(p, dict) else None for p in previous]
    assert names == [None, None, None, "first", "second", "second", None, None, "second", "second"]


def test_every_call_is_in_the_transcript_with_its_answer_or_failure(
    runtime: Runtime, plugin_folder: Path
) -> None:
    runtime.add(network(), NET1)
    (plugin_folder / "fail-CHECK").touch()
    with pytest.raises(PluginFailed):
        runtime.check(network(), NET1)
    seen = [(str(e.call.plugin), e.call.verb.value, e.failure is None) for e in runtime.transcript]
    assert seen == [("first", "ADD", True), ("second", "ADD", True), ("first", "CHECK", False)]
    answer = {"cniVersion": "1.1.0", "interfaces": [{"name": "first"}]}
    assert runtime.transcript[0].answer == answer
    assert all(exchange.seconds >= 0 for exchange in runtime.transcript)


def test_a_failed_add_is_not_remembered_and_can_be_deleted(
    runtime: Runtime, plugin_folder: Path
) -> None:
    (plugin_folder / "fail-ADD").touch()
    with pytest.raises(PluginFailed):
        runtime.add(network(), NET1)
    assert not (plugin_folder / "cni").exists()
    runtime.delete(network(), NET1)
    assert calls(plugin_folder)[-2:] == ["second DEL c1/net1", "first DEL c1/net1"]


def test_after_a_failed_del_the_attachment_is_remembered_and_del_can_be_repeated(
    runtime: Runtime, plugin_folder: Path
) -> None:
    runtime.add(network(), NET1)
    (plugin_folder / "fail-DEL").touch()
    with pytest.raises(PluginFailed):
        runtime.delete(network(), NET1)
    assert cached_files(plugin_folder) == ["fabric-c1-net1"]
    (plugin_folder / "fail-DEL").unlink()
    runtime.delete(network(), NET1)
    runtime.delete(network(), NET1)
    assert cached_files(plugin_folder) == []


def test_gc_detaches_and_forgets_only_what_is_not_valid_in_this_network(
    runtime: Runtime, plugin_folder: Path
) -> None:
    for wanted in (NET1, NET2):
        runtime.add(network(), wanted)
    runtime.add(network(name="another"), NET1)
    runtime.gc(network(), [NET2.id])
    assert cached_files(plugin_folder) == ["another-c1-net1", "fabric-c1-net2"]
    assert [line for line in calls(plugin_folder) if "DEL" in line] == [
        "second DEL c1/net1",
        "first DEL c1/net1",
    ]
    runtime.gc(network(disableGC=True), [])
    assert cached_files(plugin_folder) == ["another-c1-net1", "fabric-c1-net2"]


def test_what_gc_could_not_detach_stays_known_and_the_plugins_still_get_the_gc(
    runtime: Runtime, plugin_folder: Path
) -> None:
    for wanted in (NET1, NET2):
        runtime.add(network(), wanted)
    (plugin_folder / "fail-DEL").touch()
    with pytest.raises(PluginFailed) as failure:
        runtime.gc(network(), [])
    assert failure.value.__notes__ == ["later"]
    assert cached_files(plugin_folder) == ["fabric-c1-net1", "fabric-c1-net2"]
    assert calls(plugin_folder)[-2:] == ["first GC /", "second GC /"]


def test_what_was_never_attached_cannot_be_checked(runtime: Runtime) -> None:
    with pytest.raises(UnknownAttachment, match="c1/net1"):
        runtime.check(network(), NET1)


def test_a_damaged_cache_does_not_prevent_a_del(runtime: Runtime, plugin_folder: Path) -> None:
    runtime.add(network(), NET1)
    (plugin_folder / "cni/results/fabric-c1-net1").write_text("{")
    with pytest.raises(UndecodableInput):
        runtime.check(network(), NET1)
    runtime.gc(network(), [NET1.id])
    runtime.delete(network(), NET1)
    assert cached_files(plugin_folder) == []


def test_an_add_that_cannot_be_remembered_is_a_state_failure(
    runtime: Runtime, plugin_folder: Path
) -> None:
    (plugin_folder / "cni").write_text("no folder")
    with pytest.raises(StateFailure, match="fabric-c1-net1"):
        runtime.add(network(), NET1)


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        ("missing", PluginNotFound),
        ("mute", PluginBroken),
        ("wordy", PluginBroken),
    ],
)
def test_a_missing_or_broken_plugin_ends_an_add(
    runtime: Runtime, plugin_folder: Path, plugin: str, expected: type[AmdcniError]
) -> None:
    for name, does in (("mute", "exit 1"), ("wordy", "echo hello")):
        (plugin_folder / name).write_text(f"#!/bin/sh\ncat > /dev/null\n{does}\n")
        (plugin_folder / name).chmod(0o755)
    source = {"cniVersion": "1.1.0", "name": "fabric", "plugins": [{"type": plugin}]}
    with pytest.raises(expected, match=plugin):
        runtime.add(parse_plugin_list(json.dumps(source).encode()), NET1)
    assert isinstance(runtime.transcript[-1].failure, expected)
