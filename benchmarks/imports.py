"""How long the imports of a call take, by package, and which packages each call loads."""

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from benchmarks.stage import OURS, Job, Stage
from benchmarks.tracing import Import, Trace, Tracer

PACKAGES: Final = ("attrs", "cattrs", "structlog", "pyroute2")
OURSELVES: Final = "amdcni"
REST: Final = "all else"
ROWS: Final = (OURSELVES, *PACKAGES, REST)
WATCHED: Final = (*PACKAGES, "asyncio")
TIMED: Final = ("ADD", "DEL", "VERSION")

_SAME_PACKAGE: Final = {"attr": "attrs", "amdcni_shim": OURSELVES, "cattr": "cattrs"}


@frozen
class Cost:
    """What a package costs: its own modules, and these with what they are the first to import."""

    own_ms: float
    with_needs_ms: float
    modules: int


def costs(trace: Trace) -> dict[str, Cost]:
    """The costs of our packages and of the rest, which add up to all imports."""
    found = {}
    for package in ROWS:
        own = [each for each in trace.imports if _package(each.module) == package]
        due = [each for each in trace.imports if _due_to(each) == package]
        found[package] = Cost(_ms(own), _ms(due), len(own))
    return found


def _ms(imports: list[Import]) -> float:
    return sum(each.own_us for each in imports) / 1000


def _package(module: str) -> str:
    top = module.partition(".")[0]
    name = _SAME_PACKAGE.get(top, top)
    return name if name in (OURSELVES, *PACKAGES) else REST


def _due_to(each: Import) -> str:
    """The package that an import is charged to: the module's own, or the nearest importer's."""
    named = (_package(module) for module in (each.module, *each.parents))
    return next((name for name in named if name != REST), REST)


Costs = Mapping[str, Mapping[str, list[Cost]]]
"""By verb and package, one for each round."""


def measure(stage: Stage, tracer: Tracer, rounds: int) -> Iterator[Costs]:
    """All costs so far of the timed verbs, after each round."""
    found: dict[str, dict[str, list[Cost]]] = {verb: {p: [] for p in ROWS} for verb in TIMED}
    for _ in range(rounds):
        for verb in TIMED:
            trace = tracer.run(stage.call(OURS, verb, stage.ours(mover="native")))
            for package, cost in costs(trace).items():
                found[verb][package].append(cost)
        yield found


@frozen
class Loaded:
    """What a call loaded, and how it ended."""

    exit_status: int
    packages: tuple[str, ...]


def loaded(stage: Stage, tracer: Tracer) -> dict[str, Loaded]:
    """Which of the watched packages each verb loads, and a call that is refused at once."""
    found = {}
    for name, job in _all_verbs(stage):
        trace = tracer.run(job)
        # Of some packages, only modules are executed.
        imported = {each.package for each in trace.imports}
        packages = tuple(package for package in WATCHED if package in imported)
        found[name] = Loaded(trace.exit_status, packages)
    return found


def _all_verbs(stage: Stage) -> Iterator[tuple[str, Job]]:
    old, new = stage.ours(), stage.ours("1.1.0")
    mac = stage.nic.mac
    interface: Mapping[str, str] = {"name": "net1", "mac": mac, "sandbox": stage.pod.netns}
    ips = [{"address": address, "interface": 0} for address in stage.nic.addresses]
    previous = {"cniVersion": "1.0.0", "interfaces": [interface], "ips": ips}
    nothing = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}
    yield "ADD", stage.call(OURS, "ADD", old)
    yield "CHECK", stage.call(OURS, "CHECK", {**old, "prevResult": previous})
    yield "DEL", stage.call(OURS, "DEL", old)
    yield "STATUS", stage.call(OURS, "STATUS", new, **nothing)
    everything = {**new, "cni.dev/valid-attachments": []}
    yield "GC", stage.call(OURS, "GC", everything, **nothing)
    yield "VERSION", stage.call(OURS, "VERSION", old)
    yield "wrong environment", stage.call(OURS, "ADD", old, CNI_IFNAME="not/a/name")
