"""Other plugins as real processes: what they get, what their answers mean, and how they end."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import PluginBroken, PluginFailed, PluginNotFound
from amdcni.core.names import ContainerId, IfName, PluginName
from amdcni.core.spec import AttachmentId, PluginCall, Verb
from amdcni.effects.plugins import Plugins, find_plugin
from tests.patience import is_alive, wait_until

NAME = PluginName("host-device")
ATTACHMENT = AttachmentId(ContainerId("pod1"), IfName("net1"))
CONFIG = {"cniVersion": "1.1.0", "name": "fabric", "type": "amd-host-device"}
OURS = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH")


def install(folder: Path, body: str, name: str = NAME) -> Path:
    """A plugin that runs `body` as a shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def plugins(*folders: Path, environ: Mapping[str, str] | None = None) -> Plugins:
    plain = {"PATH": "/usr/bin:/bin"}
    return Plugins(tuple(map(str, folders)), plain if environ is None else environ)


def call_of(verb: Verb = Verb.ADD, config: Mapping[str, Any] = CONFIG, **keys: Any) -> PluginCall:
    given: dict[str, Any] = {
        "attachment": ATTACHMENT,
        "netns": "/run/netns/pod1",
        "args": "K=v",
    } | keys
    return PluginCall(NAME, verb, config, **given)


def call(folder: Path, *, time_limit_s: float = 60, **keys: Any) -> Any:
    return plugins(folder).call(call_of(**keys), (), time_limit_s)


# ---- what a plugin gets


RECORD = 'cat > "$OUT/stdin"; env -0 > "$OUT/environ"; echo "{}"'


def recorded(
    folder: Path, call: PluginCall, environ: Mapping[str, str]
) -> tuple[Any, dict[str, str]]:
    """What a plugin gets: its stdin as JSON, and its environment."""
    install(folder, RECORD)
    surroundings = {"PATH": "/usr/bin:/bin", **environ, "OUT": str(folder)}
    plugins(folder, environ=surroundings).call(call, ())
    entries = (folder / "environ").read_bytes().rstrip(b"\0").split(b"\0")
    pairs = [os.fsdecode(entry).partition("=") for entry in entries]
    shell_makes = {"PWD", "_", "SHLVL", "OLDPWD"}
    seen = {name: value for name, _, value in pairs if name not in shell_makes}
    return json.loads((folder / "stdin").read_bytes()), seen


def test_without_an_absolute_folder_a_plugin_cannot_be_found() -> None:
    with pytest.raises(PluginNotFound, match="names no absolute folder"):
        find_plugin(NAME, ["", "bin"])


def test_a_plugin_gets_the_complete_configuration_and_its_cni_variables(bin_dir: Path) -> None:
    config = {**CONFIG, "unheard-of": [{"deep": None}, 1.5, "é\x00"], "dns": {}, "mtu": 2**60}
    stdin, environ = recorded(bin_dir, call_of(config=config), {})
    assert stdin == config
    assert {name: environ[name] for name in OURS} == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "pod1",
        "CNI_IFNAME": "net1",
        "CNI_NETNS": "/run/netns/pod1",
        "CNI_ARGS": "K=v",
        "CNI_PATH": str(bin_dir),
    }


def test_the_rest_of_the_environment_is_the_callers(bin_dir: Path) -> None:
    callers = {"LANG": "C", "SECRET": "a b=c\nd", "CNI_COMMAND": "DEL", "CNI_FUTURE": "x"}
    _, environ = recorded(bin_dir, call_of(), callers)
    assert {k: v for k, v in environ.items() if k not in OURS} == {
        "PATH": "/usr/bin:/bin",
        "OUT": str(bin_dir),
        "LANG": "C",
        "SECRET": "a b=c\nd",
        "CNI_FUTURE": "x",
    }


def test_in_a_call_about_no_attachment_the_variables_are_empty(bin_dir: Path) -> None:
    _, environ = recorded(
        bin_dir, call_of(Verb.GC, attachment=None, netns="", args=""), {"CNI_IFNAME": "net7"}
    )
    assert environ["CNI_COMMAND"] == "GC"
    assert [environ[name] for name in OURS[1:5]] == ["", "", "", ""]


