"""Plays the Kubernetes integration flow for real, in a throwaway node: `make demo`.

Exit status: 0 if all went as the document says and the host is as it was, 1 if not, 2 if this
machine does not allow it.
"""

import platform
import secrets
import sys
from collections.abc import Mapping
from typing import Final

from rich.text import Text

from amdcni.core.kubernetes import Delegate, allocation_from_environment, delegates_of
from amdcni.testing import (
    Dump,
    Node,
    NotAllowedHere,
    ThrowawayError,
    differences,
    dump,
    throwaway_node,
)
from examples import cluster, node_tables
from examples.cluster import CLUSTER_NETWORK, NAD, POD, RESOURCE
from examples.execution import (
    PLUGIN,
    Sandbox,
    attach,
    call_cluster_network,
    detach,
    show_pod,
    show_record,
)
from examples.node_tables import netdevs_in
from examples.page import Page, table, variables, yaml

HOW_TO_ALLOW: Final = """\
Run it as root (sudo make demo), or allow ordinary users to have user namespaces:
  sudo sysctl -w user.max_user_namespaces=15000
  sudo sysctl -w kernel.unprivileged_userns_clone=1                # if Debian has it
  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # if Ubuntu has it"""


def main() -> int:
    """Play the flow; return the exit status."""
    if not PLUGIN.exists():
        return refuse(f"{PLUGIN} is not installed.", "Install it with `make venv`.")
    page = Page()
    try:
        with throwaway_node() as node:
            play(page, node)
    except NotAllowedHere as refusal:
        return refuse(f"{refusal}.", HOW_TO_ALLOW)
    except ThrowawayError as failure:
        page.check((False, str(failure)))
    return conclude(page)


def refuse(reason: str, hint: str) -> int:
    print(f"The demonstration cannot run here: {reason}\n{hint}", file=sys.stderr)
    return 2


def play(page: Page, node: Node) -> None:
    """The document from the pod's creation to its end, and the comparison of the host."""
    introduce(page, node)
    before = dump(node)
    announced = allocate(page, node)
    sandbox = start_sandbox(page, node)
    delegates = orchestrate(page, announced)
    attach(page, node, sandbox, delegates)
    lent = dump(node)
    show_pod(page, node, sandbox)
    show_record(page, node, delegates)
    detach(page, node, sandbox, delegates)
    compare(page, node, before, lent)


def _kernel() -> str:
    """Return the version without the build, which says nothing to others."""
    return ".".join(platform.release().split(".")[:2])


def introduce(page: Page, node: Node) -> None:
    page.title(
        "amd-host-device lends the NICs of a Kubernetes node to pods",
        "A pod that asks for a NIC gets the hardware itself, with the IP addresses that the node "
        "had on it. When the pod ends, the node gets everything back. Nothing may be lost on the "
        "way: a node without its fabric addresses has to be repaired by hand.",
        f"All that follows happens now, on Linux {_kernel()}, with the installed "
        "executables. Only the node is a stage: namespaces with virtual NICs and a sysfs of their "
        "own, thrown away at the end. This machine's own network is not touched.",
    )
    # Every Kubernetes node forwards packets; else the cluster network's plugin would turn it on.
    node.sysctl("net/ipv4/ip_forward", 1)
    for number in (1, 2):
        addresses = [f"192.168.{number}.8/31", f"2001:db8:{number}::8/64"]
        nic = node.add_nic(f"0000:0{number}:00.0", f"enp{number}s0", addresses, mtu=9000)
        node.ip(f"link set {nic.ifname} alias rail-{number}")
    page.heading("The node and the pod")
    page.say("The node has two NICs, each with a peer at the other end of its wire:")
    page.show(node_tables.nics(node))
    page.say("A pod wants both. Its annotation names the network twice, once for each NIC:")
    page.show(yaml(cluster.manifest("pod.yaml")))


def allocate(page: Page, node: Node) -> dict[str, str]:
    page.heading(
        "1. Resource allocation", "pod request → scheduler → device plugin → NIC assignment"
    )
    offered, count = cluster.find_nics(node), POD.requests[RESOURCE]
    page.say(
        f"The scheduler looks for a node: the pod requests [bold]{count}[/] of "
        f"{RESOURCE}, this node offers [bold]{len(offered)}[/]."
    )
    announced = cluster.announcement(RESOURCE, offered[:count])
    page.say("The device plugin, which found the NICs in sysfs, allocates them and announces:")
    page.show(variables(announced, page.width))
    return announced


def start_sandbox(page: Page, node: Node) -> Sandbox:
    page.heading(
        "2. Network setup initiation",
        "kubelet → Multus (from /etc/cni/net.d) → cluster network, then secondary networks",
    )
    sandbox = Sandbox(secrets.token_hex(32), node.add_pod("workload"))
    page.say(f"The kubelet creates the pod's network namespace, [bold]{sandbox.pod.netns}[/].")
    page.say("Multus is called, and connects the pod to the cluster network first:")
    outcome = call_cluster_network(node, sandbox, "ADD")
    found = [f"{n.ifname} with {', '.join(n.addresses)}" for n in netdevs_in(sandbox.pod)]
    page.check(
        (outcome.succeeded, f"{CLUSTER_NETWORK['type']} ADD: the pod has {', '.join(found)}")
    )
    return sandbox


def orchestrate(page: Page, announced: Mapping[str, str]) -> tuple[Delegate, ...]:
    page.heading("3. Multus orchestration", "annotation → definition → device → configuration")
    page.say("Multus fetches the definition that the annotation names, which names the resource:")
    page.show(yaml(cluster.manifest("network.yaml")))
    delegates = delegates_of(POD, [NAD], allocation_from_environment(announced, [RESOURCE]))
    page.say("It takes an allocated device for each interface and adds it to the configuration:")
    added = ("deviceID", "pciBusID")
    plan = table("interface", "definition", *(f"added {key}" for key in added))
    for delegate in delegates:
        (plugin,) = delegate.network.plugins
        plan.add_row(delegate.ifname, NAD.id.name, *(str(plugin[key]) for key in added))
    page.show(plan)
    return delegates


def compare(page: Page, node: Node, before: Dump, lent: Dump) -> None:
    after = dump(node)
    found = differences(before, after)
    page.heading("The host before and after")
    page.show(node_tables.comparison_of_nics(node.nics, before, lent, after))
    page.say("Everything configured on the host's network, counted, attributes in brackets:")
    page.show(node_tables.comparison_of_everything(before, lent, after))
    if found:
        page.show(Text("\n".join(found), style="red"))
    page.check((not found, f"{len(after.subjects)} things compared, {len(found)} differences"))


def conclude(page: Page) -> int:
    if page.failures:
        page.say(f"[bold red]Something went wrong: {len(page.failures)} lines above have a ✗.[/]")
        return 1
    page.say("[bold green]The pod had its NICs, and the host is as it was.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
