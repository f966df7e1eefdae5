"""What a call starts and imports, which a runtime pays for every time.

Every interpreter in the node is traced (`benchmarks.tracing`), and the executable is the installed
one.  The modules are those that it imported during the call.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from amdcni.testing import skip_reason
from benchmarks.stage import OURS, Job, Stage, stage
from benchmarks.tracing import Trace, Tracer

FOR_PEOPLE_AND_TESTS = ("rich", "pytest", "_pytest", "hypothesis", "pygments")


@contextmanager
def traced() -> Iterator[tuple[Stage, Tracer]]:
    """Yield a node with an attached tracer, or skip and say why there is none."""
    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    if not OURS.exists():
        pytest.skip(f"{OURS} is not installed")
    with stage() as here:
        yield here, Tracer(here.node)


@pytest.fixture(scope="module")
def calls() -> Iterator[dict[str, Trace]]:
    """ADDs and DELs by both movers, and calls that need nothing from a node, each traced."""
    with traced() as (here, tracer):
        config, native = here.ours(), here.ours(mover="native")
        jobs = {
            "ADD": here.call(OURS, "ADD", config),
            "DEL": here.call(OURS, "DEL", config),
            "native ADD": here.call(OURS, "ADD", native),
            "native DEL": here.call(OURS, "DEL", native),
            "VERSION": here.call(OURS, "VERSION", config),
            "no ifname": here.call(OURS, "ADD", config, CNI_IFNAME=""),
            "unknown verb": here.call(OURS, "ATTACH", config),
        }
        yield {name: tracer.run(job) for name, job in jobs.items()}


SUCCESSES = ("ADD", "DEL", "native ADD", "native DEL", "VERSION")
REFUSED = ("no ifname", "unknown verb")


@pytest.mark.parametrize("name", [*SUCCESSES, *REFUSED])
def test_a_traced_call_ends_as_it_should(calls: dict[str, Trace], name: str) -> None:
    trace = calls[name]
    assert (trace.exit_status, trace.stderr) == (int(name in REFUSED), ""), trace


@pytest.mark.parametrize("name", [*SUCCESSES, *REFUSED])
def test_a_call_starts_one_interpreter(calls: dict[str, Trace], name: str) -> None:
    assert len(calls[name].starts) == 1, calls[name].starts


@pytest.mark.parametrize("module", ["attrs", "cattrs.converters", "pyroute2.netlink"])
def test_an_add_loads_each_package_once(calls: dict[str, Trace], module: str) -> None:
    assert [each.module for each in calls["ADD"].imports].count(module) == 1


@pytest.mark.parametrize("name", ["ADD", "DEL"])
def test_a_call_executes_only_the_modules_of_pyroute2_that_describe_messages(
    calls: dict[str, Trace], name: str
) -> None:
    """Neither their package itself, which would load all the others."""
    modules = [each.module for each in calls[name].imports if each.package == "pyroute2"]
    assert sorted(modules) == [
        "pyroute2.common",
        "pyroute2.netlink",
        "pyroute2.netlink.exceptions",
        "pyroute2.netlink.rtnl",
        "pyroute2.netlink.rtnl.ifaddrmsg",
        "pyroute2.netlink.rtnl.rtmsg",
    ]
    assert "asyncio" not in calls[name].packages


@pytest.mark.parametrize("name", ["ADD", "DEL", "native ADD", "native DEL"])
def test_a_call_executes_neither_inspect_nor_logging(calls: dict[str, Trace], name: str) -> None:
    """These two themselves are not listed if they replace their stand-in, but what they import."""
    modules = {each.module for each in calls[name].imports}
    assert modules.isdisjoint({"inspect", "ast", "dis", "logging", "string", "platform"})
    assert modules.isdisjoint({"cattrs", "pyroute2"}), "a package was executed as a whole"


SELDOM_USED = {
    *("tokenize", "traceback", "selectors", "attr.validators", "signal", "glob"),
    *("subprocess", "datetime", "amdcni.effects.plugins", "amdcni.core.formats.policies"),
}
"""What other packages import but a call does not use, and what only some calls use."""


@pytest.mark.parametrize(
    ("name", "others"),
    [("native ADD", {"check", "delete", "gc", "status"}), ("native DEL", {"add", "check", "gc"})],
)
def test_a_native_call_loads_only_what_it_uses(
    calls: dict[str, Trace], name: str, others: set[str]
) -> None:
    modules = {each.module for each in calls[name].imports}
    assert modules & SELDOM_USED == set()
    assert modules & {f"amdcni.verbs.{verb}" for verb in others} == set()


MOST_MODULES = 149
"""Each of ours takes a call about a quarter of a millisecond, mostly to make its classes."""


@pytest.mark.parametrize("name", ["native ADD", "native DEL"])
def test_a_native_call_loads_no_more_of_our_modules_than_before(
    calls: dict[str, Trace], name: str
) -> None:
    ours = {each.module for each in calls[name].imports if each.module.startswith("amdcni")}
    assert len(ours) <= MOST_MODULES, sorted(ours)


@pytest.mark.parametrize("name", ["ADD", "DEL"])
def test_a_call_with_nothing_to_log_loads_no_structlog(calls: dict[str, Trace], name: str) -> None:
    assert "structlog" not in calls[name].packages


@pytest.mark.parametrize("name", SUCCESSES)
def test_a_call_loads_nothing_meant_for_people_or_tests(calls: dict[str, Trace], name: str) -> None:
    unwanted = ("amdcni.cli", "amdcni.deployment", "amdcni.testing")
    modules = [each.module for each in calls[name].imports]
    assert [module for module in modules if module.startswith(unwanted)] == []
    assert set(FOR_PEOPLE_AND_TESTS).isdisjoint(calls[name].packages)


@pytest.mark.parametrize("name", SUCCESSES)
def test_no_module_of_ours_needs_unittest(calls: dict[str, Trace], name: str) -> None:
    needing = [
        each.parents[0]
        for each in calls[name].imports
        if each.package == "unittest" and each.parents[0].startswith("amdcni")
    ]
    assert needing == []


@pytest.mark.parametrize("name", ["VERSION", *REFUSED])
def test_a_call_that_needs_nothing_of_the_node_loads_neither_netlink_nor_codec_nor_log(
    calls: dict[str, Trace], name: str
) -> None:
    loaded = {each.module for each in calls[name].imports}
    assert {"pyroute2", "structlog", "cattrs", "amdcni.core.codec"}.isdisjoint(loaded)
    assert {"pyroute2", "cattrs"}.isdisjoint(each.package for each in calls[name].imports)


# The tracer itself


def test_the_tracer_sees_an_interpreter_that_the_call_starts() -> None:
    program = (
        "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', 'import colorsys'])"
    )
    with traced() as (_, tracer):
        trace = tracer.run(Job([sys.executable, "-I", "-c", program]))
    assert len(trace.starts) == 2
    assert "colorsys" in trace.packages


def test_the_tracer_sees_a_package_that_is_loaded_twice() -> None:
    program = "import attrs, sys; del sys.modules['attrs']; import attrs"
    with traced() as (_, tracer):
        trace = tracer.run(Job([sys.executable, "-I", "-c", program]))
    assert trace.packages.count("attrs") == 2
