"""What pods do in their own netns, and others on the host meanwhile, disturbs no call."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from amdcni.testing import Nic, Node, Pod, dump
from amdcni.testing.namespaces import Namespace
from tests.netns.command import output_of_amdcni
from tests.netns.runtime import BDF, Runtime, damage, expect_silence, natively
from tests.netns.test_heal import heal
from tests.patience import wait_until

NAMES = 250
"""More altnames, of 124 bytes each, than fit into one part of a kernel's dump."""

NEIGHBOUR = "10.0.0.1 lladdr 02:00:00:00:00:77 "
CHURN = "ip link add churn type veth peer name nruhc && ip link delete churn"


def add_altnames(pod: Pod, ifname: str) -> None:
    names = [f"n{number:03d}{number:0120d}" for number in range(NAMES)]
    pod.ip_batch([f"link property add dev {ifname} altname {name}" for name in names])


@contextmanager
def going_on(where: Namespace, commands: str) -> Iterator[None]:
    """Let a shell repeat the commands as fast as it can until the block ends.

    They succeed before the block begins, and still do after it.
    """
    where.output_of(["sh", "-c", ": >/run/rounds"])
    script = f"while :; do {commands} && echo >>/run/rounds; done"
    process = where.start(["sh", "-c", f"exec >/dev/null 2>&1; {script}"])
    try:
        goes_on(where)
        yield
        goes_on(where)
    finally:
        process.kill()
        process.communicate()


def goes_on(where: Namespace) -> None:
    """Wait until the commands have succeeded once more, from beginning to end."""
    begun = rounds(where)
    wait_until(lambda: rounds(where) > begun + 1, "the shell repeats its commands")


def rounds(where: Namespace) -> int:
    return len(where.output_of(["cat", "/run/rounds"]))


@natively
def test_a_nic_that_returns_with_many_long_altnames_hides_no_other(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31"])
    before = dump(node)
    runtime.added(pod)
    add_altnames(pod, "net1")
    pod.delete()
    second, another = node.add_pod("pod9"), runtime.having(deviceID=other.bdf, pciBusID=other.bdf)
    another.added(second)
    status, findings = heal(node)
    assert status == 0
    assert {finding["device"]: finding["healed"] for finding in findings} == {
        BDF: True,
        other.bdf: False,
    }
    expect_silence(another.delete(second))
    assert damage(before, node) == []


@natively
def test_a_nic_returns_from_a_crowded_pod_with_names_that_are_not_text(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    add_altnames(pod, "net1")
    odd = "ip link set net1 alias $(printf '\\377x'); ip link property add dev net1 altname"
    assert pod.run(["sh", "-c", f"{odd} $(printf 'y\\377')"]).returncode == 0
    pod.ip_batch([f"link add many{number} type bridge" for number in range(100)])
    pod.ip_batch([f"address add 10.77.{n // 250}.{n % 250}/32 dev net1" for n in range(1000)])
    with going_on(pod, CHURN):
        found = output_of_amdcni(node, "attachments", "--json")
        assert [each["found"] for each in json.loads(found)] == ["held"]
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_a_nic_is_lent_and_restored_while_others_set_the_same_configuration(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    """They find the NIC by its name, and set its former configuration whenever it is there."""
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    routes = [f"route add 192.0.2.{n}/32 via 10.0.0.1 dev eth1 proto bird" for n in range(200)]
    known = [
        "address add 10.0.0.0/31 dev eth1",
        "link property add dev eth1 altname rail0",
        f"neighbour replace {NEIGHBOUR} dev eth1 nud permanent",
        *routes,
    ]
    node.ip_batch(known[1:])
    (node.root / "run" / "known").write_text("\n".join(known))
    before = dump(node)
    # Most of it is refused: while the NIC is away, and again if it has everything.
    with going_on(node, "{ ip -force -batch /run/known || true; }"):
        node.ip("neighbour delete 10.0.0.1 dev eth1")
        wait_until(lambda: NEIGHBOUR in node.ip("neighbour show dev eth1"), "they set it again")
        runtime.added(pod)
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
