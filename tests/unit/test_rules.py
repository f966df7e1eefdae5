"""Which policy rules are kept with a netdev, and that they are there again when it is back."""

import ipaddress
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import rules
from amdcni.core.errors import KernelRefused, RestoreIncomplete
from amdcni.core.host import Address, Netdev
from amdcni.core.names import IfName
from amdcni.core.rules import AddRule, RenewRule, Rule, Rules
from amdcni.core.spec import Verb
from amdcni.core.unsaved import Kind, Unsaved
from amdcni.effects.messages.rules import add as added
from amdcni.effects.messages.rules import drop, rule_of
from amdcni.effects.rtnetlink import Reply
from amdcni.testing import strategies as some
from amdcni.verbs import healing
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import A, B, add, delete, heal, pod_of, process

ADDRESSES = tuple(
    Address(ipaddress.ip_interface(interface), peer)
    for interface, peer in (
        ("192.0.2.5/31", None),
        ("10.0.0.0/32", ipaddress.ip_address("10.0.0.9")),
        ("fd00::8/64", None),
        ("fe80::8/64", None),
    )
)
NIC = Netdev(7, IfName("ens1"), altnames=("rail0",), addresses=ADDRESSES)
ABOUT_IT: dict[str, dict[str, Any]] = {
    "its name": {"iif": "ens1"},
    "its name for what is sent": {"oif": "ens1", "iif": "lo"},
    "its altname": {"iif": "rail0"},
    "an address": {"source": "192.0.2.5/32"},
    "an address as the destination": {"destination": "192.0.2.5/32", "source": "0.0.0.0/0"},
    "its network": {"source": "192.0.2.4/31"},
    "an address with a peer": {"source": "10.0.0.0/32"},
    "its peer": {"destination": "10.0.0.9/32"},
    "its IPv6 network": {"source": "fd00::/64"},
    "its link-local address": {"source": "fe80::8/128"},
}
NOT_ABOUT_IT: dict[str, dict[str, Any]] = {
    "all": {},
    "another name": {"iif": "ens10", "oif": "rail"},
    "another address of its network": {"source": "fd00::9/128"},
    "a wider network": {"source": "192.0.2.0/24"},
    "a narrower network": {"source": "fd00::/65"},
    "the network of all link-local addresses": {"source": "fe80::/64"},
    "nobody": {"values": {"fwmark": 7}},
}


def rule(**attributes: Any) -> Rule:
    """A rule with these attributes, networks as text."""
    for name in {"source", "destination"} & attributes.keys():
        attributes[name] = ipaddress.ip_network(attributes[name])
    return Rule(**{"family": 4, "priority": 1010, "table": 101, **attributes})


# ---- what is kept


@pytest.mark.parametrize("attributes", ABOUT_IT.values(), ids=ABOUT_IT)
def test_a_rule_that_names_the_netdev_or_its_address_is_kept(attributes: dict[str, Any]) -> None:
    assert rules.keep(NIC, [rule(**attributes)]).rules == (rule(**attributes),)


@pytest.mark.parametrize("attributes", NOT_ABOUT_IT.values(), ids=NOT_ABOUT_IT)
def test_a_rule_about_others_is_not_kept(attributes: dict[str, Any]) -> None:
    assert rules.keep(NIC, [rule(**attributes)]).rules == ()


