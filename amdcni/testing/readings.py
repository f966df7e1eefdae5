"""Reading the configuration of a network namespace: the oracle of "host before = host after".

It asks iproute2, /proc/sys, sysfs and the ioctl of ethtool, and nothing of the code that it judges.
It does not see what these do not show: packet filters, multicast memberships and, before iproute2
6.3, the protocol of an address.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from amdcni.testing.dumps import Dump, Expiry, Section, Subject, Value, differences
from amdcni.testing.namespaces import Namespace, ThrowawayError, output_of_script

_PAUSE_S = 0.01

_SCRIPT = r"""
set -e
ip -json -details -batch - <<END
link show
address show
neighbour show nud all
neighbour show proxy
nexthop show
token list
maddress show
END
for family in -4 -6; do
ip $family -json -details -batch - <<END
route show table all
rule show
END
done
"""

# Numbers of the kernel, the other end of the wire, and what other sections show.
_NOT_OF_A_NETDEV = {
    *("link_index", "link", "link_netnsid", "operstate"),
    *("addr_info", "ifname", "qdisc", "stats", "stats64"),
}
_NOT_OF_AN_ADDRESS = {
    *("family", "local", "prefixlen", "address", "tentative", "optimistic"),
    *("valid_life_time", "preferred_life_time"),
}
_STATE_FLAGS = ("LOWER_UP", "NO-CARRIER", "RUNNING", "DORMANT", "linkdown", "dead", "offload")
_ROUTE_NAME = ("from", "tos", "gateway", "via", "dev", "metric", "table")


_Entries = list[dict[str, Any]]
_Add = Callable[[Section, str, Mapping[str, Value]], None]


class Unsettled(ThrowawayError):
    """A network namespace kept changing by itself."""


def dump(namespace: Namespace, *, timeout_s: float = 60) -> Dump:
    """Return the configuration of a namespace, once it has stopped changing by itself.

    Raises:
        Unsettled: it did not within `timeout_s`, for instance as an address stays tentative.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found, pending = _read_what_moves(namespace)
        changes: list[str] = []
        if not pending:
            whole = _with_the_rest(found, namespace)
            time.sleep(_PAUSE_S)
            later, pending = _read_what_moves(namespace)
            if not pending and later == found:
                return whole
            changes = differences(found, later)
        if time.monotonic() > deadline:
            raise Unsettled(f"not at rest after {timeout_s} s: {'; '.join(pending or changes)}")
        time.sleep(_PAUSE_S)


@contextmanager
def unchanged(namespace: Namespace) -> Iterator[None]:
    """Require that the configuration of a namespace is the same after the `with` as before it.

    Raises:
        AssertionError: with a line for each difference.
        Unsettled: see `dump`.
    """
    before = dump(namespace)
    yield
    if lines := differences(before, dump(namespace)):
        raise AssertionError("\n".join(["the network configuration is not as it was:", *lines]))


def dump_traffic_control(namespace: Namespace) -> Dump:
    """Return the traffic control of a namespace alone, which never changes by itself."""
    subjects: dict[Subject, Mapping[str, Value]] = {}
    _read_traffic_control(namespace, _adder(subjects))
    return Dump(subjects)


def settle(namespace: Namespace, *, timeout_s: float = 60) -> None:
    """Wait until no address is tentative and nothing changes by itself.

    Raises:
        Unsettled: see `dump`.
    """
    dump(namespace, timeout_s=timeout_s)


def read(namespace: Namespace) -> tuple[Dump, list[str]]:
    """Return the configuration as it is now, and what the kernel is still at work on."""
    found, pending = _read_what_moves(namespace)
    return _with_the_rest(found, namespace), pending


_OTHERS: Final = (
    (Section.SYSCTL, "sysctls.main"),
    (Section.QUEUES, "queues.main"),
    (Section.ETHTOOL, "ethtool.main"),
)
"""What `ip` does not show, with the script that reads it."""


