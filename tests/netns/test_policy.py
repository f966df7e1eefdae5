"""The node's policy on the real kernel: which NICs it lends, by what they are and rest on."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Dump, Nic, Node, Pod, differences, dump
from tests.netns.command import output_of_amdcni
from tests.netns.guarded import CHECKPOINT, allocate, guard, set_policy
from tests.netns.runtime import BDF, Runtime, damage, expect_silence, ifnames

OTHER = "0000:c2:00.0"
DENIED = 103
OF_NOBODY: Any = {"container_id": None, "ifname": None, "netns": None}


@pytest.fixture
def mover() -> str:
    return "native"


@pytest.fixture(autouse=True)
def guarded(node: Node, nic: Nic, pod: Pod) -> None:
    """A node with a second NIC of another kind, whose /etc is the test's own."""
    guard(node)
    node.add_nic(OTHER, "ens2", ["10.0.0.2/31"], driver="igb", vendor="0x8086", device="0x1521")


def deny(node: Node, otherwise: str = "allow", **conditions: str) -> None:
    rule = {"deny": conditions, "why": "for management"}
    set_policy(node, lending={"rules": [rule], "otherwise": otherwise})


def naming(runtime: Runtime, **keys: object) -> Runtime:
    """Return a runtime whose configuration names the device only like this."""
    return runtime.having("deviceID", "pciBusID", **keys)


def requires(runtime: Runtime, pod: Pod, before: Dump, *, denied: bool, **keys: object) -> None:
    """Require that an ADD is denied and changes nothing, or that it succeeds and DEL too."""
    named = naming(runtime, **keys)
    if denied:
        named.add(pod).expect_error(DENIED, "is not lent", "policy.json")
        assert ifnames(pod) == set()
    else:
        named.added(pod)
        expect_silence(named.delete(pod))
    assert damage(before, runtime.node) == []


def ids(nic: Nic) -> list[dict[str, object]]:
    """Return all ways in which a definition can name a NIC by its bus address."""
    keys: list[dict[str, object]] = [{"deviceID": nic.bdf}, {"deviceID": nic.bdf.upper()}]
    return [*keys, {"pciBusID": nic.bdf}, {"runtimeConfig": {"deviceID": nic.bdf}}]


def names(nic: Nic) -> list[dict[str, object]]:
    """Return all other ways."""
    at = f"/sys/devices/pci{nic.bdf[:-5]}/{nic.bdf}"
    keys: list[dict[str, object]] = [{"device": nic.ifname}, {"device": "fabric0"}]
    keys += [{"hwaddr": nic.mac}, {"hwaddr": nic.mac.upper()}]
    keys += [{"hwaddr": nic.mac.replace(":", "-")}, {"device": "fabric0", "hwaddr": nic.mac}]
    return [*keys, {"kernelpath": at}, {"kernelpath": at.replace("/pci", "/x/../pci")}]


