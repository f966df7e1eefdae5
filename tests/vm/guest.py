"""Inside the machine: its NICs and pods, and the plugin, called in this process."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Unpack

from attrs import define, field, frozen

from amdcni.testing import Call, CallOptions, Dump, Namespace, Outcome, differences, dump
from amdcni.testing.cni import environment_of, start_plugin
from amdcni.testing.readings import read
from tests.patience import PATIENCE_S, wait_until
from tests.vm.nics import E1000E, LENDABLE, PEER, SLOTS, Slot

PLUGIN: Final = Path(sys.prefix) / "bin/amd-host-device"
STATE: Final = Path("/var/lib/cni/amd-host-device")
_KEPT = Path("/state")
_PCI = Path("/sys/bus/pci")
_NETNS_FOLDER = Path("/run/netns")
_PEER_NETNS = "peer"
_RULES = ("from 10.0.16.0/31 lookup 100 priority 1000", f"oif {E1000E.ifname} lookup 100 prio 1001")


@frozen(kw_only=True)
class Pod(Namespace):
    """A pod's network namespace, which may no longer exist."""

    name: str

    @property
    def netns(self) -> str:
        return str(_NETNS_FOLDER / self.name)


def pod_named(name: str) -> Pod:
    """Return a pod, whether or not its namespace exists now."""
    return Pod(entry=("/usr/bin/nsenter", f"--net={_NETNS_FOLDER / name}", "--"), name=name)


def addresses_of(slot: Slot) -> list[str]:
    """Return the addresses of a NIC in the order of the kernel."""
    return [f"10.0.{slot.number}.0/31", f"fd00:{slot.number}::8/64"]


def peers_of(slot: Slot) -> list[str]:
    """Return the addresses that answer at the other end of a NIC's wire."""
    return [f"10.0.{slot.number}.1", f"fd00:{slot.number}::9"]


_RENUMBERED: Final = re.compile(r"netdev \S+: ifindex was \d+, is \d+")


