"""`amdcni devices` lists every NIC of the node, for every user."""

import json
from typing import Any

from amdcni.core.names import PciAddress
from amdcni.testing import Nic, Node, Pod
from tests.netns.command import run_amdcni
from tests.netns.runtime import BDF, Runtime, by_delegate, record_of, state_folder

OTHER = "0000:c2:00.0"
MANY = 200


def devices(node: Node, *, status: int = 0, privileged: bool = True) -> dict[str, dict[str, Any]]:
    """Return what `amdcni devices --json` lists, by device."""
    done = run_amdcni(node, "devices", "--json", privileged=privileged)
    assert (done.returncode, done.stderr) == (status, b""), done
    return {each["device"]: each for each in json.loads(done.stdout)}


def table(node: Node, *, privileged: bool = True) -> str:
    done = run_amdcni(node, "devices", "-o", "wide", privileged=privileged)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode()


def test_a_node_without_a_nic_says_so(node: Node) -> None:
    assert devices(node) == {}
    assert table(node).splitlines() == ["This node has no NIC on a bus, so there is none to lend."]


def test_a_nic_is_listed_as_the_kernel_has_it(node: Node) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"], mtu=9000, numa_node=1)
    node.add_function(OTHER, vendor="0x15b3")
    node.ip("route add default via 10.0.0.1 dev eth1")
    listed = devices(node)
    (netdev,) = listed[BDF].pop("netdevs")
    assert netdev.pop("addresses")[0] == "10.0.0.0/31"
    assert netdev == {
        "ifname": "eth1",
        "link": "up",
        "operstate": "up",
        "speed_mbps": 10000,
        "mtu": 9000,
        "uplink": True,
        "protected": "carries the node's only default route of IPv4",
        "denied": None,
    }
    assert listed[BDF] == {
        "device": BDF,
        "kind": "physical function",
        "parent": None,
        "vfs": 0,
        "vendor": "0x1dd8",
        "product": "0x1002",
        "amd": True,
        "driver": "ionic",
        "numa_node": 1,
        "rdma": [],
        "rdma_mode": None,
        "held": [],
        "lent_by_go": None,
        "faults": [],
        "set_aside": [],
        "lost": [],
        "denied": None,
    }
    other = listed[OTHER]
    assert (other["driver"], other["amd"], other["netdevs"]) == ("vfio-pci", False, [])
    shown = table(node)
    for words in ("AMD Pensando", "0x15b3", "10 Gb/s", "protected", "the node's only default"):
        assert words in shown
    assert "AMD's" not in shown


@by_delegate
def test_a_lent_nic_is_listed_with_its_holder_and_what_will_be_restored(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    listed = devices(node)[BDF]
    assert listed["netdevs"] == []
    assert listed["held"] == [
        {
            "container_id": "container-1",
            "ifname": "net1",
            "netns": pod.netns,
            "network": "fabric",
            "phase": "attached",
            "found": "held",
            "away": True,
            "host_ifname": "eth1",
            "host_addresses": ["10.0.0.0/31", "fd00::8/64"],
            "host_rdma": [],
        }
    ]
    shown = table(node)
    for words in ("container-1", "attached", "eth1", "10.0.0.0/31,fd00::8/64"):
        assert words in shown.split()
    pod.delete()
    (orphan,) = devices(node)[BDF]["held"]
    assert (orphan["found"], orphan["away"]) == ("returned", False)
    shown = table(node)
    for words in ("orphan", "eth1", "10.0.0.0/31", "on the host as net1; it is on the host"):
        assert words in shown
    state_folder(node).chmod(0)
    assert devices(node, privileged=False)[BDF]["held"] is None
    assert "only root may read the records" in table(node, privileged=False)


def test_a_damaged_record_is_reported_and_left_as_it_is(node: Node) -> None:
    node.add_nic(BDF, "net1", up=False, vendor="0x15b3")
    listed = devices(node)[BDF]
    assert (listed["lost"], listed["faults"]) == (["net1"], [])
    assert "None of these NICs is AMD's" in table(node)
    state_folder(node).mkdir(parents=True)
    record_of(node).write_text("{")
    listed = devices(node, status=1)[BDF]
    assert (listed["lost"], len(listed["faults"])) == ([], 1)
    assert record_of(node).read_text() == "{"


def test_a_record_of_a_device_that_is_not_listed_is_reported_too(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.ip("link add veth9 type veth peer name veth9-peer")
    runtime.having("deviceID", "pciBusID", device="veth9").added(pod)
    record_of(node, "0000:c9:00.0").write_text("{")
    done = run_amdcni(node, "devices")
    assert done.returncode == 1
    for key in ("@veth9", "0000:c9:00.0"):
        sentence = f"There is also a record of {key}: amdcni show {key}\n"
        assert sentence in done.stdout.decode()


def test_two_hundred_nics_are_all_listed(node: Node) -> None:
    node.add_pod("pod1")
    names = [f"eth{number}" for number in range(MANY)]
    addresses = [str(PciAddress(1, number >> 5, number & 31, 0)) for number in range(MANY)]
    node.ip_batch([f"link add {name} type veth peer name {name} netns pod1" for name in names])
    for address, name in zip(addresses, names, strict=True):
        node.add_function(address, driver="ionic")
        node.sysfs.learn(node.sysfs.function(address) / "net", name)
    listed = devices(node)
    assert list(listed) == addresses
    assert [each["netdevs"][0]["ifname"] for each in listed.values()] == names
    assert addresses[-1] in table(node)