def _with_the_rest(found: Dump, namespace: Namespace) -> Dump:
    subjects: dict[Subject, Mapping[str, Value]] = dict(found.subjects)
    for section, script in _OTHERS:
        read = json.loads(output_of_script(namespace.entry, script))
        subjects |= {Subject(section, name): values for name, values in read.items()}
    return Dump(subjects)


def _read_what_moves(namespace: Namespace) -> tuple[Dump, list[str]]:
    """Return the same without what `ip` does not show, which never changes by itself."""
    now_s = time.monotonic()
    answers = _answers(namespace.output_of(["sh", "-c", _SCRIPT]))
    links, addressed, neighbours, proxies, nexthops, tokens, groups, *routing = answers
    subjects: dict[Subject, Mapping[str, Value]] = {}

    add = _adder(subjects)
    _read_links(links, tokens, add)
    _read_addresses(addressed, now_s, add)
    for family, default, (routes, rules) in zip(
        ("IPv4", "IPv6"), ("0.0.0.0/0", "::/0"), (routing[:2], routing[2:]), strict=True
    ):
        _read_routes(routes, default, now_s, add)
        for rule in rules:
            words = " ".join(f"{key} {value}" for key, value in _attributes(rule).items())
            add(Section.RULE, f"{family} {words}", {})
    for nexthop in nexthops:
        add(Section.NEXTHOP, str(nexthop["id"]), _attributes_of_nexthop(nexthop))
    _read_multicast(groups, add)
    _read_neighbours("", filter(_is_set, neighbours), add)
    _read_neighbours("proxy ", proxies, add)
    _read_traffic_control(namespace, add)
    return Dump(subjects), list(_pending(addressed))


def _adder(subjects: dict[Subject, Mapping[str, Value]]) -> _Add:
    def add(section: Section, name: str, attributes: Mapping[str, Value]) -> None:
        subject, count = Subject(section, name), 1
        while subject in subjects:
            count += 1
            subject = Subject(section, f"{name} ({count})")
        subjects[subject] = attributes

    return add


def _answers(text: str) -> list[_Entries]:
    """Return the JSON lists that `text` consists of."""
    decoder, answers = json.JSONDecoder(), []
    while text := text.lstrip():
        answer, end = decoder.raw_decode(text)
        answers.append([entry for entry in answer if entry])
        text = text[end:]
    return answers


def _read_links(links: _Entries, tokens: _Entries, add: _Add) -> None:
    token_of = {entry["ifname"]: entry["token"] for entry in tokens}
    for link in links:
        token = token_of.get(link["ifname"], "::")
        add(Section.NETDEV, link["ifname"], {**_attributes(link, _NOT_OF_A_NETDEV), "token": token})


def _read_addresses(links: _Entries, now_s: float, add: _Add) -> None:
    for link in links:
        order: dict[str, list[str]] = {}
        for entry in link["addr_info"]:
            peer = f" peer {entry['address']}" if "address" in entry else ""
            address = f"{entry['local']}{peer}/{entry['prefixlen']}"
            order.setdefault(entry["family"], []).append(address)
            lifetimes = {
                kind: _expiry(entry[f"{kind}_life_time"], now_s) for kind in ("valid", "preferred")
            }
            attributes = {**_attributes(entry, _NOT_OF_AN_ADDRESS), **lifetimes}
            add(Section.ADDRESS, f"{address} on {link['ifname']}", attributes)
        for family, addresses in order.items():
            # The kernel takes the first that fits as the source of what it sends.
            name = f"of {family} on {link['ifname']}"
            add(Section.ADDRESS_ORDER, name, {"order": tuple(addresses)})


def _read_routes(routes: _Entries, default: str, now_s: float, add: _Add) -> None:
    for route in routes:
        target = default if route["dst"] == "default" else route["dst"]
        kind = "" if route["type"] == "unicast" else f"{route['type']} "
        words = [f"{key} {_text(route[key])}" for key in _ROUTE_NAME if key in route]
        attributes = _attributes(route, {*_ROUTE_NAME, "dst", "type", "expires"})
        if "expires" in route:
            attributes["expires"] = _expiry(route["expires"], now_s)
        add(Section.ROUTE, " ".join([f"{kind}{target}", *words]), attributes)


def _attributes_of_nexthop(nexthop: dict[str, Any]) -> dict[str, Value]:
    """The timers of a resilient group are configuration, except the one that is running."""
    timers = nexthop.get("resilient_args", {})
    shown = [f"{key} {value}" for key, value in timers.items() if key != "unbalanced_time"]
    resilient: dict[str, Value] = {"resilient": " ".join(shown)} if shown else {}
    return {**_attributes(nexthop, {"id", "resilient_args"}), **resilient}


def _read_multicast(links: _Entries, add: _Add) -> None:
    """Those that somebody has set, not those of groups that a program or the kernel has joined."""
    for link in links:
        for entry in link["maddr"]:
            if "static" in entry.get("features", ""):
                add(Section.MULTICAST, f"{entry['link']} on {link['ifname']}", {})


def _is_set(neighbour: dict[str, Any]) -> bool:
    """Whether somebody has set the neighbour: the kernel itself makes noarp ones of groups."""
    state, group_bit = neighbour.get("state", []), int(neighbour.get("lladdr", "1")[:2], 16) & 1
    is_noarp = "NOARP" in state and not group_bit
    return "PERMANENT" in state or is_noarp or bool({"managed", "extern_learn"} & neighbour.keys())


def _read_neighbours(kind: str, neighbours: Iterable[dict[str, Any]], add: _Add) -> None:
    for entry in neighbours:
        name = f"{kind}{entry['dst']} on {entry.get('dev', 'any')}"
        # What the kernel looks up for a managed one comes and goes.
        found_out = {"lladdr", "state"} if "managed" in entry else set()
        add(Section.NEIGHBOUR, name, _attributes(entry, {"dst", "dev", *found_out}))


def _read_traffic_control(namespace: Namespace, add: _Add) -> None:
    qdiscs = _qdiscs_of(namespace)
    for qdisc in qdiscs:
        place = "root" if qdisc.get("root") else f"parent {qdisc.get('parent')}"
        name = f"{place} of {qdisc.get('dev')}"
        add(Section.QDISC, name, _attributes(qdisc, {"dev", "root", "parent", "refcnt"}))
    _read_traffic(namespace, qdiscs, add)


def _qdiscs_of(namespace: Namespace) -> _Entries:
    """Return the qdiscs; with some kinds, what `tc` prints is no JSON, and its words are taken."""
    shown = ["-details", "qdisc", "show"]
    try:
        (qdiscs,) = _answers(namespace.output_of(["tc", "-json", *shown]))
    except json.JSONDecodeError:
        return [_qdisc_in(line) for line in namespace.output_of(["tc", *shown]).splitlines()]
    return qdiscs


def _qdisc_in(line: str) -> dict[str, Any]:
    _, kind, handle, _, netdev, place, *words = line.split()
    at: dict[str, Any] = {"root": True} if place == "root" else {"parent": words.pop(0)}
    options = re.sub(r"(refcnt|direct_packets_stat) \d+", "", " ".join(words)).strip()
    return {"kind": kind, "handle": handle, "dev": netdev, **at, "options": options}


_PER_FLOW = ("cake", "fq_codel", "sfq")
"""Qdiscs that show their flows as classes, as long as these have packets."""

_COUNTED = re.compile(
    r"\b(index \d+ ref \d+ bind \d+|(not_)?in_hw( in_hw_count \d+)?|used_hw_stats \w+)"
)
"""What the words of `tc` about filters contain that is not configuration."""


