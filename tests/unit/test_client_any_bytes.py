"""Whatever an agent sends, in whatever pieces: one whole answer, or that of the plugin alone."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni_shim.client import MAX_OUTPUT_BYTES
from tests.unit.clients import CLIENTS, Client, alone, socket_path
from tests.unit.fake_agent import Connection, FakeAgent, answer_of

CALL = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "abc", "CNI_IFNAME": "net1"}
STDIN = b"no JSON"
LENGTHS = st.integers(0, 2**32 - 1) | st.just(MAX_OUTPUT_BYTES + 1)

answers = st.builds(answer_of, st.integers(0, 255), st.binary(max_size=40))
broken_answers = st.builds(
    lambda length, output: b"S\0" + length.to_bytes(4, "little") + output,
    LENGTHS,
    st.binary(max_size=40),
)
pieces = st.one_of(
    st.sampled_from([b"A", b"B", b"AB", b"N", b"S", b"I"]), answers, broken_answers, st.binary()
)
conversations = st.one_of(
    st.lists(pieces, max_size=4),
    answers.map(lambda answer: [b"AB", answer]),
    broken_answers.map(lambda answer: [b"A", b"B", answer]),
    answers.flatmap(
        lambda answer: st.integers(0, len(answer)).map(
            lambda cut: [b"AB", answer[:cut], answer[cut:]]
        )
    ),
    answers.flatmap(lambda a: st.integers(0, len(a)).map(lambda cut: [b"AB", a[:cut]])),
)


def expected(said: bytes) -> tuple[int, bytes] | None:
    """The answer in what an agent said, by the text of the protocol, or None if there is none."""
    for start in (b"AS", b"ABS"):
        status, length = said[len(start) : len(start) + 1], said[len(start) + 1 : len(start) + 5]
        if said.startswith(start) and len(length) == 4:
            announced = int.from_bytes(length, "little")
            output = said[len(start) + 5 :][:announced]
            if announced <= MAX_OUTPUT_BYTES and len(output) == announced:
                return status[0], output
    return None


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@given(chunks=conversations, hastily=st.booleans())
@example(chunks=[b"AB", answer_of(0, b"{}")], hastily=False)
@example(chunks=[b"AS\0\0\0\0\1"], hastily=False)
def test_any_bytes_are_a_whole_answer_or_leave_the_work_to_the_client(
    client: Client, chunks: Sequence[bytes], hastily: bool
) -> None:
    def say(connection: Connection) -> None:
        if hastily:
            # Closing with unread data, it may take what it said with it.
            for chunk in chunks:
                connection.say(chunk)
            return
        connection.read_header()
        for chunk in chunks:
            connection.say(chunk)
        connection.say_no_more()
        connection.wait_for_end()

    with FakeAgent(socket_path(), say):
        done = client.run(CALL, STDIN)
    outcome = (done.returncode, done.stdout)
    answer = expected(b"".join(chunks))
    if hastily:
        assert outcome in (answer, alone(CALL, STDIN))
    else:
        assert outcome == (answer or alone(CALL, STDIN))
