"""What both clients send: the header, the descriptors, the environment and standard input."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from attrs import define

from amdcni_shim import client as protocol
from tests.patience import PATIENCE_S, wait_until
from tests.unit.clients import CLIENTS, HASTY, PATIENT, Client, Environ, alone, built, socket_path
from tests.unit.fake_agent import Connection, FakeAgent, answer_of

# In the locale "C" Python would add LC_CTYPE to its environment (PEP 538).
CALL = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc",
    "CNI_IFNAME": "net1",
    "LANG": "C.UTF-8",
}
OUTPUT = b"{}\n"
OWN_NETNS = "/proc/self/ns/net"


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.param
    found.argv()
    return found


@define
class Seen:
    """What an agent has seen of a call."""

    header: bytes = b""
    rest: bytes = b""
    identities: tuple[tuple[int, int], ...] = ()
    """Device and inode number of each descriptor."""

    def __call__(self, connection: Connection) -> None:
        self.header = connection.read_header()
        connection.say(b"A")
        assert connection.fds == []
        connection.say(b"B")
        self.rest = connection.read_rest(self.header)
        self.identities = tuple(identity(os.fstat(fd)) for fd in connection.fds)
        os.write(connection.fds[0], b"said by the agent\n")
        connection.say(answer_of(0, OUTPUT))

    @property
    def fields(self) -> tuple[object, ...]:
        return struct.unpack("<8sIIIIQQIIII", self.header)

    @property
    def stdin(self) -> bytes:
        length = int.from_bytes(self.header[44:48], "little")
        return self.rest[len(self.rest) - length :]

    @property
    def environ(self) -> list[bytes]:
        length = int.from_bytes(self.header[40:44], "little")
        return self.rest[:length].split(b"\0")


def identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def seen(
    client: Client,
    environ: Environ,
    stdin: bytes = b"",
    *,
    cwd: Path = Path("/"),
    umask: int = -1,
    redirection: str = "",
) -> tuple[Seen, "subprocess.CompletedProcess[bytes]"]:
    found = Seen()
    with FakeAgent(socket_path(), found):
        done = client.run(environ, stdin, cwd=cwd, umask=umask, redirection=redirection)
    assert (done.returncode, done.stdout) == (0, OUTPUT)
    return found, done


def test_the_header_says_what_the_protocol_says(client: Client) -> None:
    found, _ = seen(client, CALL, b"input", umask=0o027)
    own = os.stat(OWN_NETNS)
    length = sum(len(name) + len(value) + 2 for name, value in CALL.items())
    assert found.fields == (
        *(b"amdcni\r\n", 1, 1, PATIENT.begin, 0o027, own.st_dev, own.st_ino),
        *(length, len(b"input"), 0, 0),
    )


def test_the_agent_gets_the_standard_error_and_the_folder(client: Client, tmp_path: Path) -> None:
    found, done = seen(client, CALL, cwd=tmp_path)
    assert done.stderr == b"said by the agent\n"
    assert len(found.identities) == 2
    assert found.identities[1] == identity(tmp_path.stat())


def test_the_agent_gets_the_network_namespace_that_the_client_sees(client: Client) -> None:
    found, _ = seen(client, {**CALL, "CNI_NETNS": OWN_NETNS})
    assert found.fields[-2] == protocol.HAS_NETNS
    assert found.identities[2] == identity(os.stat(OWN_NETNS))


@pytest.mark.parametrize("kind", ["absent", "file", "folder", "fifo", "empty"])
def test_only_a_namespace_is_opened(client: Client, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "netns"
    if kind == "fifo":
        # Opening this would wait for a writer.
        os.mkfifo(path)
    elif kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    found, _ = seen(client, {**CALL, "CNI_NETNS": "" if kind == "empty" else str(path)})
    assert found.fields[-2] == 0
    assert len(found.identities) == 2


def test_the_environment_and_the_input_may_be_any_bytes(client: Client) -> None:
    plain = {b"CNI_COMMAND": b"ADD", b"LANG": b"C.UTF-8"}
    odd = {**plain, b"\xff": b"\n=\xfe", b"A": b"", b"": b"nameless", b" ": b"= ="}
    found, _ = seen(client, odd, bytes(range(256)))
    assert found.environ == [b"%b=%b" % each for each in odd.items()] + [b""]
    assert found.stdin == bytes(range(256))


EXECVE = """
import ctypes, sys
argv, envp = ((ctypes.c_char_p * (len(each) + 1))(*each, None) for each in ({argv!r}, {envp!r}))
ctypes.CDLL(None).execve(argv[0], argv, envp)
"""


def test_of_a_repeated_variable_the_first_counts_and_what_is_none_is_left_out(
    client: Client,
) -> None:
    envp = [b"none", b"CNI_COMMAND=ADD", b"A=1", b"A=2", b"LANG=C.UTF-8", b"A=3"]
    argv = [word.encode() for word in client.argv()]
    found = Seen()
    with FakeAgent(socket_path(), found):
        done = subprocess.run(
            [sys.executable, "-c", EXECVE.format(argv=argv, envp=envp)],
            input=b"",
            capture_output=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, OUTPUT)
    first: dict[bytes, bytes] = {}
    for variable in found.environ[:-1]:
        name, equals, value = variable.partition(b"=")
        assert equals
        first.setdefault(name, value)
    assert first == {b"CNI_COMMAND": b"ADD", b"A": b"1", b"LANG": b"C.UTF-8"}


def large_environment(length: int) -> dict[str, str]:
    """An environment of exactly so many bytes as the agent counts them."""
    environ = dict(CALL)
    left = length - sum(len(name) + len(value) + 2 for name, value in environ.items())
    while left:
        size = min(left, 100_000) if left > 100_100 or left <= 100_000 else 50_000
        name = f"LARGE_{len(environ)}"
        environ[name] = "x" * (size - len(name) - 2)
        left -= size
    return environ


def test_an_environment_of_1_mib_is_forwarded(client: Client) -> None:
    found, _ = seen(client, large_environment(protocol.MAX_ENVIRONMENT_BYTES), b"input")
    assert found.fields[7] == protocol.MAX_ENVIRONMENT_BYTES
    assert found.stdin == b"input"


def test_a_larger_environment_is_not_forwarded(client: Client) -> None:
    environ = large_environment(protocol.MAX_ENVIRONMENT_BYTES + 1)
    with FakeAgent(socket_path(), Seen()) as agent:
        done = client.run(environ, b"{}")
    assert agent.connections == 0
    assert (done.returncode, done.stdout) == alone(environ, b"{}")


LARGE = b'{"name": "%b"}' % (b"x" * (2 * protocol.MAX_STDIN_BYTES))


def test_one_byte_more_than_a_configuration_may_have_is_forwarded(client: Client) -> None:
    found, _ = seen(client, CALL, LARGE)
    assert found.stdin == LARGE[: 1024 * 1024 + 1]


@pytest.mark.parametrize(
    "stdin", [LARGE, LARGE[: protocol.MAX_STDIN_BYTES - 1], b"\0\xff", b""], ids=len
)
def test_what_was_read_reaches_the_plugin_that_does_the_work(client: Client, stdin: bytes) -> None:
    environ = {**CALL, "CNI_NETNS": "/no/such", "CNI_PATH": "/no/such"}
    with FakeAgent(socket_path(), refuse):
        done = client.run(environ, stdin)
    assert (done.returncode, done.stdout) == alone(environ, stdin)


@pytest.mark.parametrize("said", [b"", b"A"], ids=["nothing", "A"])
def test_an_agent_that_stops_before_it_begins_holds_nothing_of_the_client(
    client: Client, said: bytes
) -> None:
    """Neither its standard error, whose end the runtime awaits, nor the network namespace."""

    def stop(connection: Connection) -> None:
        connection.say(said)
        ended.wait(PATIENCE_S)

    ended = threading.Event()
    environ = {**CALL, "CNI_NETNS": "/no/such", "CNI_PATH": "/no/such"}
    with FakeAgent(socket_path(), stop):
        done = client.run(environ, LARGE, times=HASTY)
        ended.set()
    assert (done.returncode, done.stdout) == alone(environ, LARGE)


def refuse(connection: Connection) -> None:
    connection.read_header()
    connection.say(b"N")


def test_the_client_in_python_leaves_its_umask_as_it_was() -> None:
    before = os.umask(0o027)
    try:
        with FakeAgent(socket_path(), refuse) as agent:
            assert protocol.forward({b"A": b"1"}, b"", os.fsencode(socket_path())) is None
        assert agent.connections == 1
        assert os.umask(before) == 0o027
    finally:
        os.umask(before)


def test_the_static_launcher_leaves_its_umask_as_it_was(tmp_path: Path) -> None:
    launcher = shutil.copy(built(PATIENT), tmp_path)
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\numask\n")
    python.chmod(0o755)
    with FakeAgent(socket_path(), refuse) as agent:
        done = subprocess.run(
            [launcher], env=CALL, input=b"", stdout=subprocess.PIPE, umask=0o027, check=True
        )
    assert agent.connections == 1
    assert int(done.stdout, 8) == 0o027


# ---- standard streams and signals


def test_a_closed_stdin_is_an_empty_configuration(client: Client) -> None:
    found, _ = seen(client, CALL, redirection="<&-")
    assert found.stdin == b""


def test_an_input_that_cannot_be_read_is_not_forwarded(client: Client) -> None:
    with FakeAgent(socket_path(), Seen()) as agent:
        done = client.run(CALL, redirection="0>/dev/null")
    assert agent.connections == 0
    assert done.returncode == 1
    assert b'"code":' in done.stdout


def test_a_closed_stderr_is_not_mistaken_for_another_descriptor(client: Client) -> None:
    found, _ = seen(client, CALL, redirection="2>&-")
    assert found.identities[0] == identity(os.stat("/dev/null"))


def test_without_a_stdout_nothing_is_done(client: Client) -> None:
    with FakeAgent(socket_path(), Seen()) as agent:
        done = client.run(CALL, redirection=">&-")
    assert agent.connections == 0
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_runtime_that_has_gone_gets_status_1(client: Client) -> None:
    with FakeAgent(socket_path(), Seen()):
        done = client.run(CALL, redirection="| true", umask=0)
        assert done.returncode == 0  # that of true
        reader, writer = os.pipe()
        os.close(reader)
        gone = subprocess.run(
            client.argv(), env=CALL, input=b"", stdout=writer, stderr=subprocess.PIPE, check=False
        )
        os.close(writer)
    assert (gone.returncode, gone.stderr) == (1, b"said by the agent\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_client_that_is_asked_to_end_says_so(client: Client, number: signal.Signals) -> None:
    accepted = threading.Event()

    def accept(connection: Connection) -> None:
        connection.read_header()
        connection.say(b"A")
        accepted.set()
        connection.wait_for_end()

    with FakeAgent(socket_path(), accept), client.start(CALL) as process:
        assert process.stdin is not None
        process.stdin.close()
        wait_until(accepted.is_set, "the client has sent its header")
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 1
        assert process.stdout is not None
        said = process.stdout.read()
    assert said == (
        b'{"cniVersion":"1.1.0","code":11,"msg":"ended by %b before the work was done"}\n'
        % number.name.encode()
    )


# ---- what is not forwarded


@pytest.mark.parametrize("environ", [{}, {"CNI_COMMAND": "VERSION"}], ids=["none", "VERSION"])
def test_what_depends_on_nothing_is_not_forwarded(client: Client, environ: Environ) -> None:
    with FakeAgent(socket_path(), Seen()) as agent:
        done = client.run(environ)
    assert agent.connections == 0
    assert done.returncode == (0 if environ else 1)
    assert (b"supportedVersions" in done.stdout) == bool(environ)
    assert (b"CNI plugin" in done.stderr) != bool(environ)


# ---- the Python client


def loaded_by(argv: list[str], environ: dict[str, str]) -> set[str]:
    """The modules that an interpreter has imported, as `-X importtime` lists them."""
    options = ["-X", "importtime"]
    done = subprocess.run(
        [argv[0], *options, *argv[1:]], env=environ, input=b"", capture_output=True, check=True
    )
    lines = [line for line in done.stderr.decode().splitlines() if "import time:" in line]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


def test_a_forwarded_call_imports_nothing_but_the_client() -> None:
    client, plain = CLIENTS[0].argv(), loaded_by([sys.executable, "-I", "-S", "-c", ""], {})
    program = client[-1].replace("import sys\n", f"import sys\nsys.path.append({str(ROOT)!r})\n")
    with FakeAgent(socket_path(), Seen()) as agent:
        loaded = loaded_by([*client[:-1], program], CALL)
    assert agent.connections == 1
    ours = {"amdcni_shim", "amdcni_shim.client", "amdcni_shim.start"}
    assert loaded - plain == ours | {"_socket"} - plain


ROOT = Path(protocol.__file__).parents[1]


def test_a_header_has_the_layout_of_the_protocol() -> None:
    made = protocol.header(
        kind=2,
        wait_ms=3,
        umask=4,
        netns_device=5,
        netns_inode=6,
        environment_bytes=7,
        stdin_bytes=8,
        flags=9,
        protocol=10,
    )
    layout = struct.pack("<8sIIIIQQIIII", b"amdcni\r\n", 10, 2, 3, 4, 5, 6, 7, 8, 9, 0)
    assert made == layout
    assert len(made) == protocol.HEADER_BYTES
