"""Both clients print exactly what the agent answers, or what the plugin answers without it."""

import errno
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from amdcni_shim import client as protocol
from tests.unit.clients import CLIENTS, HASTY, PATIENT, Client, alone, socket_path
from tests.unit.fake_agent import Connection, FakeAgent, Script, answer_of

CALL = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/no/such/netns",
    "CNI_PATH": "/no/such/folder",
}
CONFIG = b'{"cniVersion": "0.3.1", "name": "fabric", "deviceID": 5}'
OUTPUT = b'{"cniVersion":"0.3.1"}\n'


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.param
    found.argv()
    return found


def outcome(client: Client, script: Script, *, hasty: bool = False) -> tuple[int, bytes]:
    with FakeAgent(socket_path(), script) as agent:
        done = client.run(CALL, CONFIG, times=HASTY if hasty else PATIENT)
    assert agent.connections == 1
    return done.returncode, done.stdout


def serving(status: int, output: bytes, *, begun: bytes = b"AB") -> Script:
    def serve(connection: Connection) -> None:
        header = connection.read_header()
        connection.say(begun)
        connection.read_rest(header)
        connection.say(answer_of(status, output))

    return serve


@pytest.mark.parametrize("status", [0, 1, 255])
@pytest.mark.parametrize("output", [OUTPUT, b"", b"\0\xff\n"], ids=["json", "empty", "binary"])
def test_the_answer_is_printed_as_it_came(client: Client, status: int, output: bytes) -> None:
    assert outcome(client, serving(status, output)) == (status, output)


def test_an_output_of_the_largest_length_is_printed(client: Client) -> None:
    output = os.urandom(1 << 16) * (protocol.MAX_OUTPUT_BYTES >> 16)
    assert outcome(client, serving(0, output)) == (0, output)


def test_an_answer_that_comes_byte_by_byte_is_printed(client: Client) -> None:
    def serve(connection: Connection) -> None:
        header = connection.read_header()
        for byte in b"AB":
            connection.say(bytes([byte]))
        connection.read_rest(header)
        for byte in answer_of(0, OUTPUT):
            connection.say(bytes([byte]))

    assert outcome(client, serve) == (0, OUTPUT)


def test_an_answer_may_come_without_a_worker(client: Client) -> None:
    def refuse(connection: Connection) -> None:
        connection.read_header()
        connection.say(b"A" + answer_of(1, OUTPUT))
        connection.wait_for_end()

    assert outcome(client, refuse) == (1, OUTPUT)


def test_what_follows_the_answer_is_ignored(client: Client) -> None:
    def serve(connection: Connection) -> None:
        header = connection.read_header()
        connection.say(b"AB")
        connection.read_rest(header)
        connection.say(answer_of(0, OUTPUT) + b"N" + OUTPUT)

    assert outcome(client, serve) == (0, OUTPUT)


# ---- where the client does the work itself


def saying(before_rest: bytes, after_rest: bytes = b"", *, stay: bool = False) -> Script:
    """A script that says these bytes and then nothing, and closes unless it is to `stay`."""

    def say(connection: Connection) -> None:
        header = connection.read_header()
        connection.say(before_rest)
        if after_rest:
            connection.read_rest(header)
            connection.say(after_rest)
        if stay:
            connection.wait_for_end()

    return say


def close_at_once(connection: Connection) -> None:
    pass


ENTIRE = answer_of(0, OUTPUT)
TOO_LONG = b"S\0" + (protocol.MAX_OUTPUT_BYTES + 1).to_bytes(4, "little")

ENDS = {
    "at once": close_at_once,
    "after the header": saying(b""),
    "after A": saying(b"A"),
    "after B": saying(b"AB"),
    "after the rest": saying(b"AB", ENTIRE[:1]),
    "after the status": saying(b"AB", ENTIRE[:2]),
    "in the length": saying(b"AB", ENTIRE[:4]),
    "before the output": saying(b"AB", ENTIRE[:6]),
    "in the output": saying(b"AB", ENTIRE[:-1]),
}

