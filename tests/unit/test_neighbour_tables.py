"""What a new netdev does about neighbours, which most network namespaces show only by netlink."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.core.names import IfName
from amdcni.effects.aspects import sysctls
from amdcni.effects.messages import neighbours
from amdcni.effects.rtnetlink import Reply, Request, Rtnetlink
from tests.unit.replies import decoded, message_of

USUAL = {
    "NDTPA_GC_STALETIME": 60_000,
    "NDTPA_LOCKTIME": 1000,
    "NDTPA_BASE_REACHABLE_TIME": 30_000,
    "NDTPA_UCAST_PROBES": 3,
}
STALE, LOCK = "ipv4/neigh/gc_stale_time", "ipv4/neigh/locktime"
NIC = Netdev(7, IfName("eth1"))
FILES = {"gc_stale_time": "60", "locktime": "99", "ucast_solicit": "3"}
"""What a kernel with 300 ticks a second shows of the same."""


def table(ifindex: int | None = None, **changed: int) -> Reply:
    """The kernel's message about new netdevs, or about one."""
    known = {} if ifindex is None else {"NDTPA_IFINDEX": ifindex}
    parameters = [*{**known, **USUAL, **changed}.items()]
    return message_of(ndtmsg(), NDTA_NAME="arp_cache", NDTA_PARMS={"attrs": parameters})


class FakeKernel(Rtnetlink):
    """It has tables of neighbours, or refuses to show them; its other sockets stay closed."""

    def __init__(self, *replies: Reply, refuses: bool = False) -> None:
        self.replies = list(replies)
        self.refuses = refuses

    def dump(self, request: Request, wanted: Callable[[Reply], bool] = bool) -> list[Reply]:
        if self.refuses:
            raise KernelRefused("the kernel refused a request")
        return self.replies


def test_parameters_are_those_of_one_netdev_or_of_a_new_one() -> None:
    new, values = neighbours.parameters_in(table())
    assert (new, values) == (
        None,
        {
            "base_reachable_time_ms": 30_000,
            "gc_stale_time": 60_000,
            "locktime": 1000,
            "ucast_solicit": 3,
        },
    )
    assert neighbours.parameters_in(table(7)) == (7, values)
    assert neighbours.parameters_in(message_of(ndtmsg(), NDTA_NAME="n")) == (None, {})


@pytest.mark.parametrize(("version", "family"), [(4, 2), (6, 10)])
def test_the_tables_of_one_family_are_asked_for(version: int, family: int) -> None:
    assert decoded(neighbours.tables_query(version), ndtmsg)["family"] == family


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is used as /proc/sys/net."""
    monkeypatch.setattr(sysctls, "_NET", str(tmp_path))
    return tmp_path


def fill(folder: Path, **values: str) -> None:
    folder.mkdir(parents=True)
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")


def test_files_say_what_a_new_netdev_gets_where_there_are_some(net: Path) -> None:
    fill(net / "ipv4/neigh/default", gc_stale_time="77")
    fill(net / "ipv4/neigh/eth1", **FILES)
    kernel = FakeKernel(table(), table(7))
    assert sysctls.defaults_of(kernel, [STALE, LOCK]) == {STALE: "77"}
    assert sysctls.read(kernel, NIC, None).sysctl_defaults == {STALE: "77"}


def test_what_netlink_shows_alike_of_a_new_netdev_is_the_same_in_a_file(net: Path) -> None:
    """Whatever the file says of it: it counts in other units, and rounds."""
    fill(net / "ipv4/neigh/eth1", **FILES)
    kernel = FakeKernel(table(), table(7, NDTPA_LOCKTIME=1003), table(8, NDTPA_UCAST_PROBES=4))
    usual = sysctls.read(kernel, NIC, None).sysctl_defaults
    assert usual == {STALE: "60", "ipv4/neigh/ucast_solicit": "3"}


@pytest.mark.usefixtures("net")
def test_netlink_says_what_a_new_netdev_gets_where_its_unit_is_known() -> None:
    kernel = FakeKernel(table(), table(7, NDTPA_GC_STALETIME=5))
    wanted = [STALE, LOCK, "ipv4/neigh/newer_than_this_version", "ipv4/conf/rp_filter"]
    assert sysctls.defaults_of(kernel, wanted) == {STALE: "60"}


def test_what_the_kernel_does_not_show_is_not_known(net: Path) -> None:
    fill(net / "ipv4/neigh/eth1", **FILES)
    kernel = FakeKernel(refuses=True)
    assert sysctls.defaults_of(kernel, [STALE]) == {}
    assert sysctls.read(kernel, NIC, None).sysctl_defaults == {}
