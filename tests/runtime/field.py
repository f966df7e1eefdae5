"""The node of these tests: three NICs, a network for each, a container runtime, and agents."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from attrs import field, frozen

from amdcni.testing import Dump, Nic, Node, dump
from amdcni.testing.namespaces import output_of_script
from amdcni_agent.asking import ask
from tests.netns.agents import SOCKET
from tests.netns.command import AMDCNI
from tests.netns.runtime import DEBIAN, STATIC, damage
from tests.patience import wait_until
from tests.runtime.containerd import BIN_DIR, CONF_DIR, Containerd
from tests.runtime.gates import Gates
from tests.runtime.kubelet import Kubelet
from tests.runtime.machine import Machine, Process, machine_of, remove_cgroup
from tests.runtime.packages import Unpacked

_OTHER_ADDRESSES: Final = ("172.16.3.7/24", "fd33::7/64")
_STATIC: Final = {
    "type": "static",
    "addresses": [{"address": address} for address in _OTHER_ADDRESSES],
}

NETWORKS: Final[Mapping[str, Mapping[str, object]]] = {
    "ens1": {"mover": "delegate"},
    "ens2": {"mover": "native"},
    "ens3": {"mover": "native", "ipam": _STATIC},
}
"""What distinguishes the configurations of the networks, by the NIC that each lends."""
IN_POD: Final = {"ens1": "eth0", "ens2": "eth1", "ens3": "eth2"}
"""The name of each NIC in a sandbox."""
BDFS: Final = {"ens1": "0000:c1:00.0", "ens2": "0000:c2:00.0", "ens3": "0000:c3:00.0"}

_ADDRESSES: Final = {
    "ens1": ["10.0.0.0/31 label ens1:fabric metric 70", "fd00::8/64"],
    "ens2": ["10.0.1.0/31", "10.0.1.128/25", "fd01::8/64"],
    "ens3": ["10.0.2.1/24", "fd02::8/64"],
    "ens9": ["10.0.9.1/24", "fd09::8/64"],
}
"""The last one is a bystander."""
_COMMANDS: Final = [
    "link set ens1 alias fabric",
    "link property add dev ens1 altname rail0",
    "route add 192.0.2.0/24 via 10.0.0.1 dev ens1 table 1000 metric 50 proto static",
    "rule add from 10.0.0.0/31 table 1000 priority 1000",
    "route add 2001:db8::/64 via fd01::9 dev ens2 metric 77",
    "route add 203.0.113.0/24 nexthop via 10.0.0.1 dev ens1 nexthop via 10.0.1.1 dev ens2",
    "neighbour add 10.0.2.9 lladdr 02:00:00:00:00:99 dev ens3",
    "link set ens3 mtu 1400",
]


@frozen
class Field:
    """A node at work, and what it was before."""

    machine: Machine
    nics: Mapping[str, Nic]
    runtime: Containerd
    kubelet: Kubelet
    gates: Gates
    before: Dump = field(repr=False)

    @property
    def node(self) -> Node:
        """The host's side, without its processes."""
        return self.machine.node

    def require_lent(self, sandbox: str) -> None:
        """Require that a sandbox has all NICs, which work, and the host has none."""
        network = self.kubelet.network_of(sandbox)
        for ifname, nic in self.nics.items():
            (link,) = network.ip_json(f"address show dev {IN_POD[ifname]}")
            assert link["link_index"] == nic.peer_ifindex
            found = {f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"]}
            if "ipam" in NETWORKS[ifname]:
                assert found >= set(_OTHER_ADDRESSES)
            else:
                assert found >= set(nic.addresses)
                assert network.ping(nic.peers[0])
        assert not self.ifnames() & self.nics.keys()

    def ifnames(self) -> set[str]:
        """Return the names of the netdevs on the host."""
        return {link["ifname"] for link in self.node.ip_json("link show")}

    def damage(self) -> list[str]:
        """Return what differs from before, and what is left of sandboxes."""
        netns = os.listdir(self.machine.root / "run/netns")
        left = [f"the network namespace {name} is left" for name in netns]
        return [*damage(self.before, self.node), *left]

    def require_whole(self) -> None:
        """Require that the host is as it was, and nothing of a sandbox is left."""
        found = self.damage()
        assert not found, "\n".join(["the host is not as it was:", *found])
        wait_until(lambda: not self.machine.processes("containerd-shim"), "no shim is left")

    def amdcni(self, *words: str) -> str:
        """Return what the operator's command prints, which must succeed."""
        return self.machine.inside.output_of([AMDCNI, *words])

    def start_agent(self) -> "Agent":
        """Start an agent, which may have to wait for its turn."""
        process = self.machine.start("agent", [AMDCNI, "agent", "--metrics", "off"])
        return Agent(self.machine, process)

    @contextmanager
    def agent(self) -> Iterator["Agent"]:
        """Have an agent serve until the end of the `with`."""
        agent = self.start_agent()
        wait_until(agent.serves, "the agent serves")
        yield agent
        agent.process.end()


@frozen
class Agent:
    """An agent of the node."""

    machine: Machine
    process: Process

    def about(self) -> dict[str, Any] | None:
        """Return what the agent that serves on the node, perhaps another one, says of itself."""
        return ask(str(self.machine.root / SOCKET.lstrip("/")))

    def serves(self) -> bool:
        """Return whether this very agent serves."""
        assert self.process.is_alive(), self.process.log.read_text()
        about = self.about()
        return about is not None and about["pid"] == self.process.number

    def served(self) -> int:
        """Return how many calls it has begun to serve."""
        about = self.about()
        assert about is not None
        return int(about["begun"])


@contextmanager
def field_on(node: Node, packages: Unpacked, folder: Path) -> Iterator[Field]:
    """Give a throwaway node NICs, processes and a container runtime until the end of the `with`."""
    cgroup = f"amdcni-{uuid4()}"
    nics = {
        ifname: node.add_nic(f"0000:{at}:00.0", ifname, words, mtu=1500)
        for at, (ifname, words) in zip(("c1", "c2", "c3", "c9"), _ADDRESSES.items(), strict=True)
    }
    node.ip_batch(_COMMANDS)
    node.sysctl("net/ipv4/conf/ens1/rp_filter", 2)
    output_of_script(node.entry, "holder.cover", BIN_DIR)
    try:
        with machine_of(node, folder) as machine:
            gates = Gates(machine.root)
            _install(machine.root / BIN_DIR.lstrip("/"), gates)
            _configure(machine.root / CONF_DIR.lstrip("/"))
            before = dump(node)
            runtime = Containerd(machine, packages, folder / "containerd")
            runtime.set_up()
            lent = {ifname: nics[ifname] for ifname in NETWORKS}
            yield Field(machine, lent, runtime, Kubelet(runtime, cgroup), gates, before)
            runtime.cri.close()
    finally:
        remove_cgroup(cgroup)


def _install(bin_dir: Path, gates: Gates) -> None:
    """Put our executable and what it and containerd call into the folder of plugins."""
    (bin_dir / "amd-host-device").symlink_to(STATIC)
    (bin_dir / "loopback").symlink_to(DEBIAN / "loopback")
    for plugin in ("host-device", "static"):
        gates.put_plugin(plugin, BIN_DIR)


def _configure(folder: Path) -> None:
    """Write the configurations of the networks, in whose order a sandbox's netdevs are named."""
    folder.mkdir(parents=True)
    for ifname, words in NETWORKS.items():
        plugin = {"type": "amd-host-device", "deviceID": BDFS[ifname], **words}
        network = {"cniVersion": "1.0.0", "name": f"network-of-{ifname}", "plugins": [plugin]}
        (folder / f"{ifname}.conflist").write_text(json.dumps(network))
