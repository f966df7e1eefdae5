"""Pairs of lookalike netdevs of every kind that this kernel makes: none is taken for the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amdcni.testing import CommandFailed
from tests.netns.runtime import addresses, expect_silence, ifnames
from tests.vm.guest import Guest, Pod
from tests.vm.nics import E1000E

MAC: Final = "02:00:00:00:00:77"
MADE: Final = {
    "vlan": f"link add link {E1000E.ifname} name vlan{{n}} type vlan id {{n}}",
    "macvlan": f"link add link {E1000E.ifname} name macvlan{{n}} type macvlan mode bridge",
    "dummy": f"link add dummy{{n}} address {MAC} type dummy",
    "wireguard": "link add wireguard{n} type wireguard",
    "vcan": "link add vcan{n} type vcan",
    "tun": "tuntap add dev tun{n} mode tun",
    "vxlan": "link add vxlan{n} type vxlan id {n} dstport 4789 remote 192.0.2.{n}",
}
"""The command that makes each kind; VLANs share parent and hardware address, tunnels have none."""
IMMOVABLE: Final = {
    "bond": f"link add bond{{n}} address {MAC} type bond",
    "vrf": "link add vrf{n} type vrf table 20{n}",
}
"""Kinds that the kernel does not move to another network namespace."""
NUMBERS: Final = (1, 2)


def address_of(kind: str, number: int) -> str:
    """The address of a netdev; a CAN netdev gets none."""
    return f"10.{30 + sorted({**MADE, **IMMOVABLE}).index(kind)}.{number}.1/24"


@contextmanager
def made(guest: Guest, kinds: dict[str, str]) -> Iterator[Pod]:
    """Make two netdevs of each kind on the host, and a pod; delete all of them in the end."""
    pod = guest.pod("pod1")
    try:
        _make(guest, kinds)
        yield pod
    finally:
        guest.host.ip(f"netns delete {pod.name}")
        names = ifnames(guest.host)
        for name in names.intersection(f"{kind}{n}" for kind in kinds for n in NUMBERS):
            guest.host.ip(f"link delete {name}")


def _make(guest: Guest, kinds: dict[str, str]) -> None:
    for kind, command in kinds.items():
        guest.host.ip_batch([command.format(n=n) for n in NUMBERS])
        if kind != "vcan":
            guest.host.ip_batch(
                [f"address add {address_of(kind, n)} dev {kind}{n}" for n in NUMBERS]
            )
        guest.host.ip_batch([f"link set {kind}{n} up" for n in NUMBERS])


def call(guest: Guest, command: str, pod: Pod, device: str, ifname: str) -> Any:
    config = {"cniVersion": "1.1.0", "name": "fabric", "type": "amd-host-device"}
    config |= {"mover": guest.mover, "device": device}
    options: Any = {"container_id": pod.name, "ifname": ifname, "netns": pod}
    return guest.serve(command, config, **options)


def meddle(pod: Pod) -> None:
    """Change what the netdevs may be recognized by, as far as their kinds permit."""
    for ifname in ifnames(pod):
        for words in (f"address 02:00:00:00:99:{ifname[-1]}1", f"down name own{ifname[-1]}"):
            try:
                pod.ip(f"link set {ifname} {words}")
            except CommandFailed:
                continue


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    lent=st.lists(
        st.tuples(st.sampled_from(sorted(MADE)), st.sampled_from(NUMBERS)),
        min_size=3,
        max_size=5,
        unique=True,
    ),
    mover=st.sampled_from(["delegate", "native"]),
    meddles=st.booleans(),
    data=st.data(),
)
def test_lookalikes_of_any_kind_return_and_are_not_mixed_up(
    guest: Guest, lent: list[tuple[str, int]], mover: str, meddles: bool, data: st.DataObject
) -> None:
    guest.mover = mover
    with made(guest, MADE) as pod:
        before = guest.dump()
        attached = [(f"{kind}{n}", f"net{place}") for place, (kind, n) in enumerate(lent, 1)]
        for device, ifname in attached:
            outcome = call(guest, "ADD", pod, device, ifname)
            assert outcome.succeeded, outcome
        if meddles:
            meddle(pod)
        for device, ifname in data.draw(st.permutations(attached)):
            expect_silence(call(guest, "DEL", pod, device, ifname))
        assert ifnames(pod) == set()
        assert guest.damage(before) == []


@pytest.mark.parametrize("kind", sorted(IMMOVABLE))
def test_a_netdev_that_the_kernel_does_not_move_is_refused_and_unchanged(
    guest: Guest, kind: str
) -> None:
    with made(guest, {kind: IMMOVABLE[kind]}) as pod:
        before = guest.dump()
        call(guest, "ADD", pod, f"{kind}1", "net1").expect_error(105, f"{kind}1")
        assert guest.damage(before) == []


def test_del_of_a_vlan_deleted_in_its_pod_succeeds_and_leaves_its_twin_alone(guest: Guest) -> None:
    with made(guest, {"vlan": MADE["vlan"]}) as pod:
        assert call(guest, "ADD", pod, "vlan1", "net1").succeeded
        pod.ip("link delete net1")
        outcome = call(guest, "DEL", pod, "vlan1", "net1")
        assert outcome.succeeded, outcome
        assert "destroyed" in outcome.stderr
        assert addresses(guest.host, "vlan2") == [address_of("vlan", 2)]
    assert guest.damage() == []
