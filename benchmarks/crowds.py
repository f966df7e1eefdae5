"""Calls on a node with many routes and netdevs: what those of the NIC cost, and what others do."""

from collections.abc import Iterator
from typing import Final

from benchmarks.processes import Pairs
from benchmarks.stage import OURS, Stage

OWN_ROUTES: Final = 2_000
OTHER_ROUTES: Final = 20_000
OTHER_NETDEVS: Final = 1_000

ALONE: Final = "alone"
ROUTED: Final = f"{OWN_ROUTES:,} routes of the NIC"
TWICE: Final = f"{2 * OWN_ROUTES:,} routes of the NIC"
CROWDED: Final = f"and {OTHER_ROUTES:,} other routes, {OTHER_NETDEVS:,} other netdevs"
VERBS: Final = ("ADD", "DEL")

Crowds = dict[str, dict[str, Pairs]]
"""For each node and verb the processor time, beside that on the node that is `alone`."""


def measure(stage: Stage, rounds: int) -> Iterator[Crowds]:
    """All times so far, after each kind of node; the node stays crowded."""
    found: Crowds = {}
    router = stage.nic.peers[0]
    for name in (ALONE, ROUTED, TWICE, CROWDED):
        if name == ROUTED:
            _route(stage, 0, OWN_ROUTES, 172, router, stage.nic.ifname)
        elif name == TWICE:
            _route(stage, OWN_ROUTES, 2 * OWN_ROUTES, 172, router, stage.nic.ifname)
        elif name == CROWDED:
            other = stage.node.add_nic("0000:02:00.0", "enp2s0", ["10.9.0.0/31"])
            _route(stage, 0, OTHER_ROUTES, 100, other.peers[0], other.ifname)
            links = range(OTHER_NETDEVS // 2)
            stage.node.ip_batch([f"link add v{n} type veth peer name w{n}" for n in links])
        seen = _calls(stage, rounds)
        base = found.get(ALONE)
        found[name] = {
            verb: Pairs(times, [] if base is None else base[verb].ours_ms)
            for verb, times in seen.items()
        }
        yield found


def _calls(stage: Stage, rounds: int) -> dict[str, list[float]]:
    jobs = [stage.call(OURS, verb, stage.ours(mover="native")) for verb in VERBS]
    stage.run(jobs)
    runs = [stage.run(jobs) for _ in range(rounds)]
    return {
        verb: [round_[number].cpu_s * 1000 for round_ in runs] for number, verb in enumerate(VERBS)
    }


def _route(stage: Stage, first: int, end: int, network: int, router: str, ifname: str) -> None:
    stage.node.ip_batch(
        [
            f"route add {network}.{n >> 16}.{n >> 8 & 255}.{n & 255}/32 via {router} dev {ifname}"
            for n in range(first, end)
        ]
    )
