"""JSON values and texts: plain ones, and such as nobody would intend where they turn up."""

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

words: SearchStrategy[str] = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
"""Text that is not empty, of letters and digits."""

json_values: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Small values of anything that JSON can express."""

json_objects: SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.text(max_size=8), json_values, max_size=3
)
"""JSON objects with any keys."""

hostile_texts: SearchStrategy[str] = st.sampled_from(
    ["\ud800", "a\0b", "\n", " ", "..", "/", "%d", "-", "é" * 8, "x" * 300, "\u202e", "true", "0"]
) | st.text(st.characters(), max_size=20)
"""Strings that nobody would intend; lone surrogates among them."""


def _nest(depth: int) -> object:
    value: object = "deep"
    for _ in range(depth):
        value = {"a": [value]}
    return value


_nested: Final = st.integers(1, 30).map(_nest)

hostile_values: SearchStrategy[Any] = (
    hostile_texts
    | json_values
    | st.sampled_from([10**400, -(10**400), 1e308, -0.0, 0, 1, True, False, None, "", [], {}, [[]]])
    | _nested
)
"""JSON values that nobody would intend where they turn up."""
