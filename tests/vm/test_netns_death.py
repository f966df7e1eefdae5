"""A pod whose network namespace ends before the DEL: the kernel returns the NIC bare.

Only real hardware returns like this: down, under its name in the pod or a name such as `dev5`, and
only to the initial network namespace.
"""

import re

import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from amdcni.testing.strategies import (
    NEIGHBOUR_COMMANDS,
    NEXTHOP_COMMANDS,
    NEXTHOP_USERS,
    ROOT_QDISCS,
    ROUTE_COMMANDS,
    EthtoolChanges,
    HostConfiguration,
    change_ethtool,
    ethtool_changes,
    host_configurations,
)
from tests.netns.runtime import TRY_AGAIN, addresses, expect_silence
from tests.vm.cases import shown
from tests.vm.guest import Guest, addresses_of, peers_of
from tests.vm.nics import E1000E, OTHER_E1000E, VIRTIO, VMXNET3, Slot

BOTH = (E1000E, OTHER_E1000E)


def is_bare(guest: Guest, ifname: str) -> bool:
    (link,) = guest.host.ip_json(f"address show dev {ifname}")
    return "UP" not in link["flags"] and link["addr_info"] == []


@pytest.mark.parametrize("slot", [E1000E, VIRTIO, VMXNET3], ids=shown)
def test_del_restores_a_nic_whose_pod_has_died(guest: Guest, slot: Slot) -> None:
    pod = guest.pod("pod1")
    guest.added(slot, pod)
    guest.kill(pod, slot)
    assert guest.ifnames_of(slot) == ["net1"]
    assert is_bare(guest, "net1")
    expect_silence(guest.delete(slot, pod))
    assert guest.damage() == []


@pytest.mark.parametrize("slot", [E1000E, VIRTIO, VMXNET3], ids=shown)
def test_a_nic_whose_pod_used_its_ifindex_and_died_has_that_ifindex_again(
    guest: Guest, slot: Slot
) -> None:
    (was,) = guest.host.ip_json(f"link show dev {slot.ifname}")
    pod = guest.pod("pod1")
    pod.ip(f"link add taken index {was['ifindex']} type dummy")
    guest.added(slot, pod)
    guest.kill(pod, slot)
    (bare,) = guest.host.ip_json("link show dev net1")
    assert bare["ifindex"] != was["ifindex"]
    expect_silence(guest.delete(slot, pod))
    (now,) = guest.host.ip_json(f"link show dev {slot.ifname}")
    assert now["ifindex"] == was["ifindex"]
    assert guest.damage() == []


def test_a_nic_to_which_its_pod_gave_all_names_that_fit_has_its_ifindex_again(guest: Guest) -> None:
    """There is no room for the mark, so it is known by its hardware alone."""
    (was,) = guest.host.ip_json(f"link show dev {E1000E.ifname}")
    pod = guest.pod("pod1")
    pod.ip(f"link add taken index {was['ifindex']} type dummy")
    guest.added(E1000E, pod)
    (link,) = pod.ip_json("link show dev net1")
    for altname in link.get("altnames", ()):
        pod.ip(f"link property del dev net1 altname {altname}")
    more = "\n".join(f"link property add dev net1 altname n{n}-{'0' * 100}" for n in range(1000))
    filled = pod.run(["ip", "-force", "-batch", "-"], stdin=more.encode())
    assert filled.returncode != 0, "all names fit"
    guest.kill(pod, E1000E)
    assert guest.delete(E1000E, pod).succeeded
    (now,) = guest.host.ip_json(f"link show dev {E1000E.ifname}")
    assert now["ifindex"] == was["ifindex"]
    assert guest.damage() == []


@pytest.mark.parametrize("mover", ["delegate", "native"])
def test_heal_restores_two_nics_that_had_the_same_name_in_their_pods(
    guest: Guest, mover: str
) -> None:
    guest.mover = mover
    for slot in BOTH:
        pod = guest.pod(f"pod{slot.number}")
        guest.added(slot, pod)
        guest.kill(pod, slot)
    found = {finding["device"]: (finding["found"], finding["healed"]) for finding in guest.heal()}
    assert found == {slot.bdf: ("returned", True) for slot in BOTH}
    assert [guest.ifnames_of(slot) for slot in BOTH] == [[slot.ifname] for slot in BOTH]
    assert guest.damage() == []


def test_a_del_before_the_kernel_returns_the_nic_restores_it_or_says_try_again(
    guest: Guest,
) -> None:
    pod = guest.pod("pod1")
    guest.added(VIRTIO, pod)
    # The kernel empties a dead namespace some time later.
    guest.host.ip(f"netns delete {pod.name}")
    first = guest.delete(VIRTIO, pod)
    if not first.succeeded:
        first.expect_error(TRY_AGAIN, VIRTIO.bdf)
        guest.await_return(VIRTIO)
        assert guest.delete(VIRTIO, pod).succeeded
    assert guest.damage() == []


@pytest.mark.parametrize(
    "order", [BOTH, BOTH[::-1]], ids=["the first one first", "the second one first"]
)
def test_two_nics_that_had_the_same_name_in_their_pods_are_not_mixed_up(
    guest: Guest, order: tuple[Slot, Slot]
) -> None:
    pods = {slot: guest.pod(f"pod{slot.number}") for slot in BOTH}
    for slot, pod in pods.items():
        guest.added(slot, pod)
    for slot, pod in pods.items():
        guest.kill(pod, slot)
    names = sorted(name for slot in BOTH for name in guest.ifnames_of(slot))
    assert re.fullmatch(r"dev\d+ net1", " ".join(names))
    for slot in order:
        expect_silence(guest.delete(slot, pods[slot]))
        assert guest.ifnames_of(slot) == [slot.ifname]
    assert guest.damage() == []


