"""The node's policy: which NICs are lent, how they may be named, and what a damaged one does."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import AmdcniError, InvalidConfiguration, NotAvailable, PolicyDenies
from amdcni.core.formats.policies import parse_policy
from amdcni.core.names import FilePath, PciAddress, PluginName
from amdcni.core.policy import (
    POLICY_PATH,
    Conditions,
    Lending,
    Naming,
    Policy,
    Rule,
    Traits,
    Verdict,
    denial_of,
    fits,
    require_ipam,
    require_naming,
)
from amdcni.core.request import DeviceSelector
from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, B, add, delete

ALLOW, DENY = Verdict.ALLOW, Verdict.DENY


def lending(*rules: Rule, otherwise: Verdict = ALLOW) -> Policy:
    return Policy(lending=Lending(rules, otherwise))


def rule(verdict: Verdict, **conditions: str) -> Rule:
    return Rule(verdict, Conditions(**{name: (text,) for name, text in conditions.items()}))


# ---- which rule decides

patterns = st.sampled_from(["0x1dd8", "0x1022", "*", "0x1*", "[!0]*"])
conditions = st.builds(
    Conditions,
    vendor=st.lists(patterns, max_size=2).map(tuple),
    ifname=st.lists(st.sampled_from(["eth*", "ens1", "?th1"]), max_size=2).map(tuple),
)
rules = st.builds(Rule, st.sampled_from(Verdict), conditions)
traits = st.builds(
    Traits,
    vendor=st.none() | st.sampled_from(["0x1dd8", "0x1022", "0x8086"]),
    ifname=st.none() | st.sampled_from(["eth1", "ens1", "mgmt0"]),
    altnames=st.lists(st.sampled_from(["eth1", "ens1", "x"]), max_size=2).map(tuple),
)


@given(st.lists(rules, max_size=5), st.sampled_from(Verdict), traits)
def test_the_first_rule_that_fits_decides(
    given_rules: list[Rule], otherwise: Verdict, own: Traits
) -> None:
    verdicts = [each.verdict for each in given_rules if fits(each, own)]
    denied = (verdicts or [otherwise])[0] is DENY
    policy = lending(*given_rules, otherwise=otherwise)
    assert (denial_of(policy, [own]) is not None) is denied


@given(st.lists(rules, max_size=5), st.sampled_from(Verdict), traits, traits)
def test_what_rests_on_a_denied_netdev_is_denied_and_nothing_else_changes(
    given_rules: list[Rule], otherwise: Verdict, own: Traits, below: Traits
) -> None:
    policy = lending(*given_rules, otherwise=otherwise)
    by_rule = [each.verdict for each in given_rules if fits(each, below)][:1] == [DENY]
    denied = denial_of(policy, [own]) is not None or by_rule
    assert (denial_of(policy, [own, below]) is not None) is denied


def test_the_denial_names_what_a_netdev_rests_on() -> None:
    policy = lending(rule(ALLOW, ifname="ens2"), rule(DENY, ifname="ens*"))
    vlan, denied, allowed = Traits(ifname="vlan1"), Traits(ifname="ens1"), Traits(ifname="ens2")
    said = denial_of(policy, [vlan, denied])
    assert "it rests on ens1, and rule 2 of" in str(said)
    assert denial_of(policy, [vlan, allowed]) is None
    assert denial_of(policy, [vlan]) is None


def test_a_rule_that_denies_a_name_sees_alternative_names_and_one_that_allows_does_not() -> None:
    own = Traits(ifname="eth0", altnames=("eno1",))
    assert denial_of(lending(rule(DENY, ifname="eno*")), [own]) is not None
    allowing = lending(rule(ALLOW, ifname="eno*"), otherwise=DENY)
    assert denial_of(allowing, [own]) is not None
    assert denial_of(allowing, [Traits(ifname="eno1")]) is None


@pytest.mark.parametrize(
    ("name", "pattern"), [("vendor", "0x1DD8"), ("device", "0xAB*"), ("address", "0000:C1:*")]
)
def test_capital_letters_in_what_the_kernel_numbers_mean_the_small_ones(
    name: str, pattern: str
) -> None:
    own = Traits(address="0000:c1:00.0", vendor="0x1dd8", device="0xabcd")
    assert fits(rule(DENY, **{name: pattern}), own)


def test_what_a_netdev_lacks_fits_no_pattern() -> None:
    assert not fits(rule(DENY, vendor="*"), Traits(ifname="eth1"))


def test_the_denial_names_the_rule_and_its_reason() -> None:
    why = Rule(DENY, Conditions(driver=("ionic", "igb")), "management")
    said = denial_of(lending(rule(DENY, ifname="x"), why), [Traits(driver="igb")])
    assert str(said) == "rule 2 of /etc/amdcni/policy.json denies driver ionic or igb (management)"
    several = Rule(DENY, Conditions(driver=("igb",), ifname=("ens*", "eno*")))
    said = denial_of(lending(several), [Traits(driver="igb", ifname="eno1")])
    assert str(said) == ("rule 1 of /etc/amdcni/policy.json denies driver igb, ifname ens* or eno*")


@given(traits)
def test_without_a_policy_everything_may_be_lent_and_with_a_damaged_one_nothing(
    own: Traits,
) -> None:
    assert denial_of(Policy(), [own]) is None
    assert "not JSON" in str(denial_of(Policy(fault="not JSON"), [own]))


# ---- as JSON

WHOLE: dict[str, Any] = {
    "folders": ["/srv/amdcni"],
    "naming": "allocated",
    "ipam": ["static", "host-local"],
    "lending": {
        "rules": [
            {"deny": {"ifname": ["eno*", "mgmt*"]}, "why": "management"},
            {"allow": {"vendor": "0x1dd8", "driver": "ionic"}},
        ],
        "otherwise": "deny",
    },
}


def parsed(value: object) -> Policy:
    return parse_policy(json.dumps(value).encode())


def test_a_policy_is_read_as_it_is_written() -> None:
    rules = (
        Rule(DENY, Conditions(ifname=("eno*", "mgmt*")), "management"),
        Rule(ALLOW, Conditions(vendor=("0x1dd8",), driver=("ionic",))),
    )
    folders = (FilePath("/srv/amdcni"),)
    assert parsed(WHOLE) == Policy(
        folders,
        Naming.ALLOCATED,
        Lending(rules, DENY),
        (PluginName("static"), PluginName("host-local")),
    )
    assert parsed({}) == Policy()


WRONG: list[tuple[object, str]] = [
    ([], " is a list ([]), not a JSON object"),
    (
        {"folder": []},
        ": $ has the unknown key 'folder'; the keys are folders, naming, lending, ipam",
    ),
    ({"folders": ["srv"]}, " is wrong: $.folders[0]: 'srv' is not an absolute path"),
    ({"folders": ["/srv/../etc"]}, ": $.folders: '/srv/../etc' is no plain folder"),
    ({"folders": ["/../srv"]}, ": $.folders: '/../srv' is no plain folder"),
    ({"folders": ["/srv/./a"]}, ": $.folders: '/srv/./a' is no plain folder"),
    ({"folders": ["/srv//a"]}, ": $.folders: '/srv//a' is no plain folder"),
    ({"folders": ["/srv/"]}, ": $.folders: '/srv/' is no plain folder"),
    ({"folders": ["/"]}, ": $.folders: '/' is no plain folder"),
    ({"naming": "some"}, " is wrong: $.naming: 'some' is none of any, allocated"),
    ({"ipam": "static"}, ' is wrong: $.ipam is a string ("static"), not a list'),
    (
        {"ipam": ["../static"]},
        " is wrong: $.ipam[0]: '../static' is not a plugin name: a plain file name without '/'",
    ),
    ({"lending": {"rules": []}}, " is wrong: $.lending.otherwise is missing"),
    (
        {"lending": {"otherwise": "maybe"}},
        " is wrong: $.lending.otherwise: 'maybe' is none of allow, deny",
    ),
    (
        {"lending": {"otherwise": "deny", "rule": []}},
        ": $.lending has the unknown key 'rule'; the keys are otherwise, rules",
    ),
    (
        {"lending": {"otherwise": "deny", "rules": ["allow"]}},
        ' is wrong: $.lending.rules[0] is a string ("allow"), not an object',
    ),
]


@pytest.mark.parametrize(("value", "words"), WRONG, ids=lambda value: json.dumps(value))
def test_what_is_not_wholly_understood_is_refused(value: object, words: str) -> None:
    with pytest.raises(AmdcniError) as refusal:
        parsed(value)
    assert refusal.value.message == f"the policy{words}"


NEITHER = ' has to have either "allow" or "deny", and may have a text "why"'
NO_PATTERN = "not a pattern or a list of patterns"
WRONG_RULES: list[tuple[dict[str, Any], str]] = [
    ({}, NEITHER),
    ({"allow": {}, "deny": {}}, NEITHER),
    ({"deny": {"vendor": "0x1dd8"}, "why": 1}, NEITHER),
    ({"deny": {"vendor": "0x1dd8"}, "wy": "x"}, NEITHER),
    ({"allow": {}}, ".allow is an object ({}), not an object with a condition"),
    ({"allow": 7}, ".allow is a number (7), not an object with a condition"),
    (
        {"allow": {"vendors": "x"}},
        ".allow has the unknown key 'vendors'; "
        "the keys are address, driver, vendor, device, ifname",
    ),
    ({"allow": {"vendor": []}}, f".allow.vendor is a list ([]), {NO_PATTERN}"),
    ({"allow": {"vendor": ""}}, f'.allow.vendor is a string (""), {NO_PATTERN}'),
    ({"deny": {"vendor": [1]}}, f".deny.vendor is a list ([1]), {NO_PATTERN}"),
    ({"deny": {"vendor": "1dd8"}}, ".deny.vendor: '1dd8' fits nothing; write it like '0x1dd8'"),
    ({"deny": {"device": "4098"}}, ".deny.device: '4098' fits nothing; write it like '0x1dd8'"),
    (
        {"deny": {"address": "c1:00.0"}},
        ".deny.address: 'c1:00.0' fits nothing; write it like '0000:c1:00.0'",
    ),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG_RULES, ids=lambda value: json.dumps(value))
def test_a_rule_that_is_not_wholly_understood_is_refused_with_its_place(
    wrong: dict[str, Any], words: str
) -> None:
    rules = [{"allow": {"ifname": "*"}}, wrong]
    with pytest.raises(InvalidConfiguration) as refusal:
        parsed({"lending": {"otherwise": "deny", "rules": rules}})
    assert refusal.value.message == f"the policy: $.lending.rules[1]{words}"


def test_a_key_that_is_there_twice_is_refused() -> None:
    text = '{"naming": "any", "lending": {"otherwise": "deny", "otherwise": "allow"}}'
    with pytest.raises(AmdcniError, match="the key 'otherwise' is there twice"):
        parse_policy(text.encode())
    text = '{"folders": [], "naming": "any", "ipam": [], "naming": "allocated"}'
    with pytest.raises(AmdcniError, match="the key 'naming' is there twice"):
        parse_policy(text.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_policy_or_an_error(data: bytes) -> None:
    with suppress(AmdcniError):
        assert isinstance(parse_policy(data), Policy)


# ---- what a refusal says


@pytest.mark.parametrize(
    ("allowed", "named"), [((), "none"), (("static",), "static"), (("a", "b"), "a, b")]
)
def test_the_refusal_of_an_ipam_plugin_names_those_that_are_allowed(
    allowed: tuple[PluginName, ...], named: str
) -> None:
    with pytest.raises(PolicyDenies) as refusal:
        require_ipam(Policy(ipam=allowed), PluginName("host-local"))
    assert refusal.value.message == (
        f'the IPAM plugin host-local may not be used: "ipam" in {POLICY_PATH} allows {named}'
    )


def test_the_refusal_of_a_device_names_the_pod_that_it_is_not_allocated_to() -> None:
    policy, selector = Policy(naming=Naming.ALLOCATED), DeviceSelector(PciAddress.parse(A))
    require_naming(policy, selector, (A, B), "1-2-3")
    with pytest.raises(PolicyDenies) as refusal:
        require_naming(policy, selector, (B,), "1-2-3")
    assert refusal.value.message == (
        f"{A} is not allocated to the pod with the UID 1-2-3: "
        f'{POLICY_PATH} says "naming": "allocated"'
    )


# ---- what calls do


def test_a_denied_add_changes_nothing_and_names_the_rule(machine: Machine, keeper: Keeper) -> None:
    machine.policy = lending(rule(DENY, ifname="ens1"))
    before = machine.picture()
    with pytest.raises(PolicyDenies, match=r"ens1 is not lent: rule 1 .*denies ifname ens1"):
        add(machine)
    assert machine.picture() == before
    add(machine, B, pod=2)


def test_a_policy_takes_nothing_from_a_pod_and_keeps_nothing_from_the_host(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    first = add(machine)
    machine.policy = Policy(fault="not JSON")
    assert add(machine) == first
    with pytest.raises(NotAvailable, match="not JSON"):
        ask(machine, Verb.STATUS, config_for(), netns=None)
    assert nic.space is machine.kernel.paths[POD1]
    delete(machine)
    assert keeper.is_whole()
    with pytest.raises(PolicyDenies, match="not JSON"):
        add(machine)


def test_a_device_without_a_netdev_is_judged_by_what_it_is(machine: Machine) -> None:
    machine.kernel.plug("0000:05:00.0", driver="vfio-pci")
    machine.policy = lending(rule(DENY, driver="vfio*"))
    with pytest.raises(PolicyDenies, match=r"0000:05:00\.0 is not lent: .* driver vfio"):
        add(machine, "0000:05:00.0")


@pytest.mark.parametrize("allowed", [(), ("static",)])
def test_only_ipam_plugins_that_the_policy_lists_are_called(
    machine: Machine, keeper: Keeper, allowed: tuple[PluginName, ...]
) -> None:
    machine.policy = Policy(ipam=allowed)
    with pytest.raises(PolicyDenies, match=r"host-local may not be used: .* allows (none|static)$"):
        add(machine, ipam=HOST_LOCAL)
    assert machine.plugins.executed == []
    add(machine)


@pytest.mark.parametrize("plugin", ["multus", "bridge", "tuning"])
def test_a_plugin_that_is_no_ipam_plugin_is_refused_unless_the_policy_lists_it(
    machine: Machine, nic: Link, plugin: str
) -> None:
    with pytest.raises(PolicyDenies, match=f"^{plugin} is no IPAM plugin"):
        add(machine, ipam={"type": plugin})
    assert machine.plugins.executed == []
    require_ipam(Policy(ipam=(PluginName(plugin),)), PluginName(plugin))
    require_ipam(Policy(), PluginName("some-ipam"))


def test_no_other_verb_calls_a_plugin_that_the_policy_does_not_list(
    machine: Machine, nic: Link
) -> None:
    machine.policy = Policy(ipam=())
    with pytest.raises(NotAvailable, match="host-local may not be used"):
        ask(machine, Verb.STATUS, config_for(ipam=HOST_LOCAL), netns=None)
    ask(machine, Verb.GC, config_for(ipam=HOST_LOCAL, **{"cni.dev/valid-attachments": []}))
    add(machine)
    machine.disk.files.clear()
    machine.disk.markers.clear()
    delete(machine, ipam=HOST_LOCAL)
    assert "host-local" not in [each.plugin for each in machine.plugins.executed]
    assert nic.space is machine.kernel.host
    machine.kernel.violations.clear()


UID = "uid-1"


def add_as(machine: Machine, uid: str | None = UID, **config: Any) -> None:
    device = None if config else A
    args = "" if uid is None else f"IgnoreUnknown=true;K8S_POD_UID={uid}"
    ask(machine, Verb.ADD, config_for(device, **config), args=args, netns=POD1)


@pytest.mark.parametrize(
    ("uid", "allocations", "config", "word"),
    [
        (UID, {UID: frozenset({A})}, {"device": "ens1"}, "by device"),
        (UID, {UID: frozenset({A})}, {"hwaddr": "02:00:00:00:00:01"}, "by hwaddr"),
        (UID, {UID: frozenset({A})}, {"kernelpath": "/sys/devices/x"}, "by kernelpath"),
        (UID, {}, {"device": "ens1", "hwaddr": "02:00:00:00:00:01"}, "by device and hwaddr: "),
        (UID, {UID: frozenset({B})}, {}, "not allocated"),
        ("other", {UID: frozenset({A})}, {}, "not allocated"),
        (None, {UID: frozenset({A})}, {}, "K8S_POD_UID"),
        (UID, None, {}, "checkpoint"),
    ],
)
def test_only_what_the_kubelet_has_allocated_is_lent_if_the_policy_says_so(
    machine: Machine,
    keeper: Keeper,
    uid: str | None,
    allocations: dict[str, frozenset[str]] | None,
    config: dict[str, Any],
    word: str,
) -> None:
    machine.policy, machine.allocations = Policy(naming=Naming.ALLOCATED), allocations
    with pytest.raises(PolicyDenies, match=word):
        add_as(machine, uid, **config)
    machine.allocations = {UID: frozenset({A})}
    add_as(machine)
