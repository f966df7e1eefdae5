"""How a NIC's queues are served, and the limits of its offloads, are as before a pod had it."""

import pytest

from amdcni.testing import Nic, Node, Pod, Section, differences, dump
from tests.netns.runtime import BDF, Runtime, by_both, damage, expect_silence, natively
from tests.netns.warm import Moment

QUEUES = 3

SETTINGS = (
    *("rx-0/rps_cpus=3", "rx-2/rps_cpus=2", "rx-1/rps_flow_cnt=64"),
    *("tx-0/xps_cpus=1", "tx-2/xps_rxqs=2"),
    *("gro_flush_timeout=20000", "napi_defer_hard_irqs=2"),
)
LIMITS = ("gso_ipv4_max_size=30000", "gro_ipv4_max_size=40000")
IP_LIMITS = ("gso_max_size 32000", "gso_max_segs 100", "gro_max_size 60000")
POD_SETTINGS = (
    *("rx-0/rps_cpus=1", "rx-1/rps_cpus=1", "rx-1/rps_flow_cnt=128"),
    *("tx-0/xps_cpus=2", "tx-1/xps_cpus=3"),
    *("gro_flush_timeout=0", "napi_defer_hard_irqs=5"),
)


@pytest.fixture
def wide(node: Node) -> Nic:
    return node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"], queues=QUEUES)


def configure(node: Node) -> None:
    for limit in IP_LIMITS:
        node.ip(f"link set eth1 {limit}")
    node.queues("eth1", *SETTINGS, *LIMITS)


def meddle(pod: Pod) -> None:
    """Change as much as a pod can."""
    pod.ip("link set net1 gso_max_size 10000 gso_max_segs 7 gro_max_size 20000")
    pod.queues("net1", *POD_SETTINGS, "gso_ipv4_max_size=5000")


@by_both
@pytest.mark.parametrize("configured", [True, False], ids=["configured", "as it was made"])
def test_what_a_pod_has_changed_of_the_queues_is_undone(
    runtime: Runtime, wide: Nic, pod: Pod, configured: bool
) -> None:
    node = runtime.node
    if configured:
        configure(node)
    before = dump(node)
    runtime.added(pod)
    meddle(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
@pytest.mark.parametrize("setting", [*SETTINGS, *LIMITS])
def test_each_setting_of_the_host_is_seen_by_the_dump_and_comes_back(
    runtime: Runtime, wide: Nic, pod: Pod, setting: str
) -> None:
    node = runtime.node
    bare = dump(node)
    node.queues("eth1", setting)
    before = dump(node)
    assert differences(bare, before, sections=[Section.QUEUES]) != []
    runtime.added(pod)
    pod.queues("net1", *POD_SETTINGS, "gso_ipv4_max_size=5000", "gro_ipv4_max_size=5000")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@by_both
def test_the_queues_are_as_before_even_if_the_pod_dies(
    runtime: Runtime, wide: Nic, pod: Pod
) -> None:
    node = runtime.node
    configure(node)
    before = dump(node)
    runtime.added(pod)
    meddle(pod)
    pod.ip("link set net1 down")
    pod.ip(f"link set net1 netns {node.netns} name dev7")
    node.refresh()
    pod.delete()
    expect_silence(runtime.delete(None))
    assert damage(before, node) == []


OF_NAPI = (
    *("napi-0/defer_hard_irqs=7", "napi-1/gro_flush_timeout=30000"),
    *("napi-2/irq_suspend_timeout=40000", "napi-1/threaded=1"),
)


@by_both
@pytest.mark.parametrize("settings", [*((each,) for each in OF_NAPI), OF_NAPI])
def test_each_napi_instance_is_set_as_before_a_pod_had_it(
    runtime: Runtime, wide: Nic, pod: Pod, settings: tuple[str, ...]
) -> None:
    node = runtime.node
    bare = dump(node)
    node.queues("eth1", "gro=1", "threaded=0", "napi_defer_hard_irqs=3", *settings)
    before = dump(node)
    if not any("napi-0/threaded" in line for line in differences(bare, before)):
        pytest.skip("this kernel does not show the settings of NAPI instances")
    runtime.added(pod)
    pod.queues("net1", "threaded=1", "napi_defer_hard_irqs=5", "napi-0/irq_suspend_timeout=9")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
@pytest.mark.parametrize("moment", ["RestoreConfiguration", "VerifyHome", "ForgetRecord"])
def test_a_del_that_is_killed_leaves_the_queues_to_the_next_one(
    runtime: Runtime, wide: Nic, pod: Pod, moment: str
) -> None:
    node = runtime.node
    configure(node)
    before = dump(node)
    runtime.added(pod)
    meddle(pod)
    at: Moment = ("before", STEPS_OF_DEL.index(moment) + 1)
    runtime.start_to_die(at, "DEL", netns=pod).wait()
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


STEPS_OF_DEL = (
    *("SaveRecord", "ReleasePlugins", "BringHome"),
    *("RestoreConfiguration", "VerifyHome", "ForgetRecord"),
)
