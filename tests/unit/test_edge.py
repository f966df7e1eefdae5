"""At the edge: each failure has its code, broken streams do no harm, and there is no traceback.

The codes are those of CNI SPEC 1.1 §5 and our own, written down here a second time.
"""

import io
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import errors
from amdcni.core.codec import MAX_INPUT_BYTES
from amdcni.testing.strategies import hostile_texts, hostile_values
from amdcni_shim import edge
from amdcni_shim.__main__ import main
from amdcni_shim.client import MAX_STDIN_BYTES
from tests.patience import PATIENCE_S, wait_until

PLUGIN = Path(sysconfig.get_path("scripts")) / "amd-host-device"

CODES: dict[type[BaseException], int] = {
    errors.UnsupportedVersion: 1,
    errors.UnsupportedField: 2,
    errors.UnknownAttachment: 3,
    errors.InvalidEnvironment: 4,
    errors.StateFailure: 5,
    errors.StateTooNew: 5,
    errors.DamagedRecord: 5,
    errors.UndecodableInput: 6,
    errors.InvalidConfiguration: 7,
    errors.InvalidName: 7,
    errors.TryAgainLater: 11,
    errors.DeviceBusy: 11,
    errors.DeviceHeld: 11,
    errors.RestoreIncomplete: 11,
    errors.NetdevLost: 11,
    errors.NotAvailable: 50,
    ValueError: 999,
    OSError: 999,
}

ENVIRON = {
    "CNI_CONTAINERID": "pod1",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/no/such/netns",
    "CNI_PATH": "/no/such/folder",
}
CONFIG: dict[str, Any] = {"cniVersion": "1.1.0", "name": "fabric", "deviceID": "0000:c1:00.0"}


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_each_class_of_failure_has_its_code(kind: type[BaseException]) -> None:
    assert edge.code_of(kind("why")) == CODES[kind]


def test_the_plugins_own_codes_start_at_100_and_each_has_one_class() -> None:
    own = [code for code in edge.CODES.values() if code not in set(CODES.values())]
    assert all(code >= 100 for code in own)
    assert len(set(own)) == len(own)


@given(st.integers(1, 2**31), st.text(), st.text())
def test_the_error_of_a_failed_plugin_is_passed_on_unchanged(
    code: int, msg: str, details: str
) -> None:
    error = edge.error_object(errors.PluginFailed("host-device", code, msg, details), "1.0.0")
    assert error.get("details", "") == details
    assert (error["cniVersion"], error["code"], error["msg"]) == ("1.0.0", code, msg)


@given(st.binary(max_size=80))
def test_the_version_of_an_error_is_always_a_supported_one(data: bytes) -> None:
    assert edge.version_said(data) == "1.1.0"


@pytest.mark.parametrize("said", [None, 1, [], {}, "9.9.9", "1.1.0\n", True])
def test_an_unsupported_version_is_not_repeated_in_an_error(said: object) -> None:
    assert edge.version_said(json.dumps({"cniVersion": said}).encode()) == "1.1.0"


# ---- any input


def serve(environ: Mapping[str, str], stdin: bytes) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return main(environ, io.BytesIO(stdin), out, err), out.getvalue(), err.getvalue()


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


KEYS = [
    "cniVersion",
    "name",
    "deviceID",
    "pciBusID",
    "runtimeConfig",
    "device",
    "hwaddr",
    "kernelpath",
    "ipam",
    "mover",
    "prevResult",
    "cni.dev/valid-attachments",
    "logLevel",
    "args",
]
texts = hostile_texts | st.text(max_size=8) | st.sampled_from(["ens1", "0000:c1:00.0", "1.0.0"])
members = st.dictionaries(st.sampled_from(KEYS), hostile_values | texts, max_size=5)
verbs = st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS"])
environs = st.dictionaries(
    st.sampled_from([*ENVIRON, "CNI_ARGS"]),
    st.binary(max_size=8).map(os.fsdecode) | texts.filter(_is_encodable),
    max_size=2,
).map(lambda environ: {k: v.replace("\0", "") for k, v in environ.items()})
"""What the kernel can pass to a process: any bytes but zeros."""


@given(verbs, environs, members)
def test_any_configuration_in_any_environment_gets_an_error_object_or_succeeds(
    tmp_path_factory: pytest.TempPathFactory,
    verb: str,
    hostile: dict[str, str],
    members: dict[str, Any],
) -> None:
    folder = tmp_path_factory.mktemp("state")
    environ = {**ENVIRON, **hostile, "CNI_COMMAND": verb}
    config = {**CONFIG, **members, "dataDir": str(folder)}
    status, out, err = serve(environ, json.dumps(config).encode())
    assert "Traceback" not in err
    assert out.isascii()
    if status == 0:
        assert out == ""
        assert verb in ("DEL", "GC", "STATUS")
        return
    error = json.loads(out)
    assert status == 1
    assert error["cniVersion"] in ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
    assert error["code"] in {1, 2, 3, 4, 5, 6, 7, 50, 106}, error
    assert error["msg"]


@pytest.mark.parametrize("value", ["relative", "/a\0b", "/a\ud800b", 7, [], {}])
@pytest.mark.parametrize("key", ["dataDir", "logFile"])
def test_a_path_that_no_file_can_have_is_a_fault_in_the_configuration(
    key: str, value: object
) -> None:
    config = {**CONFIG, key: value}
    status, out, _ = serve({**ENVIRON, "CNI_COMMAND": "ADD"}, json.dumps(config).encode())
    error = json.loads(out)
    assert (status, error["code"]) == (1, 7)
    assert key in error["msg"]


@pytest.mark.parametrize(
    "stdin",
    [b"[" * 500_000, b'{"a":' * 100_000, b"9" * 10_000, b'{"a": 1' + b"0" * 5000 + b"}", b"\0" * 9],
    ids=["deep list", "deep object", "long number", "long member", "zeros"],
)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_input_made_to_break_a_parser_gets_code_6(verb: str, stdin: bytes) -> None:
    status, out, err = serve({**ENVIRON, "CNI_COMMAND": verb}, stdin)
    assert (status, json.loads(out)["code"], err) == (1, 6, "")


def test_a_stdin_that_cannot_be_read_gets_an_error_object() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("Input/output error")

    out = io.StringIO()
    assert main({**ENVIRON, "CNI_COMMAND": "ADD"}, Broken(), out, io.StringIO()) == 1
    assert json.loads(out.getvalue())["code"] in (5, 6, 999)


# ---- large input


def peak_bytes(environ: Mapping[str, str], stdin: bytes) -> int:
    """The peak of the resident memory of the executable."""
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        process = subprocess.Popen([PLUGIN], env=dict(environ), stdin=file, stdout=PIPE)
        with process:
            assert process.stdout is not None
            assert len(process.stdout.read()) < 10_000
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024


def largest(before: str, part: str, after: str) -> bytes:
    room = MAX_INPUT_BYTES - len(before + after)
    return (before + part * (room // len(part)) + after).encode()


IN_LONG_KEY = f'"ipam":{{"type":"static","{"x" * 500_000}":['
NAMED = '{"cniVersion":"1.1.0","name":"fabric","deviceID":"0000:c1:00.0",'


@pytest.mark.parametrize(
    ("verb", "stdin"),
    [
        ("DEL", largest('{"name":[', '{"":0},', "0]}")),
        ("CHECK", largest(NAMED + '"prevResult":{"ips":[', '{"a":1},', "0]}}")),
        ("GC", largest(NAMED + '"cni.dev/valid-attachments":[', "{},", "{}]}")),
        ("ADD", largest(NAMED + '"a":[', "[],", "0]}")),
        ("DEL", largest(NAMED + IN_LONG_KEY, '{"logFile":1},', "0]}}")),
        ("ADD", largest(NAMED + IN_LONG_KEY, '{"logFile":1},', "0]}}")),
    ],
    ids=[
        *("wrong name", "wrong addresses", "wrong attachments", "empty lists"),
        *("wrong paths, DEL", "wrong paths, ADD"),
    ],
)
def test_no_configuration_takes_64_mib_more_memory_than_a_plain_one(
    verb: str, stdin: bytes
) -> None:
    """Found by fuzzing: 4 MiB of JSON became gigabytes of faults, and it was decoded twice."""
    environ = {**ENVIRON, "CNI_COMMAND": verb}
    plain = peak_bytes(environ, json.dumps({**CONFIG, "prevResult": {}}).encode())
    assert peak_bytes(environ, stdin) - plain < 64 * 2**20


def test_only_one_byte_too_many_is_read_of_an_oversized_configuration() -> None:
    assert MAX_STDIN_BYTES == MAX_INPUT_BYTES + 1


# ---- missing streams


CALL = {"CNI_COMMAND": "ADD", **ENVIRON}


def run(redirection: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """The executable with `redirection` of a shell; stdin holds a configuration if it is open."""
    command = f'exec "$0" {redirection}'
    return subprocess.run(
        ["/bin/sh", "-c", command, PLUGIN],
        env=dict(environ),
        input=json.dumps(CONFIG).encode(),
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("environ", [CALL, {"CNI_COMMAND": "VERSION"}], ids=["ADD", "VERSION"])
@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"], ids=["closed", "full"])
def test_without_a_stdout_the_status_is_1_and_there_is_no_traceback(
    redirection: str, environ: Mapping[str, str]
) -> None:
    done = run(redirection, environ)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_without_a_stdin_there_is_an_error_object() -> None:
    done = run("<&-", CALL)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 6)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"], ids=["closed", "full"])
def test_without_a_stderr_the_error_object_is_the_same(redirection: str) -> None:
    done, plain = run(redirection, CALL), run("", CALL)
    assert json.loads(plain.stdout)["code"] == 4
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout)


# ---- signals


@pytest.fixture
def waiting() -> Iterator["subprocess.Popen[bytes]"]:
    """The executable, waiting for its configuration."""
    process = subprocess.Popen(
        [PLUGIN], env=CALL, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        wait_until(lambda: catches_sigterm(process.pid), "the executable catches SIGTERM")
        yield process
        process.kill()


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_terminated_call_answers_with_try_again_later(
    waiting: "subprocess.Popen[bytes]", number: signal.Signals
) -> None:
    time.sleep(0.5)
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=PATIENCE_S)
    error = json.loads(out)
    assert (waiting.returncode, error["code"]) == (1, 11)
    assert number.name in error["msg"]
    assert b"Traceback" not in err


def test_these_tests_run_the_installed_executable_from_this_source() -> None:
    source = Path(__file__).parents[2]
    program = "import amdcni_shim; print(amdcni_shim.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(source) or os.environ.get("TOX_ENV_NAME")
