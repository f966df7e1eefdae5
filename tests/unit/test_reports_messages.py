"""Messages to the reporting process: what is written is read, and nothing else."""

import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import aspects
from amdcni_agent.messages import (
    MAX_BYTES,
    OTHER_ERROR,
    OUTCOMES,
    CallEnded,
    Message,
    NotAMessage,
    What,
    encode,
    outcome_of,
    parse_message,
)
from amdcni_shim.edge import CODES, INTERNAL
from tests.unit.reporting import messages


@given(messages)
def test_a_message_survives_being_written_and_read(message: Message) -> None:
    assert parse_message(encode(message)) == message


@given(messages)
def test_no_message_is_too_large_for_its_reader(message: Message) -> None:
    assert len(encode(message)) <= MAX_BYTES


@given(st.binary() | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(repr))
def test_anything_else_is_no_message(data: bytes | str) -> None:
    with pytest.raises(NotAMessage):
        parse_message(data if isinstance(data, bytes) else data.encode())


@pytest.mark.parametrize(
    "data",
    [
        b'{"kind":"Healed","condition":"eaten"}',
        b'{"kind":"NotRestored","what":"pod-17"}',
        b'{"kind":"CallEnded","verb":"JUMP","mover":null,"outcome":"ok","lasted_s":1,"queued_s":1}',
        b'{"kind":"CallEnded","verb":"ADD","mover":null,"outcome":"error-pod-17",'
        b'"lasted_s":1,"queued_s":1}',
        b'{"kind":"CallEnded","verb":"ADD","mover":null,"outcome":"ok","lasted_s":NaN,"queued_s":1}',
        b'{"kind":"CallEnded","verb":"ADD","mover":null,"outcome":"ok",'
        b'"lasted_s":Infinity,"queued_s":1}',
        b'{"kind":"Lost","count":-1}',
        b'{"kind":"Attachments","by_condition":{"held":-1}}',
        b'{"kind":"Happened","what":"eaten","subject":"net1","words":"gone","pod":null}',
        b'{"kind":"Happened","what":"lost","subject":"net1","words":"two\\nlines","pod":null}',
        b'{"kind":"Happened","what":"lost","subject":"net1","words":"gone",'
        b'"pod":{"namespace":"../nodes","name":"job-1","uid":null}}',
        b'{"kind":"os.system"}',
        b"[" * 2000,
    ],
)
def test_an_unknown_word_or_an_impossible_number_is_no_message(data: bytes) -> None:
    with pytest.raises(NotAMessage):
        parse_message(data)


@given(st.integers())
def test_every_code_has_one_of_few_outcomes(code: int) -> None:
    assert outcome_of(code) in OUTCOMES


@pytest.mark.parametrize("code", sorted({*CODES.values(), INTERNAL}))
def test_each_of_our_codes_has_its_own_outcome(code: int) -> None:
    assert outcome_of(code) == f"error-{code}"


def test_the_code_of_another_plugin_is_an_other_error() -> None:
    assert outcome_of(123) == OTHER_ERROR


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="outcome"):
        CallEnded(None, None, "pod-17", lasted_s=None, queued_s=0)


def test_what_can_remain_unrestored_is_what_no_aspect_has_and_every_aspect() -> None:
    modules = {module.name for module in pkgutil.iter_modules(aspects.__path__)} - {"change"}
    others = {"name", "ifindex", "rdma", "interrupts", "rules"}
    assert {what.value for what in What} == modules | others