def test_a_nic_whose_name_was_taken_gets_another_and_the_stranger_stays(
    guest: Guest,
) -> None:
    pod = guest.pod("pod1")
    guest.added(VIRTIO, pod)
    guest.host.ip_batch(
        [
            f"link add {VIRTIO.ifname} type dummy",
            f"address add 192.0.2.1/24 dev {VIRTIO.ifname}",
            f"link set {VIRTIO.ifname} up",
        ]
    )
    stranger = guest.host.ip_json(f"address show dev {VIRTIO.ifname}")
    guest.kill(pod, VIRTIO)
    deleted = guest.delete(VIRTIO, pod)
    assert deleted.succeeded, deleted
    assert "name-taken" in deleted.stderr
    (ifname,) = guest.ifnames_of(VIRTIO)
    assert ifname == f"{VIRTIO.ifname}_1"
    assert addresses(guest.host, ifname) == addresses_of(VIRTIO)
    assert guest.host.ip_json(f"address show dev {VIRTIO.ifname}") == stranger
    assert guest.records() == {}


def test_a_del_for_a_dead_pod_leaves_the_new_pod_at_its_path_alone(guest: Guest) -> None:
    old = guest.pod("pod1")
    guest.added(VIRTIO, old, container_id="old")
    guest.kill(old, VIRTIO)
    new = guest.pod("pod1")
    guest.added(VMXNET3, new, container_id="new")
    expect_silence(guest.delete(VIRTIO, old, container_id="old"))
    assert guest.ifnames_of(VIRTIO) == [VIRTIO.ifname]
    assert addresses(new) == addresses_of(VMXNET3)
    expect_silence(guest.delete(VMXNET3, new, container_id="new"))
    assert guest.damage() == []


def test_a_pod_retried_without_a_del_gets_the_nic_with_its_addresses(
    guest: Guest,
) -> None:
    old = guest.pod("pod1")
    guest.added(VIRTIO, old)
    guest.kill(old, VIRTIO)
    new = guest.pod("pod2")
    guest.added(VIRTIO, new)
    assert addresses(new) == addresses_of(VIRTIO)
    expect_silence(guest.delete(VIRTIO, old))
    assert addresses(new) == addresses_of(VIRTIO)
    expect_silence(guest.delete(VIRTIO, new))
    assert guest.damage() == []


def test_a_nic_renamed_in_a_dead_pod_is_recognized_by_its_pci_address(guest: Guest) -> None:
    pod = guest.pod("pod1")
    guest.added(VIRTIO, pod)
    pod.ip_batch(["link set net1 down", "link set net1 name eth0"])
    guest.kill(pod, VIRTIO)
    assert guest.ifnames_of(VIRTIO) == ["eth0"]
    expect_silence(guest.delete(VIRTIO, pod))
    assert guest.damage() == []


def test_nexthop_objects_and_mpls_labels_return_from_a_dead_pod(guest: Guest) -> None:
    router, netdev = peers_of(VIRTIO)[0], VIRTIO.ifname
    for command in (
        f"route add 192.0.2.0/24 encap mpls 100/200 ttl 9 via {router} dev {netdev}",
        f"nexthop add id 1 via {router} dev {netdev}",
        "nexthop add id 2 group 1,7",
        "route add 192.0.3.0/24 nhid 2",
    ):
        guest.host.ip(command)
    before = guest.dump()
    pod = guest.pod("pod1")
    guest.added(VIRTIO, pod)
    guest.kill(pod, VIRTIO)
    expect_silence(guest.delete(VIRTIO, pod))
    assert guest.damage(before) == []


# An example takes some seconds, which is too long for shrinking.
@settings(
    max_examples=2,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(
    HostConfiguration(
        (*ROUTE_COMMANDS, *NEXTHOP_COMMANDS, *NEXTHOP_USERS, *NEIGHBOUR_COMMANDS),
        {"ipv4/conf/eth1/rp_filter": 2},
        ROOT_QDISCS[1],
    ),
    VIRTIO,
    "native",
    (),
)
@given(
    host_configurations,
    st.sampled_from([E1000E, VIRTIO]),
    st.sampled_from(["delegate", "native"]),
    ethtool_changes,
)
def test_any_host_is_the_same_before_and_after_the_pod_dies(
    guest: Guest, host: HostConfiguration, slot: Slot, mover: str, meddled: EthtoolChanges
) -> None:
    guest.reset()
    guest.mover = mover
    # Without a link-local address the guest is never at rest.  The kernel's own fq_codel keeps its
    # quantum from the MTU at its creation, and gets that of the current MTU when it is made again.
    # Rules would stay for the tests that follow.
    unfit: tuple[str, ...] = ("link set eth1 addrgenmode", "link set eth1 mtu", "rule", "-6 rule")
    if slot is E1000E:
        # It has no carrier for the first seconds, and the kernel then forgets proxy neighbours.
        unfit = (*unfit, "neighbour add proxy", "-6 neighbour add proxy")
    commands = tuple(c for c in host.commands if not c.startswith(unfit))
    networks = f"10.0.{slot.number}.", f"fd00:{slot.number}::"
    evolve(host, commands=commands).configure(guest.host, slot.ifname, networks)
    before = guest.dump()
    pod = guest.pod("pod1")
    guest.added(slot, pod)
    change_ethtool(pod, "net1", meddled)
    guest.kill(pod, slot)
    expect_silence(guest.delete(slot, pod))
    assert guest.damage(before) == []
