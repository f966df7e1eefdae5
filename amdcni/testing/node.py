"""A node that exists for one test: NICs with PCI functions, pods, and nothing left behind.

>>> def test_the_plugin_moves_a_nic_that_works(plugin):
...     config = {"cniVersion": "1.0.0", "name": "fabric", "pciBusID": "0000:c1:00.0"}
...     with throwaway_node() as node:
...         nic = node.add_nic("0000:c1:00.0", "eth1", ["10.0.0.0/31"])
...         pod = node.add_pod("pod1")
...         outcome = node.cni("ADD", plugin, config, netns=pod, ifname="net1")
...         assert outcome.succeeded
...         assert pod.ping(nic.peers[0])
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from attrs import field, frozen

from amdcni.testing.cni import Call, CallOptions, Outcome, start_plugin
from amdcni.testing.holder import HOME
from amdcni.testing.isolation import NODE_NETNS, Isolation, isolated
from amdcni.testing.namespaces import PATIENCE_S, Namespace, StrPath
from amdcni.testing.nics import Nic, bare_address, peer_address_of
from amdcni.testing.pods import Pod
from amdcni.testing.sysfs import FakeSysfs

_PEER_IFINDEXES = 1_000_000
"""Far above what the kernel counts up to, so that no other netdev has the ifindex of a peer."""


@contextmanager
def throwaway_node(*, duplicate_address_detection: bool = False) -> Iterator["Node"]:
    """Make a node and, at the end of the `with` or of this process, remove all of it.

    Without `duplicate_address_detection` IPv6 addresses work at once, in the node and its pods.

    Raises:
        NotAllowedHere: this machine does not allow this user to make one.
    """
    with isolated(duplicate_address_detection=duplicate_address_detection) as isolation:
        yield Node(
            isolation.entry(NODE_NETNS),
            isolation=isolation,
            sysfs=FakeSysfs(isolation.root),
            duplicate_address_detection=duplicate_address_detection,
        )


@frozen(kw_only=True, eq=False)
class Node(Namespace):
    """The host's side of a throwaway node; made by `throwaway_node`.

    The network, /run, /var/lib/cni and /sys are its own; the rest is the machine's own file system.
    """

    isolation: Isolation
    sysfs: FakeSysfs = field(repr=False)
    duplicate_address_detection: bool
    nics: list[Nic] = field(factory=list, init=False)
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False, repr=False)

    netns = NODE_NETNS
    """The path, inside, of the host's own network namespace."""

    @property
    def root(self) -> Path:
        """The node's root folder as a test sees it; absolute symbolic links lead out of it."""
        return self.isolation.root

    def add_nic(
        self,
        bdf: str,
        ifname: str,
        addresses: Sequence[str] = (),
        *,
        peer_addresses: Sequence[str] | None = None,
        mac: str | None = None,
        mtu: int = 1500,
        up: bool = True,
        driver: str = "ionic",
        virtio: int | None = None,
        auxiliary: str | None = None,
        vendor: str = "0x1dd8",
        device: str = "0x1002",
        numa_node: int = 0,
        queues: int = 1,
    ) -> Nic:
        """Add a NIC: a veth with a PCI function for one end, and an answering peer at the other.

        Each of `addresses` may continue as in `ip address add`: `"10.0.0.0/31 label eth1:fabric"`.
        `peer_addresses` are by default the neighbours of `addresses`.  With the `bdf` of an earlier
        NIC, the function gets another netdev.  `virtio` puts `net/` below `virtioN/`, and
        `auxiliary` below an auxiliary device of that name, such as `mlx5_core.sf.4`.  There are as
        many `queues` in each direction.
        """
        number = next(self._numbers)
        if peer_addresses is None:
            peer_addresses = [peer for peer in map(peer_address_of, addresses) if peer is not None]
        nic = Nic(
            bdf=bdf,
            ifname=ifname,
            mac=mac or f"02:00:00:00:{number >> 8:02x}:{number & 0xFF:02x}",
            addresses=tuple(map(bare_address, addresses)),
            peer_addresses=tuple(peer_addresses),
            net=self.sysfs.function(bdf) / (auxiliary or _virtio_folder(virtio)) / "net",
            peer=self.isolation.namespace(_peer_netns(number)),
            peer_ifindex=_PEER_IFINDEXES + number,
        )
        if not self.sysfs.has(bdf):
            self.add_function(bdf, driver=driver, vendor=vendor, device=device, numa_node=numa_node)
        if auxiliary is not None:
            self.sysfs.add_auxiliary(bdf, auxiliary, auxiliary.rpartition(".")[0])
        self._lay_wire(nic, number, mtu, queues)
        self.nics.append(nic)
        self.sysfs.learn(nic.net, ifname)
        state = [f"link set {ifname} up"] if up else []
        self.ip_batch([*state, *(f"address add {words} dev {ifname}" for words in addresses)])
        return nic

    def add_function(
        self,
        bdf: str,
        *,
        driver: str | None = "vfio-pci",
        vendor: str = "0x1dd8",
        device: str = "0x1002",
        numa_node: int = 0,
    ) -> None:
        """Add a PCI function without a netdev, like one bound to a userspace driver."""
        self.sysfs.add_function(
            bdf, driver=driver, vendor=vendor, device=device, numa_node=numa_node
        )

    def _lay_wire(self, nic: Nic, number: int, mtu: int, queues: int) -> None:
        netns = _peer_netns(number)
        (self.root / netns.lstrip("/")).touch()
        # Made from the far side, since `ip` takes no ifindex for the peer of a veth.
        commands = [
            "link set lo up",
            f"link add name wire index {nic.peer_ifindex} mtu {mtu}"
            f" address 02:ff:00:00:{number >> 8:02x}:{number & 0xFF:02x}"
            f" numrxqueues {queues} numtxqueues {queues} type veth"
            f" peer name {nic.ifname} address {nic.mac} mtu {mtu} netns {NODE_NETNS}"
            f" numrxqueues {queues} numtxqueues {queues}",
            "link set wire up",
            *(f"address add {address} dev wire" for address in nic.peer_addresses),
        ]
        script = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad && exec ip -batch -"
        unshare = ["unshare", f"--net={netns}", "sh", "-c", script]
        self.output_of(unshare, stdin="\n".join(commands).encode())

    def add_pod(self, name: str, *, duplicate_address_detection: bool | None = None) -> Pod:
        """Add a pod's network namespace, at /run/netns/NAME.

        `duplicate_address_detection` is by default as on the node.
        """
        if duplicate_address_detection is None:
            duplicate_address_detection = self.duplicate_address_detection
        netns = f"/run/netns/{name}"
        pod = Pod(
            self.isolation.entry(netns),
            node=self,
            name=name,
            netns=netns,
            duplicate_address_detection=duplicate_address_detection,
        )
        pod.create()
        return pod

    def start_cni(
        self,
        command: str,
        plugin: StrPath,
        config: Mapping[str, object] | bytes,
        **options: Unpack[CallOptions],
    ) -> Call:
        """Start a CNI plugin on the host's side, as a runtime does; see `CallOptions`.

        A relative path of the plugin is one from the current folder of the test.  Without an option
        for it, CNI_CONTAINERID is `container-1` and CNI_IFNAME is `net1`.
        """
        return start_plugin(self, command, plugin, config, **options)

    def cni(
        self,
        command: str,
        plugin: StrPath,
        config: Mapping[str, object] | bytes,
        *,
        timeout_s: float = PATIENCE_S,
        **options: Unpack[CallOptions],
    ) -> Outcome:
        """Run a CNI plugin to its end; see `start_cni`.

        Raises:
            subprocess.TimeoutExpired: the plugin did not end in time, and was killed.
        """
        return self.start_cni(command, plugin, config, **options).wait(timeout_s)

    def refresh(self) -> None:
        """Let sysfs show each NIC under the name that it carries on the node now.

        Needed after a NIC was renamed on the node, or another netdev took the name of one.
        """
        ifnames = {link["ifname"]: link.get("link_index") for link in self.ip_json("link show")}
        # Several NICs may be netdevs of one function.
        for net in {nic.net for nic in self.nics}:
            own = {nic.peer_ifindex for nic in self.nics if nic.net == net}
            for ifname in self.sysfs.names(net) & ifnames.keys():
                if ifnames[ifname] not in own:
                    self.sysfs.forget(net, ifname)
            for ifname, peer_ifindex in ifnames.items():
                if peer_ifindex in own:
                    self.sysfs.learn(net, ifname)

    def learn(self, nic: Nic, ifname: str) -> None:
        """Let sysfs also show `nic` whenever it is on the node under the name `ifname`."""
        self.sysfs.learn(nic.net, ifname)

    def forget(self, nic: Nic, ifname: str) -> None:
        """Let sysfs no longer take a netdev `ifname` on the node for `nic`."""
        self.sysfs.forget(nic.net, ifname)

    def unplug(self, nic: Nic) -> None:
        """Remove the PCI function of a NIC, with all of its netdevs, wherever these are."""
        for gone in [other for other in self.nics if other.bdf == nic.bdf]:
            gone.peer.ip("link delete wire")
            self.nics.remove(gone)
        self.sysfs.unplug(nic.bdf)

    def cover(self, path: str, *, size_bytes: int | None = None) -> Path:
        """Hide a folder, which has to exist, behind an empty one of at most `size_bytes`.

        Returns the folder as a test sees it.
        """
        size = [] if size_bytes is None else ["-o", f"size={size_bytes}"]
        self.output_of(["mount", "-t", "tmpfs", "-o", "mode=0755", *size, "tmpfs", path])
        return self.root / path.lstrip("/")


def _peer_netns(number: int) -> str:
    return f"{HOME}/peer{number}"


def _virtio_folder(number: int | None) -> str:
    return "" if number is None else f"virtio{number}"
