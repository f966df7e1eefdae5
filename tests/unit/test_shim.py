"""The exec protocol: for any input, one JSON object or nothing as output, and the right status."""

import io
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.core.errors import KernelRefused, PluginFailed
from amdcni_shim.__main__ import main
from amdcni_shim.client import MAX_STDIN_BYTES
from amdcni_shim.edge import INTERNAL, error_object

CALL = {
    "CNI_CONTAINERID": "abc",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/no/such/netns",
    "CNI_PATH": "/no/such/folder",
}
CONFIG = {"cniVersion": "1.1.0", "name": "fabric", "deviceID": "0000:c1:00.0"}


def serve(environ: dict[str, str], stdin: bytes) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return main(environ, io.BytesIO(stdin), out, err), out.getvalue(), err.getvalue()


def error_of(environ: dict[str, str], stdin: bytes) -> Any:
    status, out, err = serve(environ, stdin)
    assert status == 1
    assert len(out.splitlines()) == 1
    assert out.isascii()
    assert "Traceback" not in err
    return json.loads(out)


@given(st.binary())
def test_version_answers_whatever_stdin_holds(stdin: bytes) -> None:
    status, out, err = serve({"CNI_COMMAND": "VERSION"}, stdin)
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


def test_a_call_without_a_command_fails_and_says_what_the_plugin_is() -> None:
    status, out, err = serve({}, b"")
    assert (status, json.loads(out)["code"]) == (1, 4)
    assert "CNI_COMMAND" in json.loads(out)["msg"]
    assert "CNI plugin" in err


@pytest.mark.parametrize(
    ("verb", "unset", "named"),
    [
        ("", (), "CNI_COMMAND"),
        ("add", (), "CNI_COMMAND"),
        ("ADD", ("CNI_CONTAINERID",), "CNI_CONTAINERID"),
        ("ADD", ("CNI_NETNS", "CNI_IFNAME"), "CNI_NETNS, CNI_IFNAME"),
        ("DEL", ("CNI_IFNAME",), "CNI_IFNAME"),
        ("CHECK", ("CNI_NETNS",), "CNI_NETNS"),
        ("GC", ("CNI_PATH",), "CNI_PATH"),
    ],
)
def test_a_wrong_environment_gets_code_4_and_the_variable_is_named(
    verb: str, unset: tuple[str, ...], named: str
) -> None:
    environ = {name: value for name, value in CALL.items() if name not in unset}
    error = error_of({**environ, "CNI_COMMAND": verb}, b"")
    assert error["code"] == 4
    assert named in error["msg"]


@pytest.mark.parametrize(
    ("verb", "stdin", "code"),
    [
        ("ADD", b"", 6),
        ("ADD", b"[]", 6),
        ("ADD", b"\xff", 6),
        ("ADD", b" " * MAX_STDIN_BYTES, 6),
        ("ADD", b"{}", 7),
        ("DEL", b"{}", 7),
        ("ADD", json.dumps({**CONFIG, "deviceID": 5}).encode(), 7),
        ("ADD", json.dumps({**CONFIG, "mover": "magic"}).encode(), 2),
        ("ADD", json.dumps({**CONFIG, "cniVersion": "9.9.9"}).encode(), 1),
        ("CHECK", json.dumps({**CONFIG, "cniVersion": "0.3.1"}).encode(), 1),
        ("GC", json.dumps({**CONFIG, "cniVersion": "1.0.0"}).encode(), 1),
        ("STATUS", json.dumps({**CONFIG, "cniVersion": "1.0.0"}).encode(), 1),
        ("ADD", json.dumps(CONFIG).encode(), 4),
    ],
)
def test_each_kind_of_wrong_input_has_its_code(verb: str, stdin: bytes, code: int) -> None:
    assert error_of({**CALL, "CNI_COMMAND": verb}, stdin)["code"] == code


@given(
    st.dictionaries(
        st.sampled_from(["CNI_COMMAND", *CALL, "CNI_ARGS"]), st.text(max_size=20).map(str)
    ),
    st.binary(max_size=60) | st.just(json.dumps(CONFIG).encode()),
)
@example({"CNI_COMMAND": "DEL", **CALL}, b'{"name": "a", "dataDir": "/proc/no"}')
def test_any_call_gets_one_error_object_or_succeeds(environ: dict[str, str], stdin: bytes) -> None:
    status, out, err = serve(environ, stdin)
    assert "Traceback" not in err
    if status == 0:
        assert environ.get("CNI_COMMAND") in (None, "VERSION", "DEL", "GC")
        return
    error = json.loads(out)
    assert set(error) <= {"cniVersion", "code", "msg", "details"}
    assert error["code"] != INTERNAL


def test_an_error_has_the_version_of_the_request() -> None:
    stdin = json.dumps({**CONFIG, "cniVersion": "0.3.1", "deviceID": 5}).encode()
    assert error_of({**CALL, "CNI_COMMAND": "ADD"}, stdin)["cniVersion"] == "0.3.1"


def test_what_failed_in_addition_is_in_the_details() -> None:
    failure = KernelRefused("first", details="more")
    failure.add_note("while undoing: second")
    error = error_object(failure, "1.0.0")
    assert error == {
        "cniVersion": "1.0.0",
        "code": 105,
        "msg": "first",
        "details": "more; while undoing: second",
    }


def test_a_plugins_own_error_is_passed_on() -> None:
    error = error_object(PluginFailed("bridge", 777, "no", "why"), "1.0.0")
    assert (error["code"], error["msg"], error["details"]) == (777, "no", "why")


def test_a_fault_of_ours_is_reported_with_its_place_without_a_traceback() -> None:
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError as failure:
        error = error_object(failure, "1.0.0")
    assert error["code"] == INTERNAL
    assert "test_shim.py" in str(error["details"])


def test_a_runtime_that_is_gone_causes_no_traceback() -> None:
    plugin = Path(sysconfig.get_path("scripts")) / "amd-host-device"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [plugin], env={"CNI_COMMAND": "VERSION"}, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_sigterm_fails_the_call_and_further_signals_are_ignored() -> None:
    program = (
        "import os, signal\n"
        "from amdcni.core.errors import TryAgainLater\n"
        "from amdcni_shim.process import fail_when_asked_to_end\n"
        "fail_when_asked_to_end()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "except TryAgainLater as failure:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(failure)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b"SIGTERM" in done.stdout