@given(st.lists(some.policy_rules, max_size=4).map(lambda drawn: drawn + drawn))
def test_a_rule_is_kept_once_and_in_its_place(seen: list[Rule]) -> None:
    kept = rules.keep(NIC, seen).rules
    assert [kept.count(each) for each in kept] == [1] * len(kept)
    assert [each for each in seen[: len(seen) // 2] if each in kept] == [
        each for each in seen[: len(seen) // 2] if rules.keep(NIC, [each]).rules
    ]


@given(some.netdevs, some.policy_rules)
def test_a_rule_that_cannot_be_set_again_is_named_instead(netdev: Netdev, seen: Rule) -> None:
    strange = attrs.evolve(seen, iif=netdev.ifname, strange=(31, 40))
    assert rules.keep(netdev, [strange]).rules == ()
    words = f"{strange.describe()} (with the attribute 31, 40)"
    assert list(rules.unsaved(netdev, [strange, seen])) == [Unsaved(Kind.RULE, words)]


# ---- what is due


@given(st.lists(some.policy_rules, max_size=3), st.lists(some.policy_rules, max_size=3))
def test_what_is_missing_is_due_and_nothing_else(kept: list[Rule], others: list[Rule]) -> None:
    everything = Rules(rules=tuple(kept))
    assert rules.due(everything, {"ens1"}, [*others, *kept]) == ()
    lacking = rules.due(everything, {"ens1"}, others)
    assert [change.rule for change in lacking] == [each for each in kept if each not in others]
    assert all(isinstance(change, AddRule) and change.is_missing for change in lacking)


@pytest.mark.parametrize(("names", "flag"), [({"iif": "rail0"}, 8), ({"oif": "rail0"}, 16)])
def test_a_rule_that_does_not_see_the_netdev_any_more_is_renewed(
    names: dict[str, str], flag: int
) -> None:
    kept = rule(**names)
    blind = attrs.evolve(kept, detached=flag)
    others_blind = attrs.evolve(kept, detached=24 - flag)

    def due(*seen: Rule) -> tuple[rules.RuleChange, ...]:
        return rules.due(Rules(rules=(kept,)), {"ens1", "rail0"}, seen)

    assert due(blind) == (RenewRule(kept),)
    assert due(blind, blind) == (RenewRule(kept, 2),)
    assert due(blind, kept) == (RenewRule(kept, another=True),)
    assert due(kept) == due(others_blind) == ()
    assert not any(change.is_missing for change in due(blind))
    # It has not seen it before either, or the name is that of another netdev.
    assert rules.due(Rules(rules=(blind,)), {"rail0"}, [blind]) == ()
    assert rules.due(Rules(rules=(kept,)), {"ens1"}, [blind]) == ()


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (rule(source="10.0.0.0/32"), "1010: from 10.0.0.0/32 lookup 101"),
        (
            rule(inverted=True, destination="10.0.0.0/8", tos=16, iif="a", oif="b", action=8),
            "1010: not from all to 10.0.0.0/8 tos 16 iif a oif b prohibit",
        ),
        (
            rule(values={"fwmark": 7, "flow": 9, "sport_range": "1-2", "goto": 5}, action=2),
            "1010: from all fwmark 7 realms 9 sport_range 1-2 goto 5",
        ),
        (rule(action=5), "1010: from all action 5"),
    ],
)
def test_a_rule_reads_word_for_word_as_expected(seen: Rule, words: str) -> None:
    assert seen.describe() == words
    assert AddRule(seen).describe() == f"policy rule {words} is missing"
    assert RenewRule(seen).describe() == f"policy rule {words} does not see the netdev"


# ---- messages


named_rules = some.policy_rules.filter(
    lambda rule: any((rule.source, rule.destination, rule.iif, rule.oif))
)


@given(named_rules)
def test_a_rule_is_sent_as_it_was_read(sent: Rule) -> None:
    for request in (added(sent), added(sent, once_more=True), drop(sent)):
        assert rule_of(Reply(request.kind, request.flags, request.body)) == sent


@given(named_rules, st.integers(31, 60))
def test_an_unknown_attribute_is_noted(sent: Rule, number: int) -> None:
    read = rule_of(Reply(0, 0, added(sent).body + _attribute(number)))
    assert read == attrs.evolve(sent, strange=(number,))


def _attribute(number: int) -> bytes:
    return (8).to_bytes(2, "little") + number.to_bytes(2, "little") + bytes(4)


