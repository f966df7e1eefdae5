"""Tables of what a node, its NICs and a pod look like, read from the kernel."""

from collections.abc import Iterator, Sequence

from attrs import frozen
from rich.table import Table
from rich.text import Text

from amdcni.testing import Dump, Namespace, Nic, Node, Section, Subject, differences
from examples.page import table


@frozen
class Netdev:
    """A netdev as `ip address` shows it; `addresses` are those of global scope."""

    ifname: str
    mac: str
    state: str
    alias: str
    addresses: tuple[str, ...]


def netdevs_in(namespace: Namespace) -> list[Netdev]:
    """The netdevs of a namespace, except its loopback."""
    return [
        Netdev(
            ifname=link["ifname"],
            mac=link["address"],
            state="UP" if "UP" in link["flags"] else "DOWN",
            alias=link.get("ifalias", ""),
            addresses=tuple(
                f"{entry['local']}/{entry['prefixlen']}"
                for entry in link["addr_info"]
                if entry["scope"] == "global"
            ),
        )
        for link in namespace.ip_json("address show")
        if "LOOPBACK" not in link["flags"]
    ]


def find_netdev(namespace: Namespace, mac: str) -> Netdev | None:
    """The netdev with that hardware address: a name may change, this does not."""
    return next((netdev for netdev in netdevs_in(namespace) if netdev.mac == mac), None)


def nics(node: Node) -> Table:
    """The NICs of the node, and what is at the other end of their wires."""
    shown = table("PCI address", "netdev", "alias", "state", "addresses", "peer")
    for nic in node.nics:
        netdev = find_netdev(node, nic.mac)
        if netdev is not None:
            addresses, peers = "\n".join(netdev.addresses), "\n".join(nic.peers)
            known = (nic.bdf, netdev.ifname, netdev.alias, netdev.state)
            shown.add_row(*known, addresses, peers)
    return shown


def comparison_of_nics(nics: Sequence[Nic], before: Dump, lent: Dump, after: Dump) -> Table:
    """What the host has of each NIC, at three times."""
    shown = table("on the host", "before", "lent", "after", "")
    for nic in nics:
        was, meanwhile, now = (dict(_facts_of(nic, dump)) for dump in (before, lent, after))
        for name in was | now:
            there = meanwhile.get(name, "-")
            cells = (was.get(name, ""), there, now.get(name, ""))
            shown.add_row(f"{nic.ifname} {name}", *cells, _verdict(was.get(name) == now.get(name)))
        shown.add_section()
    return shown


def _facts_of(nic: Nic, dump: Dump) -> Iterator[tuple[str, str]]:
    netdev = dump.subjects.get(Subject(Section.NETDEV, nic.ifname))
    if netdev is None:
        return
    yield "state", "UP" if "UP" in str(netdev["flags"]).split() else "DOWN"
    yield "alias", str(netdev.get("ifalias", ""))
    yield "MTU", str(netdev["mtu"])
    yield "MAC", str(netdev["address"])
    suffix = f" on {nic.ifname}"
    found = [name for name in dump.names(Section.ADDRESS) if name.endswith(suffix)]
    yield "addresses", "\n".join(name.removesuffix(suffix) for name in found)


def comparison_of_everything(before: Dump, lent: Dump, after: Dump) -> Table:
    """How much configuration of each kind the host has, and whether any of it differs."""
    shown = table("kind", "before", "lent", "after", "")
    for section in Section:
        amounts = [_amount(dump, section) for dump in (before, lent, after)]
        changed = differences(before, after, sections=[section])
        if before.names(section) or changed:
            shown.add_row(str(section), *amounts, _verdict(not changed))
    return shown


def _amount(dump: Dump, section: Section) -> str:
    attributes = [values for subject, values in dump.subjects.items() if subject.section is section]
    return f"{len(attributes):>3} ({sum(map(len, attributes))})"


def _verdict(equal: bool) -> Text:
    return Text("equal", style="green") if equal else Text("DIFFERENT", style="bold red")
