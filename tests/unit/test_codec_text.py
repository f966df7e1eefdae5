"""JSON text: strict in what is read, plain ASCII in what is written."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.core.codec import MAX_INPUT_BYTES, decode_object, encode
from amdcni.core.codec.text import shown
from amdcni.core.errors import UndecodableInput
from amdcni.testing import strategies as some


def same_json(one: object, other: object) -> bool:
    """Whether two values are the same in JSON, where 1, true and 1.0 differ."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(some.json_objects)
def test_an_object_survives_being_encoded_and_decoded(value: dict[str, Any]) -> None:
    assert same_json(decode_object(encode(value).encode(), "it"), value)


@given(some.json_objects)
def test_an_object_is_decoded_as_others_encode_it(value: dict[str, Any]) -> None:
    for text in (json.dumps(value, indent=2), json.dumps(value, ensure_ascii=False)):
        assert same_json(decode_object(text.encode(), "it"), value)


@given(st.dictionaries(st.text(st.characters(), max_size=5), some.hostile_texts, max_size=3))
def test_an_encoded_object_is_one_line_of_ascii_even_with_lone_surrogates(
    value: dict[str, str],
) -> None:
    text = encode(value)
    assert text.isascii()
    assert text.isprintable()
    assert decode_object(text.encode("ascii"), "it") == value


def test_a_number_that_json_does_not_have_is_never_written() -> None:
    """RFC 8259 §6: "Numeric values that cannot be represented in the grammar below (such as
    Infinity and NaN) are not permitted."
    """
    for value in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match="JSON"):
            encode({"a": value})


@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_an_error_that_names_the_input(data: bytes) -> None:
    try:
        value = decode_object(data, "the thing")
    except UndecodableInput as failure:
        message = failure.message
    else:
        message = "the thing"
        assert isinstance(value, dict)
    assert message.startswith("the thing")
    assert message.isprintable()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": -1e999}', "out of range"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"\xff{}", "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b"[]", "a list"),
        (b"null", "null"),
        (b'"{}"', "a string"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"true", "a boolean"),
        (b"[" * 100_000, "too deeply"),
        (b'{"a":' * 100_000, "too deeply"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "too deeply"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "too deeply"),
        (b" " * (MAX_INPUT_BYTES + 1), "larger than"),
    ],
)
def test_what_is_not_a_json_object_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        decode_object(data, "the thing")
    assert said in refusal.value.message
    assert len(refusal.value.message) < 200


def test_the_largest_input_is_still_read() -> None:
    assert decode_object(b"{}".ljust(MAX_INPUT_BYTES), "the thing") == {}


def test_a_list_of_any_depth_is_refused_without_a_recursion_error() -> None:
    escaped = []
    for depth in range(1, 1100):
        try:
            decode_object(b"[" * depth + b"]" * depth, "the thing")
        except UndecodableInput:
            continue
        except RecursionError:
            escaped.append(depth)
    assert escaped == []


def test_if_a_key_occurs_twice_the_last_one_counts_as_in_go() -> None:
    assert decode_object(b'{"a": 1, "a": 2}', "the thing") == {"a": 2}


@pytest.mark.parametrize("more", range(4))
def test_a_number_out_of_range_is_reported_with_its_first_twenty_characters(more: int) -> None:
    number = "9" * more + "12345678901234567e999"
    with pytest.raises(UndecodableInput) as refusal:
        decode_object(b'{"a": ' + number.encode() + b"}", "the thing")
    assert refusal.value.message.endswith(f"the number {number[:20]} is out of range")


KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


@given(some.hostile_values)
@example(1)
@example(1.5)
def test_a_value_is_shown_as_its_kind_and_its_start_in_printable_ascii(value: object) -> None:
    text = shown(value)
    assert text.startswith(KINDS.get(type(value), "a number") + " (")
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 80
    whole = json.dumps(value)
    assert whole in text or whole[:40] in text


@pytest.mark.parametrize("length", [58, 59])
def test_a_value_is_shown_completely_or_in_sixty_characters(length: int) -> None:
    value = "x" * length
    inside = f'"{value}"' if length == 58 else '"' + "x" * 56 + "..."
    assert shown(value) == f"a string ({inside})"
