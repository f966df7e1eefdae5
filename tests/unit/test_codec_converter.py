"""How any attrs class is read from JSON and written: what other plugins rely on."""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from amdcni.core.codec.converter import structure, unstructure
from amdcni.core.errors import AmdcniError, UndecodableInput
from amdcni.core.host import Values
from amdcni.core.names import MacAddress


@attrs.frozen
class Inner:
    name: str
    counts: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)


@attrs.frozen
class Outer:
    inner: Inner
    others: tuple[Inner, ...] = ()
    free: dict[str, Any] | None = None
    on: bool = False
    mac: MacAddress | None = None
    values: Values = attrs.field(factory=dict)


def fault_of(raw: object) -> str:
    with pytest.raises(AmdcniError) as caught:
        structure(raw, Outer, UndecodableInput, "it")
    return caught.value.message.removeprefix("it is wrong: ")


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ([], "$ is a list ([]), not an object"),
        ({}, "$.inner is missing"),
        ({"inner": None}, "$.inner is null (null), not an object"),
        ({"inner": {"name": "a"}, "free": []}, "$.free is a list ([]), not an object"),
        (
            {"inner": {"name": "a", "counts": {"x": [1, "2"], "y": 3}}, "others": [{}]},
            '$.inner.counts[x][1] is a string ("2"), not a whole number; '
            "$.inner.counts[y] is a number (3), not a list; $.others[0].name is missing",
        ),
        ({"inner": {"name": 5}}, "$.inner.name is a number (5), not a string"),
        ({"inner": {"name": "a"}, "on": 1}, "$.on is a number (1), not true or false"),
        ({"inner": {"name": "a"}, "mac": 5}, "$.mac is a number (5), not a string"),
        (
            {"inner": {"name": "a"}, "mac": "x"},
            "$.mac: 'x' is not a hardware address such as '02:00:00:00:00:01'",
        ),
        ({"inner": {"name": "a"}, "values": 5}, "$.values is a number (5), not an object"),
        (
            {"inner": {"name": "a"}, "values": {"b": None}},
            "$.values: 'b' is null (null), not a number or a string",
        ),
        ({"inner": {"name": "a", "counts": 5}}, "$.inner.counts is a number (5), not an object"),
    ],
)
def test_every_fault_is_named_with_its_path(raw: object, fault: str) -> None:
    assert fault_of(raw) == fault


def test_a_value_is_written_as_it_was_read_without_its_defaults() -> None:
    raw = {"inner": {"name": "a", "counts": {"x": [1]}}, "others": [{"name": "b"}], "free": {}}
    read = structure(raw, Outer, UndecodableInput, "it")
    assert read == Outer(Inner("a", {"x": (1,)}), (Inner("b"),), {})
    assert json.loads(json.dumps(unstructure(read))) == raw
    assert unstructure(Outer(Inner("a"))) == {"inner": {"name": "a"}}


def test_the_shape_of_a_class_is_learnt_from_its_attributes_and_their_defaults() -> None:
    @attrs.frozen
    class Part:
        """Made here, so that nothing is remembered of it."""

        size: int

    @attrs.frozen
    class New:
        """Made here, too."""

        name: str
        number: int = 7
        names: tuple[str, ...] = attrs.field(factory=tuple)
        pairs: Mapping[str, int] = attrs.field(factory=dict)
        list_of_parts: tuple[Part, ...] = ()
        parts: Mapping[str, Part] = attrs.field(factory=dict)

    assert unstructure(New("a")) == {"name": "a"}
    full: dict[str, Any] = {"name": "a", "number": 8, "names": ["b"], "pairs": {"c": 1}}
    full |= {"list_of_parts": [{"size": 1}], "parts": {"d": {"size": 2}}}
    read = structure(full, New, UndecodableInput, "it")
    assert read == New("a", 8, ("b",), {"c": 1}, (Part(1),), {"d": Part(2)})
    assert json.loads(json.dumps(unstructure(read))) == full
    for key, value in (("names", "b"), ("pairs", ["c"]), ("list_of_parts", "d"), ("parts", ["d"])):
        with pytest.raises(UndecodableInput, match=rf"\$\.{key} is a (string|list)"):
            structure({**full, key: value}, New, UndecodableInput, "it")
