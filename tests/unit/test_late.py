"""In a process for one call attrs makes and compiles only what is used, and nobody can tell."""

import gc
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni_shim.late import late


def shop(make: Callable[..., Any]) -> Any:
    """A class with attributes of all kinds that ours have, some inherited."""

    @make(slots=False, kw_only=True)
    class Base:
        named: int = 1
        listed: list[int] = attrs.field(factory=list)

    @make(slots=False)
    class Shop(Base):
        first: int
        second: str = "two"
        _hidden: int = attrs.field(default=3, eq=False)

        def described(self) -> str:
            return f"{self.first} {super().__repr__().partition('(')[0]}"

    return Shop


NAMES = ("first", "second", "hidden", "_hidden", "named", "listed", "unknown")


@given(
    st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=4),
    st.lists(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)), min_size=4, max_size=4),
)
@example([[1, 2, 3, 0], [1, 2, 3]], [{}, {"first": 1}])
def test_a_late_class_takes_the_arguments_that_one_of_attrs_takes(
    values: Sequence[Sequence[int]], named: Sequence[dict[str, int]]
) -> None:
    ours, theirs = shop(late), shop(attrs.frozen)
    for some, by_name in zip(values, named, strict=False):
        assert outcome(ours, some, by_name) == outcome(theirs, some, by_name)


def outcome(cls: Any, values: Sequence[int], named: dict[str, int]) -> Any:
    try:
        made = cls(*values, **named)
    except TypeError as error:
        return str(error)
    return attrs.asdict(made), repr(made), made.described().partition(" ")[0]


def test_each_value_has_a_list_of_its_own() -> None:
    cls = shop(late)
    assert cls(1).listed is not cls(1).listed


def test_the_first_and_the_hundredth_value_are_alike() -> None:
    ours, theirs = shop(late), shop(attrs.frozen)
    made = [ours(number, named=number) for number in range(100)]
    assert [attrs.asdict(one) for one in made] == [
        attrs.asdict(theirs(number, named=number)) for number in range(100)
    ]
    assert len({type(one) for one in made}) == 1
    assert made[0] == ours(0, named=0)


class Asked(BaseException):
    """Stands for a signal, which raises an error wherever the process is."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without garbage collection, at which Hypothesis has functions called that swallow errors."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_a_class_whose_making_a_signal_ends_can_be_made_again() -> None:
    for number in itertools.count(1):
        ours, calls = shop(late), itertools.count(1)

        def interrupt(*_: object, calls: Iterator[int] = calls, number: int = number) -> None:
            if next(calls) == number:
                sys.settrace(None)
                raise Asked

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            ours(0)
        except Asked:
            ended = False
        else:
            ended = True
        finally:
            sys.settrace(before)
        made, theirs = ours(1, named=2), shop(attrs.frozen)(1, named=2)
        assert repr(made) == repr(theirs), f"ended at call {number}"
        assert attrs.asdict(made) == attrs.asdict(theirs), f"ended at call {number}"
        assert made == ours(1, named=2), f"ended at call {number}"
        if ended:
            break
    assert number > 100


def test_a_class_is_made_when_its_attributes_or_those_of_its_child_are_asked_for() -> None:
    assert [field.name for field in attrs.fields(shop(late))] == [
        field.name for field in attrs.fields(shop(attrs.frozen))
    ]


def test_a_class_with_an_init_or_a_hook_of_its_own_keeps_it() -> None:
    seen: list[int] = []
    hooked, own = with_a_hook(seen), with_an_init()
    assert (hooked(3).a, seen, own().a) == (3, [3], 7)


def with_a_hook(seen: list[int]) -> Any:

    @late
    class Hooked:
        a: int

        def __attrs_post_init__(self) -> None:
            seen.append(self.a)

    return Hooked


def with_an_init() -> Any:
    @late
    class Own:
        a: int

        def __init__(self) -> None:
            self.__attrs_init__(7)  # type: ignore[attr-defined]

    return Own


def test_a_child_of_a_class_with_slots_has_all_attributes() -> None:
    @attrs.frozen
    class Slotted:
        a: int

    class Child(Slotted):
        b: int

    made = late(Child)(1, 2)
    assert (made.a, made.b) == (1, 2)


START = "from amdcni_shim import process\nprocess.start_for_one_call()\n"
COUNTED = """
import builtins
compiled = []
whole = builtins.compile
def counting(source, filename, *others, **options):
    if str(filename).startswith("<attrs generated"):
        compiled.append(str(filename).split()[-1])
    return whole(source, filename, *others, **options)
builtins.compile = counting
"""


def output_of(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True
    )
    return done.stdout


def test_what_attrs_writes_is_compiled_only_when_it_is_called() -> None:
    program = f"""{COUNTED}{START}
import attrs
from amdcni.core.host import NetnsId
from amdcni.core.names import PciAddress
one, same = NetnsId(4, 7), NetnsId(4, 7)
assert one == same and len({{one, same}}) == 1 and repr(one)
print(compiled)
a, b = PciAddress.parse("0000:01:00.0"), PciAddress.parse("0000:02:00.0")
assert a < b and a != b and len({{a, b}}) == 2
many = [NetnsId(number, 7) for number in range(100)]
assert many[99].dev == 99 and hash(attrs.fields(NetnsId)[0])
print(sorted(set(compiled)))
"""
    first, then = output_of(program).splitlines()
    assert first == "[]"
    assert "amdcni.core.host.NetnsId>" in then
    assert "amdcni.core.names.PciAddress>" in then
    assert "attr._make.Attribute>" in then


def test_an_attrs_that_compiles_elsewhere_makes_the_same_classes_at_once() -> None:
    """As an attrs with other private modules, or other files' names, would."""
    program = f"""{COUNTED}
from amdcni_shim import late
late._compile_later = counting
{START}
from amdcni.core.host import NetnsId
assert NetnsId(4, 7) == NetnsId(4, 7) and len([NetnsId(n, 7) for n in range(100)]) == 100
print("amdcni.core.host.NetnsId>" in compiled)
"""
    assert output_of(program) == "True\n"


def test_functions_of_attrs_have_their_names_and_defaults() -> None:
    program = f"""{START}
import attrs
@attrs.define
class Point:
    x: int
    y: int = 2
assert Point.__init__.__qualname__ == "Point.__init__" and Point.__eq__.__name__ == "__eq__"
assert Point.__init__.__annotations__ == {{"x": int, "y": int, "return": None}}
assert (Point(1).y, Point(y=5, x=1).y, repr(Point(1))) == (2, 5, "Point(x=1, y=2)")
assert Point(1) == Point(1, 2) != Point(2)
try:
    Point()
except TypeError as error:
    print(error)
"""
    assert output_of(program) == ("Point.__init__() missing 1 required positional argument: 'x'\n")


@pytest.mark.parametrize("missing", ["cattrs", "pyroute2"])
def test_a_package_that_is_not_there_is_missed_only_when_it_is_imported(missing: str) -> None:
    program = f"""
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == {missing!r} else find(name, *more)
{START}
import sys
print({missing!r} in sys.modules)
"""
    assert output_of(program) == "False\n"
