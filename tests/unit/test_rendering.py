"""YAML with reasons: a reader of YAML sees the object, a reader of text the reasons."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.deployment.rendering import Because, plain, render

_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS
_KEYS = st.text(st.characters(codec="ascii"), max_size=20).filter(lambda text: "\n" not in text)
_REASONS = st.text(st.sampled_from("ab: #-'\"&*{"), min_size=1, max_size=200).filter(str.strip)


def _parts(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(children, max_size=4)
        | st.dictionaries(_KEYS, children, max_size=4)
        | st.builds(Because, children, _REASONS)
    )


PARTS = st.recursive(_SCALARS, _parts, max_leaves=20)


@given(st.lists(PARTS, max_size=3))
@example([{"a": ["- b", {"c": [[], [[1]], {}]}, "x\n y\n\n"], "yes": "no", "1": "1"}])
@example([Because({"a": Because([Because({"b": Because(1, "why 1")}, "why 2")], "why 3")}, "why")])
@example(["a\n \n b", "\n", " \n a", "a\n\n", "#", "--- a", "a\x85b\nc", {"": "\n a\nb"}])
def test_what_is_read_back_is_the_object_without_the_reasons(parts: list[Any]) -> None:
    read = list(yaml.safe_load_all(render(parts, "how it was made")))
    assert json.dumps(read) == json.dumps(plain(parts))


@pytest.mark.parametrize(
    "text", ["1e3", "12e03", "1E3", "1.5e3", "-1e+3", ".5e1", "0o17", "y", "N", "1", "null", "on"]
)
def test_a_text_that_any_yaml_takes_for_something_else_is_quoted(text: str) -> None:
    assert render([{text: [text]}], "x").splitlines()[2:] == [f"'{text}':", f"- '{text}'"]


@pytest.mark.parametrize("text", ["1Gi", "50m", "e1", "yes-man", "1e3x", "10%"])
def test_any_other_text_is_not_quoted(text: str) -> None:
    assert render([text], "x").splitlines()[2:] == [text]


def test_a_reason_stands_above_what_it_is_about() -> None:
    part = {
        "kind": "Thing",
        "list": Because([Because({"a": 1, "b": Because(2, "B.")}, "Item."), 3], "List."),
        "text": "one\ntwo\n",
    }
    assert render([part, {}], "Made by\n\nhand").splitlines() == [
        "# Made by",
        "#",
        "# hand",
        "---",
        "kind: Thing",
        "# List.",
        "list:",
        "# Item.",
        "- a: 1",
        "  # B.",
        "  b: 2",
        "- 3",
        "text: |",
        "  one",
        "  two",
        "---",
        "{}",
    ]


def test_a_long_reason_is_wrapped() -> None:
    lines = render([{"a": Because(1, "word " * 60)}], "x").splitlines()
    reasons = [line for line in lines[2:] if line.startswith("# ")]
    assert " ".join(line[2:] for line in reasons) == ("word " * 60).strip()
    assert len(reasons) > 1
    assert max(map(len, lines)) <= 100
