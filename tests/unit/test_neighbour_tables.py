"""What a new netdev does about neighbours, which most network namespaces show only by netlink."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from amdcni.core.errors import KernelRefused
from amdcni.effects.aspects import sysctls
from amdcni.effects.messages import neighbour_tables
from amdcni.effects.rtnetlink import Reply, Request, Rtnetlink
from tests.unit.replies import decoded, message_of

USUAL = [
    ("NDTPA_GC_STALETIME", 60_000),
    ("NDTPA_LOCKTIME", 1000),
    ("NDTPA_BASE_REACHABLE_TIME", 30_000),
    ("NDTPA_UCAST_PROBES", 3),
]
STALE, LOCK = "ipv4/neigh/gc_stale_time", "ipv4/neigh/locktime"
SYSCTLS = {
    "base_reachable_time_ms": "30000",
    "gc_stale_time": "60",
    "locktime": "100",
    "ucast_solicit": "3",
}


def table(*parameters: tuple[str, int]) -> Reply:
    return message_of(ndtmsg(), NDTA_NAME="arp_cache", NDTA_PARMS={"attrs": list(parameters)})


class FakeKernel(Rtnetlink):
    """It has tables of neighbours, or refuses to show them; its other sockets stay closed."""

    def __init__(self, *replies: Reply, refuses: bool = False) -> None:
        self.replies = list(replies)
        self.refuses = refuses

    def dump(self, request: Request, wanted: Callable[[Reply], bool] = bool) -> list[Reply]:
        if self.refuses:
            raise KernelRefused("the kernel refused a request")
        return self.replies


def test_each_parameter_is_read_in_the_unit_of_its_sysctl() -> None:
    assert neighbour_tables.sysctls_of(table(*USUAL)) == SYSCTLS


def test_the_parameters_of_one_netdev_are_not_those_of_a_new_one() -> None:
    assert neighbour_tables.sysctls_of(table(("NDTPA_IFINDEX", 1), *USUAL)) == {}
    assert neighbour_tables.sysctls_of(message_of(ndtmsg(), NDTA_NAME="arp_cache")) == {}


@pytest.mark.parametrize(("version", "family"), [(4, 2), (6, 10)])
def test_the_tables_of_one_family_are_asked_for(version: int, family: int) -> None:
    assert decoded(neighbour_tables.query(version), ndtmsg)["family"] == family


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is used as /proc/sys/net."""
    monkeypatch.setattr(sysctls, "_NET", str(tmp_path))
    return tmp_path


def test_files_say_what_a_new_netdev_gets_where_there_are_some(net: Path) -> None:
    default = net / "ipv4/neigh/default"
    default.mkdir(parents=True)
    (default / "gc_stale_time").write_text("77\n")
    assert sysctls.defaults_of(FakeKernel(table(*USUAL)), [STALE, LOCK]) == {STALE: "77"}


@pytest.mark.usefixtures("net")
def test_netlink_says_what_a_new_netdev_gets_where_there_are_no_files() -> None:
    kernel = FakeKernel(table(*USUAL), table(("NDTPA_IFINDEX", 1), ("NDTPA_LOCKTIME", 5)))
    wanted = [STALE, LOCK, "ipv4/neigh/newer_than_this_version", "ipv4/conf/rp_filter"]
    assert sysctls.defaults_of(kernel, wanted) == {STALE: "60", LOCK: "100"}


@pytest.mark.usefixtures("net")
def test_what_the_kernel_does_not_show_is_not_known() -> None:
    assert sysctls.defaults_of(FakeKernel(refuses=True), [STALE]) == {}
