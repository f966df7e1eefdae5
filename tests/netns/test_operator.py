"""The operator's questions: where is my NIC, is it healthy, and can I have it back."""

import json
import os
import pty
import signal
from pathlib import Path
from typing import Any

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.command import AMDCNI, run_amdcni
from tests.netns.runtime import (
    BDF,
    STATE,
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    ifnames,
    record_of,
)
from tests.patience import wait_until


def ask(node: Node, *words: str) -> tuple[int, Any]:
    """Return the exit status and JSON of a subcommand that must not write to stderr."""
    done = run_amdcni(node, *words, "--json")
    assert done.stderr == b"", done
    return done.returncode, json.loads(done.stdout)


def ask_loudly(node: Node, *words: str) -> tuple[int, Any]:
    """Return the same for a subcommand that may write to stderr."""
    done = run_amdcni(node, *words, "--json")
    return done.returncode, json.loads(done.stdout)


def read(node: Node, *words: str, columns: str = "200") -> str:
    """Return what a subcommand prints for people."""
    done = run_amdcni(node, *words, env={"COLUMNS": columns})
    assert b"Traceback" not in done.stderr
    return done.stdout.decode() + done.stderr.decode()


# ---- where is it


def test_an_attachment_is_shown_with_all_that_will_be_restored(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("route add 192.0.2.0/24 via 10.0.0.1 dev eth1 table 1000")
    node.ip("link set eth1 alias rail-1")
    runtime.added(pod)
    status, (row,) = ask(node, "attachments")
    assert status == 0
    listed = {key: row[key] for key in ("device", "ifname", "found", "orphan", "host_ifname")}
    held = {"device": BDF, "ifname": "net1", "found": "held", "orphan": False}
    assert listed == {**held, "host_ifname": "eth1"}
    for id in (BDF, "eth1", "net1", "container-1", "contain"):
        status, (shown,) = ask(node, "attachments", "show", id)
        assert (status, shown["record"]["id"]["ifname"]) == (0, "net1")
    for command in ("attachments", "devices", "check", "heal"):
        assert BDF in read(node, command, columns="40").split()
    for whole in (pod.netns, "container-1", "10.0.0.0/31,fd00::8/64", row["since"]):
        assert whole in read(node, "attachments", "-o", "wide", columns="40").split()
    text = read(node, "attachments", "show", "eth1")
    for words in (
        "container-1",
        pod.netns,
        "alias rail-1",
        "address 10.0.0.0/31",
        "its DEL returns",
    ):
        assert words in text
    assert "route 192.0.2.0/24 via 10.0.0.1 table 1000" in text


@by_delegate
def test_an_orphan_is_marked_and_shown_with_what_will_restore_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    pod.delete()
    _, (row,) = ask(node, "attachments")
    assert (row["found"], row["orphan"]) == ("returned", True)
    shown = read(node, "attachments")
    assert "orphan" in shown.split()
    words = f"{BDF} (eth1): it is on the host: its pod is gone or has lost it\n"
    assert shown.endswith(f"\n\n{words}1 NIC needs somebody: amdcni heal {BDF}\n")
    assert "`amdcni heal`, or the next ADD of the NIC, restores what it lacks" in read(
        node, "attachments", "show", BDF
    )


def test_a_nic_in_a_strange_netns_is_found_there_even_after_heal_and_release_fail(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    stranger = node.add_pod("stranger")
    pod.ip(f"link set net1 name rail7 netns {stranger.name}")
    pod.delete()
    place = f"it is in {stranger.netns} as rail7"
    out = f"nsenter --net={stranger.netns} ip link set rail7 netns $$"
    for _ in "before", "after":
        _, (row,) = ask(node, "attachments")
        assert (row["found"], row["orphan"], row["in_netns"]) == ("missing", True, stranger.netns)
        assert f"{BDF} (eth1): {place}\n" in read(node, "attachments")
        for words in (("attachments", "show", "eth1"), ("doctor",), ("status",)):
            told = read(node, *words)
            assert place in told
            assert f"bring it out: {out}; then amdcni heal" in told
        healed = run_amdcni(node, "heal", "--json")
        (found,) = json.loads(healed.stdout)
        assert (healed.returncode, found["found"], found["healed"]) == (1, "missing", False)
        assert found["failure"] == f"{place}; bring it out: {out}; then amdcni heal"
        # The failure does not hide where the NIC is.
        assert "neither on the host" in read(node, "release", "eth1", "--yes")
    stranger.delete()
    healed = run_amdcni(node, "heal")
    assert (healed.returncode, damage(before, node)) == (0, [])


@by_delegate
def test_unknown_names_and_unreadable_records_are_reported(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    assert read(node, "attachments", "show", "eth9") == (
        "amdcni: no attachment is known as 'eth9'; the devices are none\n"
    )
    runtime.added(pod)
    (node.root / STATE[1:] / "0000:c2:00.0.json").write_text("{")
    status, rows = ask(node, "attachments")
    assert (status, [bool(row["fault"]) for row in rows]) == (1, [False, True])
    assert ask(node, "check")[0] == 1
    assert "not JSON" in read(node, "attachments", "show", "0000:c2:00.0")
    (node.root / STATE[1:] / "@mac1.json").write_text("{")
    said = read(node, "show", "mac1")
    assert "not JSON" in said
    assert said.endswith("What next: amdcni doctor says what to do.\n")
    assert "'0000:c2:00.0' cannot be used" in read(node, "release", "0000:c2:00.0", "--yes")


def test_a_nic_whose_record_was_set_aside_is_not_said_to_be_nowhere(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    record_of(node).write_text("{")
    assert BDF in read(node, "release", "eth1", "--yes")
    assert ask_loudly(node, "heal")[0] == 1
    set_aside = f"the record of {BDF} was damaged and set aside as {STATE}/{BDF}.json.damaged-"
    commands = ("attachments", "check", "heal", "status", "devices")
    said = {command: read(node, command) for command in commands}
    assert not [command for command in commands if "No NIC is lent" in said[command]]
    for command in ("attachments", "status"):
        assert f"No record says that a NIC is lent ({STATE})" in said[command]
    for command in ("attachments", "heal", "status"):
        assert set_aside in said[command]
    assert set_aside in said["devices"]
    assert "unreadable" in said["devices"].split()
    assert "a damaged record was set aside" in read(node, "devices", "-o", "wide")
    status, (seen, *_) = ask(node, "devices")
    assert (status, len(seen["set_aside"]), seen["lost"]) == (0, 1, [])
    assert set_aside in seen["set_aside"][0]
    assert "set aside as" in said["check"]
    assert ask(node, "check")[0] == 1
    for name in ("eth1", BDF):
        for words in (("release", name, "--yes"), ("attachments", "show", name)):
            assert set_aside in read(node, *words)


# ---- is it healthy


def test_check_says_what_is_wrong_in_which_pod(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    assert ask(node, "check") == (
        0,
        [{"device": BDF, "container_id": "container-1", "ifname": "net1", "problems": []}],
    )
    pod.ip_batch(["address delete 10.0.0.0/31 dev net1", "link set net1 down"])
    status, (checked,) = ask(node, "check")
    assert status == 1
    assert {"net1 is down", "net1 lacks 10.0.0.0/31"} <= set(checked["problems"])
    assert "net1 lacks 10.0.0.0/31" in read(node, "check")


# ---- can I have it back


def test_a_nic_is_released_from_a_living_pod_and_its_del_finds_nothing_to_do(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    assert ask(node, "release", "eth1", "--yes") == (
        0,
        [
            {
                "device": BDF,
                "holder": "container-1/net1",
                "released": True,
                "result": "back",
                "failure": None,
            }
        ],
    )
    assert damage(before, node) == []
    assert ifnames(pod) == set()
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@by_delegate
def test_release_says_that_an_unplugged_nic_is_not_returned(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    node.unplug(nic)
    status, (released,) = ask_loudly(node, "release", BDF, "--yes")
    assert (status, released["released"], released["result"]) == (1, False, "unplugged")
    said = read(node, "release", BDF, "--yes")
    assert "is not in the machine, so nothing was returned" in said
    assert record_of(node).exists()


@by_delegate
def test_release_asks_and_does_nothing_without_a_yes(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    done = run_amdcni(node, "release", BDF)
    refusal = b"amdcni: there is no terminal to ask on; use --yes\n"
    assert (done.returncode, done.stderr) == (2, refusal)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    said, status = answered(node, "n\n")
    assert "container container-1 has it as net1" in said
    assert ", and will lose it." in said
    assert "[y/N] " in said
    assert "nothing was done" in said
    assert (status, addresses(pod)) == (1, ["10.0.0.0/31", "fd00::8/64"])
    said, status = answered(node, "y\n")
    assert "0000:c1:00.0 (eth1) of container container-1 is the host's again." in said
    assert (status, ifnames(pod)) == (0, set())


def answered(node: Node, answer: str) -> tuple[str, int]:
    """Return the terminal output of a `release` that gets this answer, and its exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(node.entry[0], [*node.entry, str(AMDCNI), "release", BDF])
    os.write(terminal, answer.encode())
    shown = b""
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # The other end is closed.
            break
        shown += more
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_command_works_with_its_standard_descriptors_closed(node: Node) -> None:
    said = node.root / "run" / "said"
    script = f"{AMDCNI} attachments --json >/run/said <&- 2>&-; echo $? >/run/status"
    node.run(["sh", "-c", script])
    assert json.loads(said.read_text()) == []
    assert said.with_name("status").read_text() == "0\n"
    node.run(["sh", "-c", f"{AMDCNI} attachments <&- >&- 2>&-; echo $? >/run/status"])
    assert said.with_name("status").read_text() == "0\n"


# ---- what would happen


def test_explain_shows_what_an_add_would_do_here_and_changes_nothing(
    runtime: Runtime, node: Node, nic: Nic, tmp_path: Path
) -> None:
    pod = {"kind": "Pod", "metadata": {"name": "p", "annotations": {}}}
    pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] = "fabric"  # type: ignore[index]
    definition = {
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "name": "fabric",
            "annotations": {"k8s.v1.cni.cncf.io/resourceName": "amd.com/nic"},
        },
        "spec": {"config": json.dumps({**runtime.config, "cniVersion": "1.0.0"})},
    }
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "items": [pod, definition]}))
    node.tc("qdisc add dev eth1 root handle 3: estimator 1s 8s pfifo limit 7")
    before = dump(node)
    words = ["explain", str(file), "--plan", "--cni-path", "/usr/lib/cni"]
    status, explained = ask(node, *words, "--device", BDF)
    (call,) = explained["networks"][0]["calls"]
    steps = [step["step"] for step in call["plan"]]
    assert (status, call["refused"]) == (0, None)
    assert "eth1 with 10.0.0.0/31, fd00::8/64" in steps[0]
    assert call["plan"][0]["undo"] == [f"remove the record of {BDF}"]
    assert call["not_saved"] == ["the rate estimator of the qdisc pfifo"]
    shown = run_amdcni(node, *words, "--device", BDF)
    assert b"This would not come back: the rate estimator of the qdisc pfifo\n" in shown.stdout
    assert damage(before, node) == []
    refused = run_amdcni(node, *words, "--device", "0000:c9:00.0")
    assert refused.returncode == 1
    assert b"It would be refused: there is no device 0000:c9:00.0" in refused.stdout


# ---- pods


def args_of(namespace: str, name: str) -> str:
    """Return CNI_ARGS as a kubelet's runtime gives them."""
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID=9a1b"


def test_every_command_names_the_pod_and_takes_its_name(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    long_id, name = "8c1f0a7be2d94c55" * 4, "trainer-" + "x" * 55
    runtime.added(pod, container_id=long_id, args=args_of("ml", name))
    for command in ("attachments", "devices", "check", "heal"):
        lines = read(node, command, columns="80").splitlines()
        assert max(map(len, lines)) <= 80
        assert {"ml", BDF, "eth1"} <= set(lines[1].split())
        assert long_id[:14] not in "".join(lines)
        wide = read(node, command, "-o", "wide").splitlines()
        assert {name, long_id, pod.netns} <= set(wide[1].split())
    for text in (name, f"ml/{name}", long_id, long_id[:5], BDF, "eth1", "net1"):
        shown = read(node, "show", text)
        assert shown.startswith(f"{BDF} (eth1) is in pod ml/{name} as net1, for ")
        assert long_id[:14] not in shown
    for namespace, found in (("ml", [BDF]), ("other", [])):
        listed = json.loads(run_amdcni(node, "attachments", "-o", "json", "-n", namespace).stdout)
        assert [row["device"] for row in listed] == found
    assert f"records: {BDF} of pod ml/{name}: the pod has it" in read(node, "doctor")
    pod.delete()
    assert f"{BDF} (eth1) of pod ml/{name}: it is on the host" in read(node, "status")
    assert run_amdcni(node, "heal", f"ml/{name}").returncode == 0
    assert damage(before, node) == []


@by_delegate
def test_show_says_what_is_different_now(runtime: Runtime, node: Node, nic: Nic, pod: Pod) -> None:
    node.ip("route add 192.0.2.0/24 via 10.0.0.1 dev eth1")
    runtime.added(pod)
    assert "different now" not in read(node, "show", "eth1")
    pod.ip("link set net1 mtu 1400")
    shown = read(node, "show", "eth1")
    assert shown.endswith("\n1 of that is different now:\n  mtu is 1400, was 1500\n")
    assert "  route 192.0.2.0/24 via 10.0.0.1 table main\n" in shown
    assert "  txqlen 1000\n" not in shown
    assert "  txqlen 1000\n" in read(node, "show", "eth1", "--all")
    pod.delete()
    different = read(node, "show", "eth1").partition("different now:\n")[2]
    for words in ("its name is net1, was eth1", "10.0.0.0/31 is missing", "mtu is 1400, was 1500"):
        assert f"  {words}\n" in different


@by_delegate
def test_heal_of_one_nic_leaves_the_others(runtime: Runtime, node: Node, nic: Nic) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.1.0/31"])
    for device, name in ((nic, "pod1"), (other, "pod2")):
        pod = node.add_pod(name)
        lending = runtime.having(deviceID=device.bdf, pciBusID=device.bdf)
        lending.added(pod, container_id=name, args=args_of("ml", name))
        pod.delete()
    said = read(node, "attachments")
    assert said.endswith("\n2 NICs need somebody: amdcni heal\n")
    done = run_amdcni(node, "heal", "ml/pod2", "-o", "name")
    assert (done.returncode, done.stdout.decode()) == (0, "0000:c2:00.0\n")
    assert "eth2" in ifnames(node)
    assert f"1 NIC needs somebody: amdcni heal {BDF}" in read(node, "attachments")
    assert "no attachment is known as 'ml/pod2'" in read(node, "heal", "ml/pod2")


@by_delegate
def test_a_name_of_several_pods_is_refused_and_nothing_is_released(
    runtime: Runtime, node: Node, nic: Nic
) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.1.0/31"])
    pods = [node.add_pod("pod1"), node.add_pod("pod2")]
    for device, pod, namespace in zip((nic, other), pods, ("ml", "dev"), strict=True):
        lending = runtime.having(deviceID=device.bdf, pciBusID=device.bdf)
        lending.added(pod, container_id=pod.name, args=args_of(namespace, "trainer-0"))
    for words in (("show",), ("heal",), ("release", "--yes")):
        done = run_amdcni(node, *words, "trainer-0")
        assert (done.returncode, done.stdout) == (1, b"")
        for candidate in (f"{BDF} (eth1) of pod ml/trainer-0", "(eth2) of pod dev/trainer-0"):
            assert candidate in done.stderr.decode()
    assert [ifnames(pod) for pod in pods] == [{"net1"}, {"net1"}]


@by_delegate
def test_a_watch_prints_each_change_until_it_is_interrupted(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    seen = node.root / "run" / "seen"
    seen.touch()
    # Whoever runs the tests in the background may have it ignored.
    command = f"exec env --default-signal=INT {AMDCNI} attachments -w >/run/seen"
    watch = node.start(["sh", "-c", command])
    wait_until(lambda: "No NIC is lent" in seen.read_text(), "the first look is printed")
    runtime.added(pod, args=args_of("ml", "trainer-0"))
    wait_until(lambda: "attached" in seen.read_text(), "the NIC is printed")
    runtime.delete(pod)
    wait_until(lambda: "gone" in seen.read_text(), "its end is printed")
    watch.send_signal(signal.SIGINT)
    watch.communicate()
    assert watch.returncode == 0
    rows = [line.split() for line in seen.read_text().splitlines() if BDF in line]
    assert [row[5] for row in rows][-1] == "gone"
    assert all(row[:5] == [BDF, "eth1", "ml", "trainer-0", "net1"] for row in rows)


@by_delegate
def test_a_nic_that_a_living_pod_no_longer_has_in_its_namespace_is_located(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    stranger = node.add_pod("stranger")
    pod.ip(f"link set net1 name rail7 netns {stranger.name}")
    place = f"it is in {stranger.netns} as rail7"
    assert f"{BDF} (eth1): {place}, though its pod lives\n" in read(node, "attachments")
    shown = read(node, "show", "eth1")
    assert f"ago; {place}, though its pod lives.\n" in shown
    assert f"What next: bring it out: nsenter --net={stranger.netns} " in shown
    _, (row,) = ask(node, "attachments")
    assert (row["found"], row["in_netns"]) == ("held", stranger.netns)
    for command in ("check", "doctor", "heal", "status"):
        assert f"{place}, though its pod lives" in read(node, command)