def _read_traffic(namespace: Namespace, qdiscs: _Entries, add: _Add) -> None:
    """Add the classes, chains and filters in the qdiscs that somebody has set, in words of `tc`."""
    made = [qdisc for qdisc in qdiscs if qdisc["handle"] != "0:"]
    netdevs = list(dict.fromkeys(qdisc["dev"] for qdisc in made))
    places: dict[tuple[str, str], None] = {}
    for qdisc in made:
        for side in _SIDES.get(qdisc["kind"], [f"parent {qdisc['handle']}"]):
            places[qdisc["dev"], side] = None
    commands = [f"class show dev {netdev}" for netdev in netdevs]
    for netdev, classes in zip(netdevs, _shown(namespace, commands), strict=True):
        for line in classes:
            _, kind, handle, words = line.split(" ", 3)
            if kind in _PER_FLOW:
                continue
            add(Section.TRAFFIC_CLASS, f"{kind} {handle} of {netdev}", {"words": words.strip()})
            if not handle.endswith(":"):
                places[netdev, f"parent {handle}"] = None
    commands = [f"filter show dev {netdev} {place}" for netdev, place in places]
    commands += [command.replace("filter", "chain", 1) for command in commands]
    shown = _shown(namespace, commands)
    for (netdev, place), filters, chains in zip(
        places, shown[: len(places)], shown[len(places) :], strict=True
    ):
        where = f"at {place} of {netdev}"
        order: dict[str, list[str]] = {}
        for entry in filters:
            name, _, details = entry.partition("\n")
            order.setdefault(_chain_in(name), []).append(name)
            add(Section.FILTER, f"{where}: {name}", {"details": " ".join(details.split())})
        for entry in chains:
            number = _chain_in(entry)
            its_filters = tuple(order.get(number, ()))
            words = " ".join(entry.split())
            add(Section.CHAIN, f"{number} {where}", {"details": words, "filters": its_filters})


def _shown(namespace: Namespace, commands: list[str]) -> list[list[str]]:
    """Return what each command of `tc` lists: an entry has a first line, and others are indented.

    A command that lists the qdiscs of the loopback netdev ends what the one before it lists.
    """
    if not commands:
        return []
    batch = "".join(f"{command}\nqdisc show dev lo\n" for command in commands)
    text = namespace.output_of(["tc", "-details", "-batch", "-"], stdin=batch.encode())
    found: list[list[str]] = [[]]
    for entry in re.split(r"^(?=\w)", _COUNTED.sub("", text), flags=re.MULTILINE):
        if entry.startswith("qdisc "):
            found.append([])
        elif entry:
            found[-1].append(entry.strip())
    return found[:-1]


def _chain_in(entry: str) -> str:
    match = re.search(r"chain (\d+)", entry.removeprefix("chain "))
    return match[1] if match else ""


_SIDES = {"clsact": ["ingress", "egress"], "ingress": ["ingress"]}


def _expiry(lifetime_s: int, now_s: float) -> Value:
    match lifetime_s:
        case 4294967295:  # INFINITY_LIFE_TIME of linux/if_addr.h
            return "forever"
        case 0:
            return "over"
        case _:
            return Expiry(now_s + lifetime_s)


def _pending(links: _Entries) -> Iterator[str]:
    for link in links:
        # The kernel reports a carrier at once, but acts on it later (net/core/link_watch.c).
        if "LOWER_UP" in link["flags"] and link.get("operstate") in ("DOWN", "LOWERLAYERDOWN"):
            yield f"{link['ifname']} has a carrier and is not up yet"
        for entry in link["addr_info"]:
            if entry.get("tentative") and not entry.get("dadfailed"):
                yield f"{entry['local']} on {link['ifname']} is tentative"


def _attributes(entry: dict[str, Any], without: Collection[str] = ()) -> dict[str, Value]:
    texts = {key: _text(value) for key, value in entry.items() if key not in without}
    return {key: text for key, text in texts.items() if text}


def _text(value: Any) -> str:
    match _configuration(value):
        case str(text):
            return text
        case [str(), *_] as words:
            return " ".join(map(str, words))
        case list() | dict() as empty if not empty:
            return ""
        case plain:
            return json.dumps(plain, sort_keys=True)


def _configuration(value: Any) -> Any:
    """Return a JSON value without flags of state, running timers and counted packets."""
    match value:
        case dict():
            return {
                key: _configuration(entry)
                for key, entry in value.items()
                if not key.endswith(("_timer", "packets_stat"))
            }
        case list():
            return [_configuration(entry) for entry in value if entry not in _STATE_FLAGS]
        case _:
            return value