CONDITIONS: dict[str, tuple[str, ...]] = {
    "address": (BDF, BDF.upper(), "0000:c1:*", "*:c1:00.?"),
    "driver": ("ionic", "ion*"),
    "vendor": ("0x1dd8", "0x1DD8", "0x1d*"),
    "device": ("0x1002", "0x1[0]02"),
    "ifname": ("eth1", "eth*", "fabric0", "fab*"),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_nic_is_denied_by_what_it_is_however_it_is_named(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, condition: str
) -> None:
    node.ip(f"link property add dev {nic.ifname} altname fabric0")
    before = dump(node)
    for pattern in CONDITIONS[condition]:
        deny(node, **{condition: pattern})
        requires(runtime, pod, before, denied=True, deviceID=BDF)
    # A veth has no PCI function of its own: by its name, it is a netdev on no bus.
    for way in [*ids(nic), *(names(nic) if condition == "ifname" else [])]:
        requires(runtime, pod, before, denied=True, **way)
    requires(runtime, pod, before, denied=False, deviceID=OTHER)


def test_only_what_a_rule_allows_is_lent_if_the_policy_denies_otherwise(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("link property add dev ens2 altname eth7")
    before = dump(node)
    for conditions in ({"vendor": "0x1dd8"}, {"ifname": "eth*"}, {"driver": ["x", "ionic"]}):
        set_policy(node, lending={"rules": [{"allow": conditions}], "otherwise": "deny"})
        requires(runtime, pod, before, denied=False, deviceID=BDF)
        requires(runtime, pod, before, denied=True, deviceID=OTHER)
        requires(runtime, pod, before, denied=True, device="eth7")


RESTING = {
    "macvlan": ["link add link eth1 name top type macvlan mode bridge"],
    "bridge": ["link add top type bridge", "link set eth1 master top"],
    "bridge of a macvlan": [
        "link add link eth1 name mid type macvlan mode bridge",
        "link add top type bridge",
        "link set mid master top",
    ],
}


@pytest.mark.parametrize("kind", RESTING)
def test_what_rests_on_a_denied_nic_is_denied(
    runtime: Runtime, node: Node, pod: Pod, kind: str
) -> None:
    node.ip_batch([*RESTING[kind], "link set top up"])
    before = dump(node)
    deny(node, ifname="eth1")
    naming(runtime, device="top").add(pod).expect_error(DENIED, "rests on eth1", "management")
    assert differences(before, dump(node)) == []
    assert ifnames(pod) == set()


def test_all_netdevs_of_a_denied_function_are_denied(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1b", ["10.0.0.4/31"])
    before = dump(node)
    deny(node, address=BDF)
    requires(runtime, pod, before, denied=True, device="eth1b", deviceID=BDF)
    requires(runtime, pod, before, denied=True, device="eth1", deviceID=BDF)
    deny(node, ifname="eth1")
    requires(runtime, pod, before, denied=False, device="eth1b", deviceID=BDF)


def test_a_function_without_a_netdev_is_judged_too(runtime: Runtime, node: Node, pod: Pod) -> None:
    node.add_function("0000:c5:00.0", driver="vfio-pci")
    before = dump(node)
    deny(node, driver="vfio*")
    requires(runtime, pod, before, denied=True, deviceID="0000:c5:00.0")


# ---- what was lent before


def test_a_policy_takes_nothing_from_a_pod_and_holds_from_the_next_lend_on(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    before = dump(node)
    answer = runtime.added(pod)
    deny(node, address=BDF)
    assert runtime.added(pod) == answer
    assert runtime.check(pod, answer).succeeded
    runtime.add(node.add_pod("pod2"), container_id="other").expect_error()
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
    requires(runtime, pod, before, denied=True, deviceID=BDF)


@pytest.mark.parametrize("by", ["ADD", "STATUS", "heal"])
def test_a_denied_nic_of_a_dead_pod_returns(
    runtime: Runtime, node: Node, pod: Pod, by: str
) -> None:
    before = dump(node)
    runtime.added(pod)
    deny(node, address=BDF)
    pod.delete()
    match by:
        case "ADD":
            runtime.add(node.add_pod("pod2"), container_id="other").expect_error(DENIED)
        case "STATUS":
            assert runtime.call("STATUS", **OF_NOBODY).succeeded
        case "heal":
            output_of_amdcni(node, "heal")
    assert damage(before, node) == []


@pytest.mark.parametrize("dies", [False, True])
def test_a_pod_cannot_make_the_policy_deny_its_nic_or_allow_another(
    runtime: Runtime, node: Node, pod: Pod, dies: bool
) -> None:
    """Names that it gives the NIC end with the attachment."""
    before = dump(node)
    set_policy(
        node,
        lending={
            "rules": [{"deny": {"ifname": "mgmt*"}}, {"allow": {"ifname": "eth1"}}],
            "otherwise": "deny",
        },
    )
    runtime.added(pod)
    pod.ip_batch(
        [
            "link property add dev net1 altname mgmt7",
            "link set net1 down",
            "link set net1 name mgmt0",
            "link add name ens2 type bridge",
            "link property add dev ens2 altname eth1",
        ]
    )
    if dies:
        pod.delete()
    assert runtime.delete(None if dies else pod).succeeded
    assert damage(before, node) == []
    pod = node.add_pod("pod2")
    requires(runtime, pod, before, denied=False, deviceID=BDF)
    requires(runtime, pod, before, denied=True, deviceID=OTHER)


# ---- what the kubelet has allocated

UID = "11111111-2222-3333-4444-555555555555"


def of_pod(*uids: str) -> str:
    return ";".join(["IgnoreUnknown=true", *(f"K8S_POD_UID={uid}" for uid in uids)])


def test_only_what_the_kubelet_has_allocated_is_lent(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    set_policy(node, naming="allocated")
    allocate(node, **{UID: BDF, "other": OTHER})
    for spelt in (BDF, BDF.upper()):
        allowed = naming(runtime, deviceID=spelt)
        allowed.added(pod, args=of_pod(UID))
        expect_silence(allowed.delete(pod, args=of_pod(UID)))
    allowed.add(pod, args=of_pod("other", UID)).expect_result()
    expect_silence(allowed.delete(pod))
    forged = {"cni": {"K8S_POD_UID": UID}}
    refusals: list[tuple[dict[str, Any], str | None, str]] = [
        ({"deviceID": OTHER}, of_pod(UID), "not allocated"),
        ({"deviceID": BDF}, of_pod("other"), "not allocated"),
        ({"deviceID": BDF}, of_pod(UID, "other"), "not allocated"),
        ({"deviceID": BDF}, of_pod(f"{UID} "), "not allocated"),
        ({"deviceID": BDF}, of_pod(), "K8S_POD_UID"),
        ({"deviceID": BDF}, of_pod(UID, ""), "K8S_POD_UID"),
        ({"deviceID": BDF}, None, "K8S_POD_UID"),
        ({"deviceID": BDF, "args": forged}, of_pod("other"), "not allocated"),
        ({"deviceID": BDF, "CNI_ARGS": of_pod(UID)}, None, "K8S_POD_UID"),
        ({"deviceID": BDF, "device": nic.ifname}, of_pod(UID), "by device"),
        *(({way: text}, of_pod(UID), f"by {way}") for way, text in (
            ("device", nic.ifname),
            ("hwaddr", nic.mac),
            ("kernelpath", f"/sys/devices/pci0000:c1/{BDF}"),
        )),
    ]  # fmt: skip
    for keys, args, words in refusals:
        naming(runtime, **keys).add(pod, args=args).expect_error(DENIED, words)
    assert damage(before, node) == []


def linked(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def missing(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_json(path: Path) -> None:
    path.write_bytes(b'{"naming": "any"')


def huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


def everybodys(path: Path) -> None:
    path.chmod(0o666)


def a_groups(path: Path) -> None:
    os.chown(path, 0, 1000)
    path.chmod(0o664)


def anothers(path: Path) -> None:
    os.chown(path, 1000, 1000)


def in_anothers_folder(path: Path) -> None:
    os.chown(path.parent, 1000, 1000)


def in_everybodys_folder(path: Path) -> None:
    path.parent.chmod(0o777)


def in_a_linked_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("real"))
    path.parent.symlink_to("real")


def in_a_missing_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("real"))
    path.parent.symlink_to("missing")


SPOILED: list[Callable[[Path], None]] = [linked, a_folder, a_pipe, a_socket, empty, no_json, huge]
OF_OTHERS: list[Callable[[Path], None]] = [everybodys, a_groups, anothers]


@pytest.mark.parametrize("spoil", [missing, *SPOILED, *OF_OTHERS], ids=lambda made: made.__name__)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_checkpoint_that_cannot_be_trusted_allocates_nothing(
    runtime: Runtime, node: Node, pod: Pod, spoil: Callable[[Path], None]
) -> None:
    set_policy(node, naming="allocated")
    allocate(node, **{UID: BDF})
    spoil(node.root / CHECKPOINT)
    runtime.slim().add(pod, args=of_pod(UID)).expect_error(DENIED, "checkpoint")


# ---- a policy that cannot be used


@pytest.mark.parametrize(
    "spoil",
    [
        *(*SPOILED, *OF_OTHERS, in_anothers_folder, in_everybodys_folder, in_a_linked_folder),
        in_a_missing_folder,
    ],
    ids=lambda made: made.__name__,
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_with_a_damaged_policy_nothing_is_lent_and_everything_returns(
    runtime: Runtime, node: Node, pod: Pod, spoil: Callable[[Path], None]
) -> None:
    before = dump(node)
    runtime.added(pod)
    spoil(set_policy(node, naming="any", lending={"rules": [], "otherwise": "allow"}))
    runtime.slim().call("STATUS", **OF_NOBODY).expect_error(50, "policy.json")
    naming(runtime, deviceID=OTHER).add(pod, ifname="net2", container_id="c2").expect_error(DENIED)
    outcome = runtime.slim().delete(pod)
    assert outcome.succeeded, outcome
    assert "policy-unusable" in outcome.stderr
    assert damage(before, node) == []