REFUSALS = {
    "N at once": saying(b"N", stay=True),
    "N after A": saying(b"AN", stay=True),
    "N after B": saying(b"AB", b"N", stay=True),
    "another byte": saying(b"X", stay=True),
    "another byte after A": saying(b"AX", stay=True),
    "another byte after B": saying(b"AB", b"X", stay=True),
    "a zero byte": saying(b"\0", stay=True),
    "B first": saying(b"B" + ENTIRE, stay=True),
    "S first": saying(ENTIRE, stay=True),
    "A twice": saying(b"AAB" + ENTIRE, stay=True),
    "the answer to a question": saying(b"I\2\0\0\0{}", stay=True),
    "an output that is too long": saying(b"AB", TOO_LONG, stay=True),
    "an output of 4 GiB": saying(b"AB", b"S\0\xff\xff\xff\xff", stay=True),
}

SILENCES = {
    "instead of A": saying(b"", stay=True),
    "instead of B": saying(b"A", stay=True),
    "instead of reading": saying(b"AB", stay=True),
    "instead of S": saying(b"AB", ENTIRE[:1], stay=True),
    "in the output": saying(b"AB", ENTIRE[:-1], stay=True),
}


@pytest.mark.parametrize("script", ENDS.values(), ids=ENDS)
def test_an_end_of_the_connection_leaves_the_work_to_the_client(
    client: Client, script: Script
) -> None:
    assert outcome(client, script) == alone(CALL, CONFIG)


@pytest.mark.parametrize("script", REFUSALS.values(), ids=REFUSALS)
def test_any_other_byte_leaves_the_work_to_the_client(client: Client, script: Script) -> None:
    assert outcome(client, script) == alone(CALL, CONFIG)


@pytest.mark.parametrize("script", SILENCES.values(), ids=SILENCES)
def test_silence_leaves_the_work_to_the_client(client: Client, script: Script) -> None:
    assert outcome(client, script, hasty=True) == alone(CALL, CONFIG)


def test_an_answer_that_never_ends_leaves_the_work_to_the_client(client: Client) -> None:
    def trickle(connection: Connection) -> None:
        header = connection.read_header()
        connection.say(b"AB")
        connection.read_rest(header)
        connection.say(b"S\0" + protocol.MAX_OUTPUT_BYTES.to_bytes(4, "little"))
        while True:
            connection.say(b" ")

    assert outcome(client, trickle, hasty=True) == alone(CALL, CONFIG)


# ---- where there is no agent to talk to


def no_socket(path: Path) -> None:
    path.unlink(missing_ok=True)


def no_listener(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("make", [no_socket, no_listener, a_folder])
def test_without_an_agent_the_client_does_the_work(
    client: Client, make: Callable[[Path], None]
) -> None:
    make(socket_path())
    try:
        done = client.run(CALL, CONFIG)
    finally:
        if socket_path().is_dir():
            socket_path().rmdir()
    assert (done.returncode, done.stdout) == alone(CALL, CONFIG)


def test_a_client_does_not_wait_where_too_many_wait_already(client: Client) -> None:
    path = socket_path()
    path.unlink(missing_ok=True)
    waiting: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        refusal = 0
        while refusal == 0:
            waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting[-1].setblocking(False)
            refusal = waiting[-1].connect_ex(str(path))
        assert refusal == errno.EAGAIN
        done = client.run(CALL, CONFIG)
        for each in waiting:
            each.close()
    assert (done.returncode, done.stdout) == alone(CALL, CONFIG)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can listen as another user")
def test_an_agent_of_another_user_gets_nothing(client: Client) -> None:
    path = socket_path()
    path.unlink(missing_ok=True)
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        child = os.fork()
        if child == 0:
            # The kernel notes who listens; see unix(7), SO_PEERCRED.
            os.setresuid(65534, 65534, 65534)
            listener.listen()
            os.write(writer, b"!")
            end, _ = listener.accept()
            os.write(writer, b"got " + end.recv(protocol.HEADER_BYTES))
            os._exit(0)
        os.close(writer)
        assert os.read(reader, 1) == b"!"
        done = client.run(CALL, CONFIG)
        os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as said:
        assert said.read() == b"got "
    assert (done.returncode, done.stdout) == alone(CALL, CONFIG)


def test_the_first_argument_can_say_that_the_agent_is_not_to_be_asked(client: Client) -> None:
    with FakeAgent(socket_path(), serving(0, OUTPUT)) as agent:
        argv = client.argv(PATIENT, "--alone")
        done = subprocess.run(argv, env=CALL, input=CONFIG, capture_output=True, check=False)
    assert agent.connections == 0
    assert (done.returncode, done.stdout) == alone(CALL, CONFIG)
