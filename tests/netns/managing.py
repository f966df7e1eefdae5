"""Real network managers on a throwaway node, from Debian's packages, which are not installed.

They run as on a machine, but in mounts of their own, without udev and without systemd.
"""

import fcntl
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from amdcni.testing import Node
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT
from tests.debian import NotHere, lacking, run, unpack
from tests.patience import wait_until

CACHE: Final = Path(__file__).parents[2] / ".managers"
_PACKAGES: Final = ("network-manager", "systemd", "dbus")
_LIBRARIES: Final = ("usr/lib/{}", "lib/{}", "usr/lib/{}/systemd", "lib/systemd")

_IN_ITS_OWN_MOUNTS: Final = """
set -e
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/NetworkManager
for folder in /etc/NetworkManager /etc/systemd/network; do
    [ ! -d $folder ] || mount -t tmpfs tmpfs $folder
done
mount --bind /run/manager/passwd /etc/passwd
mount -o remount,bind,ro /sys
exec "$@" > "$0" 2>&1
"""
"""What a manager writes is private; it does not wait for udev if /sys is read-only."""

_BUS: Final = """<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""

_NETWORK_MANAGER: Final = """[main]
plugins=keyfile
dns=none
no-auto-default=*
auth-polkit=false
[device-veth]
match-device=type:veth
managed=1
[keyfile]
path=/run/manager/connections
unmanaged-devices=except:interface-name:eth*
"""

_PROFILE: Final = """[connection]
id={ifname}
uuid=0b0fc96f-14e7-4b1c-a0ba-2f1d3a3f6b1{number}
type=ethernet
interface-name={ifname}
[ethernet]
mtu=4220
[ipv4]
method=manual
address1={own}/31
route1=0.0.0.0/0,{peer}
route1_options=table=10{number}
route-metric={metric}
routing-rule1=priority 1010 from {own} table 10{number}
never-default=true
[ipv6]
method=disabled
"""
"""A NIC as AMD's guide configures it with nmcli."""

_NETWORK: Final = """[Match]
Name={ifname}
[Link]
MTUBytes=4220
[Network]
Address={own}/31
LinkLocalAddressing=no
IPv6AcceptRA=no
ConfigureWithoutCarrier=yes
[Route]
Gateway={peer}
Table=10{number}
[RoutingPolicyRule]
From={own}
Table=10{number}
Priority=1010
"""
"""The same for systemd-networkd."""


@frozen
class Unpacked:
    """The folder that the packages are unpacked into."""

    root: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment in which the programs find their libraries."""
        triplet = f"{platform.machine()}-linux-gnu"
        folders = [str(self.root / each.format(triplet)) for each in _LIBRARIES]
        programs = [str(self.root / each) for each in ("usr/bin", "usr/sbin", "lib/systemd")]
        path = ":".join([*programs, PLAIN_ENVIRONMENT["PATH"], "/lib/systemd"])
        return {**PLAIN_ENVIRONMENT, "PATH": path, "LD_LIBRARY_PATH": ":".join(folders)}


def unpacked() -> Unpacked:
    """Return the unpacked packages, downloaded if they are not there yet.

    Raises:
        NotHere: this computer cannot download or run them.
    """
    if os.geteuid() != 0:
        raise NotHere("network managers need root")
    CACHE.mkdir(exist_ok=True)
    found, complete = Unpacked(CACHE / "root"), CACHE / "complete"
    with (CACHE / "lock").open("w") as lock:
        # One session at a time in a checkout downloads.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            unpack(lambda: lacking(*_PACKAGES), found.root)
            complete.touch()
    for program in ("NetworkManager", "systemd-networkd", "dbus-daemon"):
        run(["env", program, "--version"], environment=found.environment)
    return found


@frozen
class Rail:
    """A NIC as AMD's guide configures it: /31, a default route and a rule in its own table.

    The metric of the route is NetworkManager's choice if it is -1.
    """

    number: int
    metric: int = -1

    @property
    def words(self) -> dict[str, object]:
        """What the configuration of a manager says of it."""
        network = f"192.168.{self.number}"
        ends = {"own": f"{network}.1", "peer": f"{network}.0"}
        own = {"number": self.number, "ifname": f"eth{self.number}", "metric": self.metric}
        return {**own, **ends}


@contextmanager
def network_manager(node: Node, packages: Unpacked, rails: Iterable[Rail]) -> Iterator[None]:
    """NetworkManager with a bus of its own manages the NICs."""
    folder = _prepared(node)
    (folder / "bus.conf").write_text(_BUS)
    (folder / "NetworkManager.conf").write_text(_NETWORK_MANAGER)
    (folder / "connections").mkdir()
    for rail in rails:
        profile = folder / "connections" / f"{rail.number}.nmconnection"
        profile.write_text(_PROFILE.format(**rail.words))
        profile.chmod(0o600)
    (node.root / "run/dbus").mkdir()
    bus = ("dbus-daemon", "--config-file=/run/manager/bus.conf", "--nofork", "--nopidfile")
    configuration = ("--config=/run/manager/NetworkManager.conf", "--config-dir=/run/manager/none")
    with _running(node, packages, "bus", *bus):
        wait_until((node.root / "run/dbus/system_bus_socket").exists, "the bus listens")
        with _running(node, packages, "NetworkManager", *_NM, *configuration):
            yield


_NM: Final = ("NetworkManager", "--no-daemon")


@contextmanager
def networkd(node: Node, packages: Unpacked, rails: Iterable[Rail]) -> Iterator[None]:
    """systemd-networkd manages the NICs."""
    _prepared(node)
    configured = node.root / "run/systemd/network"
    configured.mkdir(parents=True)
    for rail in rails:
        file = configured / f"10-{rail.number}.network"
        file.write_text(_NETWORK.format(**rail.words))
    (node.root / "run/systemd/netif").mkdir()
    with _running(node, packages, "networkd", "systemd-networkd"):
        yield


MANAGERS: Final = {"NetworkManager": network_manager, "systemd-networkd": networkd}


@contextmanager
def _running(node: Node, packages: Unpacked, log: str, *argv: str) -> Iterator[None]:
    """A program of the packages at work, in mounts of its own; it ends with this process."""
    outside = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount")
    inside = ("sh", "-c", _IN_ITS_OWN_MOUNTS, f"/run/manager/{log}.log")
    with node.start([*outside, *inside, *argv], env=packages.environment) as process:
        try:
            yield
        finally:
            process.kill()


def _prepared(node: Node) -> Path:
    """The folder /run/manager of the node, made now, as a test sees it."""
    folder = node.root / "run/manager"
    folder.mkdir()
    known = Path("/etc/passwd").read_text()
    user = "systemd-network:x:998:998::/:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(known if "systemd-network:" in known else known + user)
    return folder
