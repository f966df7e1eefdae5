"""What a test requires of a plugin's answer, and what it reports otherwise."""

import json
import re

import pytest

from amdcni.testing import Outcome

ERROR = {"cniVersion": "1.0.0", "code": 7, "msg": "no device", "details": "name one"}


def outcome_of(status: int, answer: object) -> Outcome:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return Outcome(status, text.encode(), "a log line\n")


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (outcome_of(1, ERROR), "failed where it had to succeed: exit status 1, stdout {"),
        (outcome_of(0, ""), "one JSON object, a result, and nothing else: exit status 0, stderr"),
        (outcome_of(0, 'a line\n{"ips": []}'), "one JSON object, a result, and nothing else"),
        (outcome_of(0, "[]"), "one JSON object, a result, and nothing else"),
    ],
)
def test_what_is_not_a_result_is_reported(outcome: Outcome, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        outcome.expect_result()


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (outcome_of(0, ERROR), "succeeded where it had to fail"),
        (outcome_of(1, "oops"), "one JSON object, a CNI error object, and nothing else"),
        (outcome_of(1, {**ERROR, "code": 4}), "its code is 4, not 7"),
        (outcome_of(1, {**ERROR, "code": "7"}), "its code is '7', not a number above 0"),
        (outcome_of(1, {**ERROR, "code": True}), "its code is True, not a number above 0"),
        (outcome_of(1, {**ERROR, "msg": None}), "its msg is None, not a string"),
        (outcome_of(1, {**ERROR, "details": 1}), "its details are 1, not a string"),
        (outcome_of(1, {**ERROR, "cniVersion": 1}), "its cniVersion is 1, not a string"),
        (outcome_of(1, {**ERROR, "hint": ""}), "it has the unknown keys hint"),
        (outcome_of(1, {**ERROR, "msg": "no"}), "it does not say 'device'"),
    ],
)
def test_what_is_not_the_expected_error_is_reported(outcome: Outcome, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        outcome.expect_error(7, "device")


def test_an_expected_outcome_is_accepted_and_returned() -> None:
    assert outcome_of(0, {"ips": []}).expect_result() == {"ips": []}
    assert outcome_of(2, ERROR).expect_error() == ERROR
    Outcome(0, b"", "a log line\n").expect_silence()


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (outcome_of(1, ""), "failed where it had to succeed"),
        (outcome_of(0, "{}"), "printed something where it had to be silent"),
    ],
)
def test_output_instead_of_silence_is_reported(outcome: Outcome, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        outcome.expect_silence()
