"""Policy rules of a NIC are on the host as before, whoever has removed them meanwhile."""

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from amdcni.testing import Nic, Node, Pod, Section, dump
from tests.netns.command import start_amdcni
from tests.netns.runtime import (
    Runtime,
    by_both,
    damage,
    expect_silence,
    natively,
    plugin_folder,
)
from tests.netns.warm import Moment
from tests.patience import wait_until

MANAGER = Path(__file__).with_name("rule_manager.py")
OWN = "priority 1010 from 10.0.0.0 table 101"
"""The rule in AMD's guide, for an address with a prefix of 31 bits."""

OTHERS = (
    "priority 100 from 10.0.0.0/31 to 192.0.2.0/24 table 300",
    "priority 101 not from 10.0.0.0 fwmark 0x10/0xff table 101",
    "priority 102 iif eth1 tos 0x10 ipproto tcp sport 1000-2000 dport 443 table 101",
    "priority 103 oif eth1 uidrange 1000-2000 table 101",
    "priority 104 iif eth1 prohibit",
    "priority 105 from 10.0.0.0 blackhole",
    "priority 106 to 10.0.0.0 unreachable",
    "priority 107 iif eth1 goto 2000",
    "priority 108 iif eth1 table 102 suppress_prefixlength 0 suppress_ifgroup 7",
    "priority 109 iif eth1 table 101 realms 3/4 protocol 186",
    "priority 110 iif eth1 tun_id 77 table 103",
    "priority 111 iif eth1 l3mdev",
    "priority 112 iif eth1 oif lo table 70000",
    "priority 113 iif rail0 table 101",
    "-6 priority 1010 from fd00::8 table 101",
    "-6 priority 120 from fd00::/64 to 2001:db8::/32 iif eth1 table 101",
    "-6 priority 121 iif eth1 dport 53 ipproto udp suppress_prefixlength 0 table main",
    "-6 priority 122 oif rail0 table 101",
)


def put(node: Node, *rules: str) -> None:
    """Add rules in the words of `ip rule`, those of IPv6 after `-6`."""
    _change(node, "add", rules)


def remove(node: Node, *rules: str) -> None:
    """Remove them."""
    _change(node, "delete", rules)


def _change(node: Node, verb: str, rules: Iterable[str]) -> None:
    for rule in rules:
        family = "-6" if rule.startswith("-6 ") else "-4"
        node.ip(f"{family} rule {verb} {rule.removeprefix('-6 ')}")


def rules_on(node: Node, words: str) -> list[str]:
    """The rules of the host whose dump contains the words."""
    return [name for name in dump(node).names(Section.RULE) if words in name]


@contextmanager
def manager(node: Node, delay_s: float) -> Iterator[list[str]]:
    """A manager that has a rule only while it sees eth1, and sets it some time after it does.

    Gives what it has done, each with the answer.
    """
    answers: list[str] = []
    words = ["eth1", str(delay_s), *OWN.split()]
    with node.start([sys.executable, "-I", "-S", MANAGER, *words]) as process:

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                answers.append(line.decode().strip())

        listener = Thread(target=listen)
        listener.start()
        try:
            wait_until(lambda: rules_on(node, "1010"), "the manager sets its rule")
            yield answers
        finally:
            process.kill()
            listener.join()


@by_both
def test_rules_that_nobody_has_removed_are_left_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    put(node, OWN, "priority 102 iif eth1 table 101")
    before = dump(node)
    runtime.added(pod)
    assert len(rules_on(node, "table 101")) == 2
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_every_attribute_of_every_rule_comes_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("link property add dev eth1 altname rail0")
    put(node, OWN, *OTHERS)
    before = dump(node)
    assert runtime.add(pod).stderr == ""
    remove(node, OWN, *OTHERS)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_rules_about_others_are_not_put_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("address add 10.1.0.1/24 dev eth1")
    others = (
        "priority 200 from 10.1.0.2 table 101",
        "priority 201 from 10.1.0.0/16 table 101",
        "-6 priority 202 from fe80::/64 table 101",
        "priority 203 iif eth2 table 101",
        "priority 204 fwmark 7 table 101",
    )
    put(node, *others)
    runtime.added(pod)
    remove(node, *others)
    before = rules_on(node, "")
    expect_silence(runtime.delete(pod))
    assert rules_on(node, "") == before


@natively
def test_a_rule_that_names_the_nic_by_an_altname_sees_it_again(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("link property add dev eth1 altname rail0")
    put(node, "priority 113 iif rail0 table 101", "-6 priority 114 oif rail0 table 101")
    before = dump(node)
    runtime.added(pod)
    assert len(rules_on(node, "detached")) == 2
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
    assert rules_on(node, "detached") == []


@by_both
def test_the_owner_of_a_rule_sets_it_again_and_nobody_else_does(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    with manager(node, 0.3) as answers:
        before = dump(node)
        runtime.added(pod)
        wait_until(lambda: not rules_on(node, "1010"), "the manager removes its rule")
        expect_silence(runtime.delete(pod))
        assert damage(before, node) == []
    assert answers == ["add 0", "delete 0", "add 0"]


@pytest.mark.thorough
@natively
def test_a_rule_whose_owner_is_late_is_there_once(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    with manager(node, 4) as answers:
        before = dump(node)
        runtime.added(pod)
        wait_until(lambda: not rules_on(node, "1010"), "the manager removes its rule")
        expect_silence(runtime.delete(pod))
        assert damage(before, node) == []
        wait_until(lambda: len(answers) == 3, "the manager tries to set its rule")
        assert damage(before, node) == []
    assert answers[:2] == ["add 0", "delete 0"]
    assert answers[2] != "add 0"


@by_both
def test_a_failed_add_leaves_the_rules_as_they_were(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    path = plugin_folder(tmp_path / "bin", moody="[ $CNI_COMMAND = DEL ] || { sleep 0.2; exit 1; }")
    failing = runtime.having(ipam={"type": "moody"})
    with manager(node, 0.3) as answers:
        before = dump(node)
        assert not failing.add(pod, path=[path]).succeeded
        assert damage(before, node) == []
    assert answers == ["add 0", "delete 0", "add 0"]


@natively
def test_a_nic_whose_pod_has_died_gets_its_rules_again(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    with manager(node, 0.3) as answers:
        before = dump(node)
        runtime.added(pod)
        wait_until(lambda: not rules_on(node, "1010"), "the manager removes its rule")
        pod.delete()
        assert start_amdcni(node, "heal").wait().succeeded
        assert damage(before, node) == []
    assert answers == ["add 0", "delete 0", "add 0"]


@natively
@pytest.mark.parametrize("at", [("before", 6), ("after", 6), ("before", 7)], ids=str)
def test_a_del_killed_around_the_rules_gives_them_back_the_next_time(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, at: Moment
) -> None:
    node.ip("link property add dev eth1 altname rail0")
    put(node, OWN, "priority 113 iif rail0 table 101")
    before = dump(node)
    runtime.added(pod)
    remove(node, OWN)
    killed = runtime.start_to_die(at, "DEL", netns=pod).wait()
    assert killed.exit_status == -signal.SIGKILL
    assert bool(rules_on(node, "1010")) == (at != ("before", 6))
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []
