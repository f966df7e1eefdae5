"""The agent's side of the protocol, beside what the client says."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from amdcni_agent.protocol import Kind, NotForUs, about, end_of, parse_environ, parse_header
from amdcni_shim import client

numbers = st.integers(0, 2**64 - 1)


@given(
    kind=st.sampled_from(Kind),
    wait_ms=st.integers(0, 2**32 - 1),
    umask=st.integers(0, 0o777),
    device=numbers,
    inode=numbers,
    environment=st.integers(0, client.MAX_ENVIRONMENT_BYTES),
    stdin=st.integers(0, client.MAX_STDIN_BYTES),
    has_netns=st.booleans(),
)
def test_the_agent_reads_what_the_client_has_written(
    kind: Kind,
    wait_ms: int,
    umask: int,
    device: int,
    inode: int,
    environment: int,
    stdin: int,
    has_netns: bool,
) -> None:
    data = client.header(
        kind=kind,
        wait_ms=wait_ms,
        umask=umask,
        netns_device=device,
        netns_inode=inode,
        environment_bytes=environment,
        stdin_bytes=stdin,
        flags=client.HAS_NETNS if has_netns else 0,
    )
    header = parse_header(data)
    assert (header.kind, header.umask, header.netns) == (kind, umask, (device, inode))
    assert (header.environ_bytes, header.stdin_bytes) == (environment, stdin)
    assert header.has_netns is has_netns
    assert header.wait_s * 1000 == pytest.approx(wait_ms)


@given(st.binary(max_size=2 * client.HEADER_BYTES))
def test_any_other_bytes_are_not_for_this_agent(data: bytes) -> None:
    with pytest.raises(NotForUs):
        parse_header(data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": 2},
        {"protocol": 0},
        {"kind": 3},
        {"kind": 0},
        {"flags": 2},
        {"umask": 0o1000},
        {"environment_bytes": client.MAX_ENVIRONMENT_BYTES + 1},
        {"stdin_bytes": client.MAX_STDIN_BYTES + 1},
    ],
)
def test_what_another_version_may_mean_is_not_for_this_agent(wrong: dict[str, int]) -> None:
    with pytest.raises(NotForUs):
        parse_header(client.header(**wrong))


def test_the_first_of_several_values_counts_as_in_a_process_of_its_own() -> None:
    data = b"A=1\0B=x=y\0A=2\0nonsense\0=odd\0"
    assert parse_environ(data) == {b"A": b"1", b"B": b"x=y", b"": b"odd"}


@given(st.integers(0, 255), st.binary(max_size=100))
def test_an_answer_has_its_status_and_length_in_front(status: int, stdout: bytes) -> None:
    answer = end_of(status, stdout)
    assert answer[:1] == client.ANSWER
    assert answer[1] == status
    assert int.from_bytes(answer[2:6], "little") == len(stdout)
    assert answer[6:] == stdout


def test_what_is_said_of_the_agent_has_its_length_in_front() -> None:
    assert about(b"{}") == client.ABOUT + b"\x02\0\0\0{}"