def test_a_plugin_gets_the_folders_in_which_it_was_searched_as_cni_path(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    install(second, RECORD)
    environ = {"PATH": "/usr/bin:/bin", "OUT": str(second), "CNI_PATH": str(first)}
    plugins(first, second, environ=environ).call(call_of(), ())
    assert f"CNI_PATH={first}:{second}".encode() in (second / "environ").read_bytes().split(b"\0")


def test_only_the_given_descriptors_are_inherited(bin_dir: Path, tmp_path: Path) -> None:
    install(bin_dir, 'cat > /dev/null; ls /proc/self/fd > "$OUT/fds"; echo "{}"')
    with (tmp_path / "lock").open("w") as lock, (tmp_path / "other").open("w") as other:
        os.set_inheritable(other.fileno(), True)
        environ = {"PATH": "/usr/bin:/bin", "OUT": str(tmp_path)}
        plugins(bin_dir, environ=environ).call(call_of(), (lock.fileno(),))
        seen = set((tmp_path / "fds").read_text().split())
        assert str(lock.fileno()) in seen
        assert str(other.fileno()) not in seen


# ---- where it is searched


def test_the_first_folder_that_has_the_plugin_wins(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("missing", "empty", "first", "second")]
    for folder in folders[1:]:
        folder.mkdir()
    path = install(folders[2], "")
    install(folders[3], "")
    assert plugins(*folders).find(NAME) == str(path)


def test_a_relative_folder_is_skipped(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(bin_dir, "")
    monkeypatch.chdir(bin_dir)
    for folder in ("", ".", "bin", "../bin"):
        with pytest.raises(PluginNotFound):
            find_plugin(NAME, [folder])


@pytest.mark.parametrize("kind", ["folder", "not executable", "dangling"])
def test_what_cannot_be_executed_is_skipped(bin_dir: Path, tmp_path: Path, kind: str) -> None:
    found = tmp_path / "good"
    found.mkdir()
    install(found, "")
    if kind == "folder":
        (bin_dir / NAME).mkdir()
    elif kind == "dangling":
        (bin_dir / NAME).symlink_to("nowhere")
    else:
        install(bin_dir, "").chmod(0o644)
    assert find_plugin(NAME, [str(bin_dir), str(found)]) == str(found / NAME)


def test_a_missing_plugin_is_reported_with_every_folder_and_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(PluginNotFound) as raised:
        plugins(tmp_path / "a", tmp_path / "b").call(call_of(), ())
    for said in ("host-device", str(tmp_path / "a"), str(tmp_path / "b"), "CNI_PATH"):
        assert said in raised.value.message


# ---- what its answer means


def test_a_result_is_returned_unchanged(bin_dir: Path) -> None:
    install(bin_dir, """cat > /dev/null; echo '{"cniVersion": "0.4.0", "ips": [], "more": 1}'""")
    assert call(bin_dir) == {"cniVersion": "0.4.0", "ips": [], "more": 1}


@pytest.mark.parametrize("output", ["", "printf '\\n  \\n'"])
def test_success_without_output_is_an_empty_answer(bin_dir: Path, output: str) -> None:
    install(bin_dir, f"cat > /dev/null; {output}")
    assert call(bin_dir, verb=Verb.DEL) == {}


def test_a_plugin_need_not_read_its_stdin(bin_dir: Path) -> None:
    install(bin_dir, "echo '{}'")
    assert call(bin_dir, config={**CONFIG, "large": "x" * 1_000_000}) == {}


def test_an_error_object_is_passed_on_with_its_code(bin_dir: Path) -> None:
    error = {"cniVersion": "1.1.0", "code": 11, "msg": "try later", "details": "no leases"}
    install(bin_dir, f"cat > /dev/null; echo '{json.dumps(error)}'; echo noise >&2; exit 1")
    with pytest.raises(PluginFailed) as raised:
        call(bin_dir)
    failure = raised.value
    assert (failure.plugin, failure.code, failure.message, failure.details) == (
        NAME,
        11,
        "try later",
        "no leases",
    )


@pytest.mark.parametrize(
    "body",
    [
        "exit 3",
        "echo Segmentation fault; exit 139",
        "echo '{}'; exit 1",
        """echo '{"code": 0, "msg": "no failure"}'; exit 1""",
        """echo '{"code": "7", "msg": "a text"}'; exit 1""",
        "echo '[1]'",
        "echo 'null'",
        "echo '{\"a\": NaN}'",
        "printf '{} {}'",
        "printf '\\377\\376'",
        "printf '{\"unfinished'",
        "kill -9 $$",
        "head -c 5000000 /dev/zero | tr '\\0' ' '; echo '{}'",
    ],
)
def test_an_unusable_answer_is_reported_with_the_end_of_stderr(bin_dir: Path, body: str) -> None:
    install(bin_dir, f"cat > /dev/null; echo 'why it broke' >&2; {body}")
    with pytest.raises(PluginBroken, match="host-device") as raised:
        call(bin_dir)
    assert raised.value.details == "why it broke"


LOGGING = "echo a line; echo a log line >&2"


@pytest.mark.parametrize("ends", ["echo '{}'", "exit 1"])
def test_what_a_plugin_logs_is_passed_on(
    bin_dir: Path, ends: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """CNI SPEC 1.1 §4: its stderr is "output to the calling plugin's stderr"."""
    install(bin_dir, f"{LOGGING}; {ends}")
    with pytest.raises(PluginBroken):
        call(bin_dir)
    assert capfd.readouterr().err == "a log line\n"


def test_what_a_plugin_logs_before_it_is_killed_is_passed_on(
    bin_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    install(bin_dir, f"{LOGGING}; touch {bin_dir}/begun; sleep 1000")
    let_time_out(bin_dir, bin_dir / "begun")
    assert capfd.readouterr().err.splitlines()[-1] == "a log line"


def test_only_the_end_of_a_long_stderr_is_reported(bin_dir: Path) -> None:
    install(bin_dir, "cat > /dev/null; seq 100000 >&2; printf '\\377the end' >&2; exit 1")
    with pytest.raises(PluginBroken) as raised:
        call(bin_dir)
    assert raised.value.details.endswith("\n100000\n\ufffdthe end")
    assert len(raised.value.details) < 1000


@given(st.binary(max_size=40), st.sampled_from([0, 1, 2, 255]))
def test_any_output_and_status_is_an_answer_or_a_failure_of_the_plugin(
    tmp_path_factory: pytest.TempPathFactory, output: bytes, status: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "output").write_bytes(output)
    install(folder, f"cat > /dev/null; cat {folder}/output; exit {status}")
    try:
        assert isinstance(call(folder), dict)
        assert status == 0
    except (PluginBroken, PluginFailed):
        pass


def test_a_file_that_is_not_a_program_is_reported(bin_dir: Path) -> None:
    (bin_dir / NAME).write_bytes(b"\x7fELF and nothing more")
    (bin_dir / NAME).chmod(0o755)
    with pytest.raises(PluginBroken, match="host-device"):
        call(bin_dir)


# ---- how it ends


def let_time_out(bin_dir: Path, *begun: Path) -> None:
    """Call a plugin that takes too long, until it was ended only after making the files `begun`.

    On a busy machine even its start takes time; then it is called again with a longer limit.
    """
    for limit_s in (0.5, 5.0, 50.0):
        with pytest.raises(PluginBroken, match=re.escape(f"within {limit_s:g} s")):
            call(bin_dir, time_limit_s=limit_s)
        if all(path.exists() for path in begun):
            return
    pytest.fail(f"within {limit_s:g} s the plugin has not made {begun}")


STUBBORN = "trap '' TERM INT"


@pytest.mark.parametrize(
    ("plugin", "grandchild"),
    [
        ("", ""),
        (STUBBORN, STUBBORN),
        ("", f"{STUBBORN}; exec > /dev/null 2>&1 < /dev/null"),
    ],
    ids=["well-behaved", "ignoring SIGTERM", "a quiet grandchild that ignores SIGTERM"],
)
def test_when_its_time_is_up_a_plugin_is_ended_with_everything_it_started(
    bin_dir: Path, plugin: str, grandchild: str
) -> None:
    install(
        bin_dir,
        f"""cat > /dev/null
        ({grandchild or ":"}; sh -c 'echo $PPID' > {bin_dir}/pid
         mv {bin_dir}/pid {bin_dir}/grandchild; sleep 1001; sleep 1002) &
        {plugin or ":"}
        while [ ! -e {bin_dir}/grandchild ]; do sleep 0.01; done
        echo $$ > {bin_dir}/pid; mv {bin_dir}/pid {bin_dir}/plugin
        sleep 1003; sleep 1004""",
    )
    let_time_out(bin_dir, bin_dir / "plugin")
    pids = [int((bin_dir / name).read_text()) for name in ("plugin", "grandchild")]
    try:
        wait_until(lambda: not any(map(is_alive, pids)), "both have ended")
        assert not Path(f"/proc/{pids[0]}").exists()
    finally:
        for pid in pids:
            if is_alive(pid):
                os.kill(pid, 9)


def test_a_plugin_can_clean_up_before_it_is_killed(bin_dir: Path) -> None:
    install(
        bin_dir,
        f"""trap 'echo cleaned > {bin_dir}/cleaned; exit 0' TERM
        touch {bin_dir}/begun
        cat > /dev/null
        while :; do sleep 0.01; done""",
    )
    let_time_out(bin_dir, bin_dir / "begun")
    assert (bin_dir / "cleaned").read_text() == "cleaned\n"


def test_a_plugin_that_floods_its_output_is_ended(bin_dir: Path) -> None:
    install(bin_dir, "cat > /dev/null; exec yes")
    with pytest.raises(PluginBroken):
        call(bin_dir, time_limit_s=0.3)


# ---- versions


def speaking(*versions: str) -> str:
    """A plugin that supports these versions, and answers with its stdin."""
    known = "|".join(f'*\'"cniVersion":"{version}"\'*' for version in versions)
    answer = json.dumps({"cniVersion": versions[-1], "supportedVersions": versions})
    error = json.dumps({"cniVersion": "1.0.0", "code": 1, "msg": "incompatible CNI versions"})
    return f"""stdin=$(cat); echo "$CNI_COMMAND $stdin" >> "$0.calls"
    [ "$CNI_COMMAND" = VERSION ] && echo '{answer}' && exit
    case $stdin in
    {known}) echo "$stdin";;
    *) echo '{error}'; exit 1;;
    esac"""


def test_a_plugin_is_called_in_the_newest_common_version(bin_dir: Path) -> None:
    install(bin_dir, speaking("0.3.1", "0.4.0", "1.0.0"))
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net1", "sandbox": "/run/netns/pod1", "mtu": 9000}],
        "ips": [{"address": "192.0.2.1/31", "gateway": "192.0.2.0", "interface": 0}],
    }
    answer = call(bin_dir, config={**CONFIG, "prevResult": previous, "unheard-of": 1})
    assert answer["cniVersion"] == "1.0.0"
    assert answer["unheard-of"] == 1
    assert answer["prevResult"] == {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "net1", "sandbox": "/run/netns/pod1"}],
        "ips": [{"address": "192.0.2.1/31", "gateway": "192.0.2.0", "interface": 0}],
    }
    asked = (bin_dir / f"{NAME}.calls").read_text().splitlines()
    assert [line.partition(" ")[0] for line in asked] == ["ADD", "VERSION", "ADD"]


@pytest.mark.parametrize("previous", ["x", {"ips": 7}, {"cniVersion": "9.9.9"}])
def test_a_configuration_that_cannot_be_converted_is_a_failure_of_that_plugin(
    bin_dir: Path, previous: object
) -> None:
    """Found by fuzzing: a release tolerates failing plugins, but this made it fail for ever."""
    install(bin_dir, speaking("1.0.0"))
    with pytest.raises(PluginBroken, match=f"'{NAME}'.*1\\.0\\.0"):
        call(bin_dir, config={**CONFIG, "prevResult": previous})


def test_a_plugin_that_supports_the_version_is_called_once(bin_dir: Path) -> None:
    install(bin_dir, speaking("1.0.0", "1.1.0"))
    assert call(bin_dir) == CONFIG
    assert len((bin_dir / f"{NAME}.calls").read_text().splitlines()) == 1


@pytest.mark.parametrize("spoken", [["9.9.9"], ["1.1.0"]], ids=["none in common", "a liar"])
def test_without_a_common_version_the_plugins_own_error_is_passed_on(
    bin_dir: Path, spoken: list[str]
) -> None:
    answer = json.dumps({"cniVersion": "1.0.0", "supportedVersions": spoken})
    error = json.dumps({"cniVersion": "1.0.0", "code": 1, "msg": "incompatible"})
    install(
        bin_dir,
        f"""cat > /dev/null
        [ "$CNI_COMMAND" = VERSION ] && echo '{answer}' && exit
        echo '{error}'; exit 1""",
    )
    with pytest.raises(PluginFailed, match="incompatible") as raised:
        call(bin_dir)
    assert raised.value.code == 1


@pytest.mark.parametrize(
    "answer", ["", "echo '[]'", """echo '{"supportedVersions": 3}'""", "exit 1"]
)
def test_an_unusable_answer_to_version_is_reported(bin_dir: Path, answer: str) -> None:
    install(bin_dir, f"cat > /dev/null; {answer}")
    with pytest.raises(PluginBroken, match="host-device"):
        plugins(bin_dir).versions_of(NAME)


def test_the_versions_of_a_plugin_are_those_in_its_answer(bin_dir: Path) -> None:
    install(bin_dir, speaking("0.3.1", "2.0.0"))
    assert plugins(bin_dir).versions_of(NAME) == ("0.3.1", "2.0.0")
