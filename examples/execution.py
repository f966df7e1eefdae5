"""Phase 4 of the flow, executing the plugin, and what follows until the pod ends."""

import json
import shutil
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from rich.console import RenderableType
from rich.text import Text

from amdcni.core import kubernetes
from amdcni.core.kubernetes import Delegate
from amdcni.core.names import ContainerId
from amdcni.core.spec import PluginCall
from amdcni.testing import CallOptions, Node, Outcome, Pod, ThrowawayError
from amdcni.testing.cni import DEFAULT_CNI_PATH, environment_of
from examples import cluster
from examples.cluster import CLUSTER_NETWORK
from examples.node_tables import find_netdev
from examples.page import Page, facts, json_text, table, variables

PLUGIN: Final = Path(sysconfig.get_path("scripts")) / "amd-host-device"
STATE: Final = "/var/lib/cni/amd-host-device"


@frozen
class Sandbox:
    """A pod's sandbox as the runtime knows it."""

    container_id: str
    pod: Pod

    def options(self, ifname: str, args: str = "") -> CallOptions:
        return {
            "container_id": self.container_id,
            "netns": self.pod,
            "ifname": ifname,
            "args": args,
            "path": DEFAULT_CNI_PATH,
        }

    def call(self, verb: str, delegate: Delegate) -> PluginCall:
        """The call that Multus makes; the networks of the document have one plugin each."""
        sandbox = kubernetes.Sandbox(ContainerId(self.container_id), self.pod.netns)
        if verb == "ADD":
            return next(kubernetes.add(delegate, cluster.POD, sandbox))
        return next(kubernetes.delete(delegate, cluster.POD, sandbox, None))


def call_cluster_network(node: Node, sandbox: Sandbox, command: str) -> Outcome:
    name = str(CLUSTER_NETWORK["type"])
    plugin = shutil.which(name, path=":".join(DEFAULT_CNI_PATH))
    if plugin is None:
        raise ThrowawayError(f"the CNI plugin {name} is not in {' or '.join(DEFAULT_CNI_PATH)}")
    return node.cni(command, plugin, CLUSTER_NETWORK, **sandbox.options("eth0"))


def attach(page: Page, node: Node, sandbox: Sandbox, delegates: Sequence[Delegate]) -> None:
    page.heading(
        "4. AMD host device CNI execution", "IP capture → record → interface movement → result"
    )
    page.say(
        "Multus executes the plugin once for each interface. The plugin reads what the NIC has on "
        "the host, writes a record of it, and lets the plugin [bold]host-device[/] move the NIC "
        "with its addresses."
    )
    shown: Mapping[str, str] = {}
    for delegate in delegates:
        call = sandbox.call("ADD", delegate)
        environment = environment_of("ADD", sandbox.options(delegate.ifname, call.args))
        outcome, taken_ms = execute(node, call, sandbox)
        page.show(facts(execution(page, call, environment, shown, outcome)))
        page.check(
            (
                outcome.succeeded,
                f"ADD {delegate.ifname}: exit status {outcome.exit_status} after {taken_ms:.0f} ms",
            )
        )
        shown = environment


def execute(node: Node, call: PluginCall, sandbox: Sandbox) -> tuple[Outcome, float]:
    assert call.attachment is not None
    options = sandbox.options(call.attachment.ifname, call.args)
    stdin = kubernetes.to_go_json(call.config, sort_keys=True).encode()
    started_s = time.perf_counter()
    outcome = node.cni(call.verb, PLUGIN, stdin, **options)
    return outcome, (time.perf_counter() - started_s) * 1000


def execution(
    page: Page,
    call: PluginCall,
    environment: Mapping[str, str],
    shown: Mapping[str, str],
    outcome: Outcome,
) -> Iterator[tuple[str, RenderableType]]:
    """What went into the executable and came out; of the environment, what was not `shown` yet."""
    width = page.width - len("stdout  ")
    new = {name: value for name, value in environment.items() if shown.get(name) != value}
    yield "exec", Text(str(PLUGIN), style="bold")
    yield "env", variables(new, width)
    if shown:
        yield "", Text("and the rest as before", style="dim")
    yield "stdin", json_text(dict(sorted(call.config.items())), width)
    yield "stdout", json_text(outcome.answer, width)
    if outcome.stderr:
        yield "stderr", Text(outcome.stderr.rstrip())


