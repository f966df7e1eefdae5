"""A process for one call is made in less time, and nothing of it can be told apart."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from amdcni_shim.frozen import frozen
from amdcni_shim.late import late
from tests.unit.test_imports import loaded_by

Decorator = Callable[..., Any]


def plain(make: Decorator) -> Any:
    @make
    class Plain:
        a: int
        b: str = "b"
        c: tuple[int, ...] = ()

    return Plain


def partly_compared(make: Decorator) -> Any:
    @make
    class PartlyCompared:
        a: int
        b: str = attrs.field(default="b", eq=False)
        c: tuple[int, ...] = attrs.field(default=(), repr=False)

    return PartlyCompared


def of_one(make: Decorator) -> Any:
    @make
    class OfOne:
        a: int

    return OfOne


def with_methods(make: Decorator) -> Any:
    @make
    class WithMethods:
        a: int
        b: str = "b"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "mine"

    return WithMethods


def by_name(make: Decorator) -> Any:
    @make(slots=False, kw_only=True)
    class ByName:
        a: int
        b: str = "b"

    return ByName


def ordered(make: Decorator) -> Any:
    @make(order=True)
    class Ordered:
        a: int
        b: str = "b"

    return Ordered


CLASSES = [plain, partly_compared, of_one, with_methods, by_name, ordered]
VALUES: list[dict[str, Any]] = [
    {"a": 1},
    {"a": 2},
    {"a": 1, "b": "x"},
    {"a": 1, "b": "b"},
    {"a": 1, "c": (1, 2)},
    {"a": [1], "b": "unhashable"},
]


def values_of(cls: Any) -> list[Any]:
    names = {field.name for field in attrs.fields(cls)}
    return [cls(**given) for given in VALUES if given.keys() <= names]


def hashed(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("make", [frozen, late])
@pytest.mark.parametrize("define", CLASSES)
def test_a_class_of_a_call_is_like_that_of_attrs(
    define: Callable[[Decorator], Any], make: Decorator
) -> None:
    ours, theirs = define(make), define(attrs.frozen)
    assert attrs.fields_dict(ours).keys() == attrs.fields_dict(theirs).keys()
    assert ours.__match_args__ == theirs.__match_args__
    assert hasattr(ours, "__slots__") == (hasattr(theirs, "__slots__") and make is not late)
    for one, same in zip(values_of(ours), values_of(theirs), strict=True):
        assert repr(one).rpartition(".")[2] == repr(same).rpartition(".")[2]
        assert hashed(one) == hashed(same)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            one.a = 5
        for other, same_other in zip(values_of(ours), values_of(theirs), strict=True):
            assert (one == other) == (same == same_other)
            if hashed(one) and one == other:
                assert hash(one) == hash(other)
        assert one != define(make)(**attrs.asdict(one)) or define is with_methods


def test_a_class_without_attributes_has_one_value() -> None:
    @frozen
    class Empty:
        pass

    assert Empty() == Empty()
    assert len({Empty(), Empty()}) == 1
    assert repr(Empty()) == "Empty()"


LIGHTLY = "from amdcni_shim.process import start_lightly; start_lightly()"


def test_what_attrs_imports_and_no_call_uses_is_executed_only_when_it_is_used() -> None:
    before = loaded_by(f"{LIGHTLY}\nimport attrs")
    assert "dis" not in before
    used = "import attrs, inspect; attrs.validators.instance_of(int); inspect.signature(print)"
    assert "dis" in loaded_by(f"{LIGHTLY}\n{used}")


def test_classes_of_a_call_print_and_compare_without_code_of_their_own() -> None:
    program = (
        f"{LIGHTLY}\n"
        "from amdcni.core.host import NetnsId\n"
        "one, same = NetnsId(4, 7), NetnsId(4, 7)\n"
        "assert one == same and len({one, same}) == 1\n"
        "print(NetnsId.__eq__.__module__, repr(one))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True
    )
    assert done.stdout == "amdcni_shim.frozen NetnsId(dev=4, inode=7, cookie=None)\n"
