"""What is in a network namespace, for comparing it with a result, or with what was there before."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from amdcni.testing.dumps import Dump, differences
from amdcni.testing.namespaces import Namespace


@frozen
class Route:
    """Where a route leads, its next hop, if there is one, and the table that it is in."""

    dst: str
    gw: str | None
    table: str


def links_in(namespace: Namespace) -> dict[str, dict[str, Any]]:
    """Return what `ip` shows of each netdev, with its addresses."""
    return {link["ifname"]: link for link in namespace.ip_json("address show")}


def addresses_on(link: Mapping[str, Any]) -> set[str]:
    """Return the addresses of a netdev with their prefix lengths."""
    return {f"{entry['local']}/{entry['prefixlen']}" for entry in link.get("addr_info", [])}


def routes_in(namespace: Namespace) -> Iterator[Route]:
    """Yield the routes of all tables but that of the namespace's own addresses."""
    for family, default in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for entry in namespace.ip_json(f"{family} route show table all"):
            table = entry.get("table", "main")
            if table != "local":
                dst = default if entry["dst"] == "default" else entry["dst"]
                gw = entry.get("gateway") or entry.get("via", {}).get("host")
                yield Route(str(ipaddress.ip_network(dst)), gw, table)


def missing_among(present: Iterable[Route], listed: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Say which routes of a result are not present."""
    known = {(route.dst, gw) for route in present for gw in (route.gw, None)}
    for entry in listed:
        dst, gw = str(ipaddress.ip_network(entry["dst"])), entry.get("gw") or None
        if (dst, gw) not in known:
            yield f"there is no route to {dst}" + (f" via {gw}" if gw else "")


def changes(before: Dump, after: Dump) -> list[str]:
    """Return what has changed of the things that were there before; new ones do not count."""
    known = before.subjects.keys() & after.subjects.keys()
    return differences(before, Dump({subject: after.subjects[subject] for subject in known}))