def show_pod(page: Page, node: Node, sandbox: Sandbox) -> None:
    page.heading("The pod at work")
    page.say("The NICs are in the pod, under new names, with the addresses that they had:")
    inside = table("netdev", "PCI address", "addresses", "peer", "answers in")
    problems: list[str] = []
    for nic in node.nics:
        netdev = find_netdev(sandbox.pod, nic.mac)
        if netdev is None or netdev.state != "UP" or not {*nic.addresses} <= {*netdev.addresses}:
            problems.append(f"{nic.ifname} is not in the pod, up, with its addresses")
            continue
        times_s = {peer: sandbox.pod.ping(peer) for peer in nic.peers}
        problems += [f"no answer from {peer}" for peer, answers in times_s.items() if not answers]
        answers = [f"{times[0] * 1000:.2f} ms" if times else "-" for times in times_s.values()]
        cells = (netdev.addresses, times_s, answers)
        inside.add_row(netdev.ifname, nic.bdf, *map("\n".join, cells))
    page.show(inside)
    count = sum(len(nic.peers) for nic in node.nics)
    there = [nic.ifname for nic in node.nics if find_netdev(node, nic.mac)]
    page.check(
        (not problems, "; ".join(problems) or f"both NICs are up, and all {count} peers answer"),
        (not there, f"the host has {' and '.join(there) or 'neither NIC'} meanwhile"),
    )


def show_record(page: Page, node: Node, delegates: Sequence[Delegate]) -> None:
    page.heading("The record")
    page.say(
        "Everything that is needed to return a NIC is in a file. It was on the disk before the "
        "first change: a crash loses nothing, and the pod's end may be reported late. The first "
        "one:"
    )
    paths = records_in(node)
    for path in paths[:1]:
        record = json.loads(path.read_bytes())
        first = {key: record.pop(key, None) for key in ("phase", "id", "netns", "captured")}
        page.show(
            facts(
                [
                    ("file", Text(f"{STATE}/{path.name}", style="bold")),
                    ("mode", f"{path.stat().st_mode & 0o777:04o}"),
                    ("holds", json_text(first, page.width - len("holds  "))),
                    ("", Text(f"and {', '.join(record)}", style="dim")),
                ]
            )
        )
    devices = sorted(str(delegate.device) for delegate in delegates)
    held = [path.stem for path in paths]
    page.check((held == devices, f"there are records of {' and '.join(held) or 'nothing'}"))


def records_in(node: Node) -> list[Path]:
    return sorted((node.root / STATE.lstrip("/")).glob("*.json"))


def detach(page: Page, node: Node, sandbox: Sandbox, delegates: Sequence[Delegate]) -> None:
    page.heading(
        "The pod ends", "DEL in reverse order → NIC, name and addresses back → record gone"
    )
    claims = []
    for delegate in reversed(delegates):
        outcome, taken_ms = execute(node, sandbox.call("DEL", delegate), sandbox)
        said = (outcome.stdout.decode() + outcome.stderr).strip()
        claims.append(
            (
                outcome.succeeded and not said,
                f"DEL {delegate.ifname}: exit status {outcome.exit_status} after {taken_ms:.0f} ms"
                + (f", it said: {said}" if said else ""),
            )
        )
    outcome = call_cluster_network(node, sandbox, "DEL")
    sandbox.pod.delete()
    left = [path.name for path in records_in(node)]
    page.check(
        *claims,
        (outcome.succeeded, f"{CLUSTER_NETWORK['type']} DEL: exit status {outcome.exit_status}"),
        (not left, f"records left: {', '.join(left) or 'none'}"),
    )