@given(some.policy_rules)
def test_a_rule_of_another_family_or_about_nobody_is_none_of_ours(sent: Rule) -> None:
    multicast = bytes([128]) + added(sent).body[1:]
    assert rule_of(Reply(0, 0, multicast)) is None
    about_nobody = attrs.evolve(sent, source=None, destination=None, iif=None, oif=None)
    assert rule_of(Reply(0, 0, added(about_nobody).body)) is None


@pytest.mark.parametrize("values", [{"new": 1}, {"fwmark": "x"}, {"sport_range": 5}, {"dscp": 999}])
def test_what_no_message_can_say_is_refused(values: dict[str, int | str]) -> None:
    (name,) = values
    with pytest.raises(KernelRefused, match=name):
        added(rule(values=values))


# ---- what becomes of them


def pauses(machine: Machine) -> int:
    return machine.kernel.moments.count("pause")


@pytest.mark.parametrize("works", [True, False])
def test_the_owner_of_a_missing_rule_comes_first(
    machine: Machine, keeper: Keeper, works: bool
) -> None:
    machine.kernel.managers_work = works
    add(machine)
    machine.kernel.moments.clear()
    delete(machine)
    assert keeper.is_whole()
    assert pauses(machine) == (1 if works else 40)


def test_only_the_device_is_locked_during_the_wait(machine: Machine, keeper: Keeper) -> None:
    held: set[str] = set()

    def note(what: str) -> None:
        if what == "pause":
            held.update(machine.locks)

    machine.kernel.interrupts.append(note)
    add(machine)
    delete(machine)
    assert keeper.is_whole()
    assert held == {A}


def test_nobody_waits_if_nothing_is_missing(machine: Machine, nic: Link, keeper: Keeper) -> None:
    nic.managed.clear()
    add(machine)
    machine.kernel.moments.clear()
    delete(machine)
    assert keeper.is_whole()
    assert pauses(machine) == 0


def test_a_rule_that_is_refused_keeps_the_record_and_is_tried_again(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    (owned,) = nic.managed
    machine.kernel.managers_work = False
    machine.kernel.host.refused.add(owned.describe())
    add(machine)
    with pytest.raises(RestoreIncomplete, match=r"policy rule .* is missing"):
        delete(machine)
    assert ("not-restored", "rules") in [
        (event, facts.get("aspect")) for event, facts in process(machine).reported
    ]
    assert A in machine.disk.files
    machine.kernel.host.refused.clear()
    delete(machine)
    assert keeper.is_whole()
    assert machine.disk.files == {}


def gc(machine: Machine) -> None:
    listed: dict[str, object] = {"cni.dev/valid-attachments": []}
    ask(machine, Verb.GC, config_for(**listed), netns=None)


@pytest.mark.parametrize("returns", [gc, heal])
def test_no_netdev_waits_for_the_rules_of_another(
    machine: Machine, keeper: Keeper, other: Keeper, returns: Callable[[Machine], object]
) -> None:
    machine.kernel.managers_work = False
    add(machine, A)
    add(machine, B, pod=2)
    for number in (1, 2):
        machine.kernel.destroy_netns(pod_of(machine, number))
    machine.kernel.interrupts.append(lambda what: other_is_home(what, other))
    returns(machine)
    assert keeper.is_whole()
    assert machine.disk.files == {}
    assert "pause" in machine.kernel.moments


def other_is_home(what: str, other: Keeper) -> None:
    if what == "pause":
        assert other.is_whole()


def test_a_netdev_that_is_home_but_for_its_rules_is_finished_by_a_call_about_another(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    machine.kernel.destroy_netns(pod_of(machine))
    node = FakeNode(machine, kill_before="pause")
    with pytest.raises(Killed), machine.running(node):
        healing.heal(node)
    machine.locks.clear()
    assert not keeper.is_whole()
    delete(machine, B, pod=2)
    assert keeper.is_whole()
    assert machine.disk.files == {}