@define
class Guest:
    """This machine; `host` is its own network namespace.

    All NICs are up and have addresses; `before` is the host's configuration in that state.  If
    `damage` finds nothing, a test has left everything as it was; otherwise `reset` restores it.
    `mover` is the mover that configurations name.
    """

    host: Namespace = field(factory=Namespace)
    mover: str = "delegate"
    before: Dump = field(init=False)
    _touched: set[Slot] = field(factory=set)
    _is_as_before: bool = False

    # ---- making it ready

    def set_up(self) -> None:
        """Put the other end of the wire into its own namespace, and configure all NICs."""
        self.host.ip("link set lo up")
        self.host.ip_batch([f"rule add {rule}" for rule in _RULES])
        self._remove_strangers()
        for slot in SLOTS:
            self._rename(slot)
        peer = self.pod(_PEER_NETNS)
        self.host.ip(f"link set {PEER.ifname} netns {_PEER_NETNS}")
        for slot in LENDABLE:
            four, six = peers_of(slot)
            peer.ip(f"address add {four}/31 dev {PEER.ifname}")
            peer.ip(f"address add {six}/64 dev {PEER.ifname}")
        peer.ip(f"link set {PEER.ifname} up")
        self._configure(LENDABLE)

    def reset(self) -> None:
        """Restore pods and NICs to their state after `set_up`, whatever a test did."""
        for name in sorted(os.listdir(_NETNS_FOLDER)):
            if name != _PEER_NETNS:
                self.host.ip(f"netns delete {name}")
        if not self._is_as_before:
            shutil.rmtree(STATE, ignore_errors=True)
            self._remove_strangers()
            for slot in self._touched:
                self.bind(slot, slot.driver)
                self._rename(slot)
            self._configure(self._touched)
        self._touched = set()
        self._is_as_before = False
        self.mover = "delegate"

    def keep_state(self) -> None:
        """Save the state folder, which is in memory, for the next boot."""
        shutil.copytree(STATE.parent, _KEPT, dirs_exist_ok=True)

    def touch(self, slot: Slot) -> None:
        """Have a NIC configured anew after the test, which changes it."""
        self._touched.add(slot)

    def bind(self, slot: Slot, driver: str | None) -> None:
        """Unbind a NIC from its driver; bind it to `driver`, even to the same one, unless None."""
        self._touched.add(slot)
        device = _PCI / "devices" / slot.bdf
        if self.driver_of(slot) is not None:
            (device / "driver/unbind").write_text(slot.bdf)
        if driver is not None:
            (device / "driver_override").write_text(driver)
            (_PCI / "drivers_probe").write_text(slot.bdf)
            assert self.driver_of(slot) == driver
            if driver == slot.driver:
                self.await_return(slot)

    def replug(self, slot: Slot, *, awaited: bool = True) -> None:
        """Take a NIC out of the machine and plug it in again, as far as its kernel can tell.

        Unless that is not `awaited`, its netdev is on the host at the end.
        """
        self._touched.add(slot)
        (_PCI / "devices" / slot.bdf / "remove").write_text("1")
        (_PCI / "rescan").write_text("1")
        if awaited:
            self.await_return(slot)

    def _configure(self, slots: Collection[Slot]) -> None:
        for slot in slots:
            adding = [f"address add {words} dev {slot.ifname}" for words in addresses_of(slot)]
            self.host.ip_batch([*adding, f"link set {slot.ifname} up"])
        self.before = self.dump()

    def _rename(self, slot: Slot) -> None:
        """Give a NIC's netdev, which is down, its usual name."""
        (ifname,) = self.ifnames_of(slot)
        if ifname != slot.ifname:
            self.host.ip(f"link set {ifname} name {slot.ifname}")

    def _remove_strangers(self) -> None:
        for link in self.host.ip_json("link show type dummy"):
            self.host.ip(f"link delete {link['ifname']}")

    # ---- looking

    def ifnames_of(self, slot: Slot) -> list[str]:
        """Return the names of a NIC's netdevs on the host, according to sysfs."""
        device = _PCI / "devices" / slot.bdf
        folders = [device / "net", *device.glob("virtio*/net")]
        return [name for folder in folders if folder.exists() for name in os.listdir(folder)]

    def driver_of(self, slot: Slot) -> str | None:
        """Return the driver that a NIC is bound to."""
        driver = _PCI / "devices" / slot.bdf / "driver"
        return os.path.basename(os.readlink(driver)) if driver.exists() else None

    def await_return(self, *slots: Slot) -> None:
        """Wait until the netdevs of NICs are on the host, under any name."""
        names = ", ".join(slot.bdf for slot in slots)
        wait_until(lambda: all(map(self.ifnames_of, slots)), f"{names} are on the host")

    def await_answers(self, pod: Pod, peers: Collection[str]) -> None:
        """Wait until the peers answer a pod, whose NIC may lack a carrier for the first seconds."""
        what = f"{', '.join(peers)} answer {pod.name}"
        wait_until(lambda: all(pod.ping(peer, timeout_s=1) for peer in peers), what)

    def dump(self) -> Dump:
        """Return the host's configuration, once it no longer changes by itself."""
        self._await_rest()
        return dump(self.host, timeout_s=PATIENCE_S)

    def damage(
        self,
        before: Dump | None = None,
        *,
        left: Collection[str] = (),
        replugged: bool = False,
    ) -> list[str]:
        """Return what differs from before on the host, and what state is left besides `left`.

        A NIC that is `replugged` is a new netdev, whose ifindex is another one.
        """
        was = self.before if before is None else before
        self._await_rest()
        # If the first reading shows no difference, a second one would not either.
        lines = differences(was, read(self.host)[0]) and differences(was, self.dump())
        lines += [f"{name} is left" for name in self.records() if name not in left]
        self._is_as_before = before is None and not lines
        return [line for line in lines if not (replugged and _RENUMBERED.fullmatch(line))]

    def _await_rest(self) -> None:
        """Wait until all NICs have carriers; reading addresses is much faster than a dump."""
        wait_until(
            lambda: all(map(_is_at_rest, self.host.ip_json("address show up"))),
            "all NICs have carriers and addresses",
        )

    def records(self) -> dict[str, Any]:
        """Return the records by file name, and other files in the state folder except locks."""
        return {
            path.name: json.loads(path.read_bytes()) if path.suffix == ".json" else None
            for path in self.state_files()
        }

    def state_files(self) -> list[Path]:
        """Return the files in the state folder except locks, also while somebody writes them."""
        paths = sorted(STATE.rglob("*"))
        return [path for path in paths if path.is_file() and path.parent.name != "locks"]

    # ---- pods

    def pod(self, name: str) -> Pod:
        """Make a pod's network namespace."""
        self.host.ip(f"netns add {name}")
        pod = pod_named(name)
        pod.ip("link set lo up")
        return pod

    def kill(self, pod: Pod, *slots: Slot) -> None:
        """Delete a pod's network namespace, and wait until the NICs in it are on the host."""
        self.host.ip(f"netns delete {pod.name}")
        self.await_return(*slots)

    # ---- calls

    def call(self, command: str, slot: Slot, **options: Unpack[CallOptions]) -> Outcome:
        """Call the plugin about a NIC."""
        self._touched.add(slot)
        return self.serve(command, self.configuration(slot), **options)

    def serve(
        self, command: str, config: Mapping[str, object], **options: Unpack[CallOptions]
    ) -> Outcome:
        """Call the plugin in this process, which has imported everything already."""
        from amdcni_shim.__main__ import main

        stdin = io.BytesIO(json.dumps(config).encode())
        stdout, stderr = io.StringIO(), io.StringIO()
        status = main(environment_of(command, options), stdin, stdout, stderr)
        return Outcome(status, stdout.getvalue().encode(), stderr.getvalue())

    def add(self, slot: Slot, pod: Pod, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of ADD; the container ID defaults to the pod's name."""
        return self.call("ADD", slot, **_of_pod(pod, options))

    def added(self, slot: Slot, pod: Pod, **options: Unpack[CallOptions]) -> Any:
        """Return the result of an ADD that must succeed."""
        outcome = self.add(slot, pod, **options)
        assert outcome.succeeded, outcome
        return outcome.answer

    def delete(self, slot: Slot, pod: Pod, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of DEL, which names the pod's netns whether or not it still exists."""
        return self.call("DEL", slot, **_of_pod(pod, options))

    def start(self, command: str, slot: Slot, pod: Pod) -> Call:
        """Start the installed executable, as its own process."""
        self._touched.add(slot)
        given = _of_pod(pod, {})
        return start_plugin(self.host, command, PLUGIN, self.configuration(slot), **given)

    def configuration(self, slot: Slot) -> dict[str, object]:
        """Return the configuration that Multus derives from a NAD for a NIC."""
        plugin = {"cniVersion": "1.1.0", "name": "fabric", "type": "amd-host-device"}
        return {**plugin, "mover": self.mover, "deviceID": slot.bdf, "pciBusID": slot.bdf}

    def heal(self, status: int = 0) -> list[dict[str, Any]]:
        """Run `amdcni heal`, which ends with `status`, and return what it found and did."""
        from amdcni.cli import main

        stdout, stderr = io.StringIO(), io.StringIO()
        assert main(["heal", "--json"], stdout, stderr) == status, stderr.getvalue()
        found: list[dict[str, Any]] = json.loads(stdout.getvalue())
        return found


def _of_pod(pod: Pod, options: CallOptions) -> CallOptions:
    return {"container_id": pod.name, "netns": pod, **options}


def _is_at_rest(link: dict[str, Any]) -> bool:
    """Return whether a netdev has its carrier, and the address that the kernel then adds."""
    if "parentdev" not in link:
        return True
    addresses = link["addr_info"]
    has_link_local = any(address["local"].startswith("fe80:") for address in addresses)
    tentative = any("tentative" in address for address in addresses)
    return link["operstate"] == "UP" and has_link_local and not tentative
