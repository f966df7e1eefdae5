"""Which sysctls of the host a netdev gets in a pod."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.aspects.change import Stage
from amdcni.core.aspects.sysctls import SeenSysctls, SetSysctl
from amdcni.core.host import Address, Values
from amdcni.core.pod_sysctls import due_in_pod, pod_sysctls
from amdcni.core.request import AddrGenMode, Device, DeviceSelector
from amdcni.testing import strategies as some

MODE = "ipv6/conf/addr_gen_mode"
SECRET = "ipv6/conf/stable_secret"
LINK_LOCAL = Address(ipaddress.ip_interface("fe80::7/64"))
GLOBAL = Address(ipaddress.ip_interface("fd00::7/64"))

GOES = (
    *("ipv4/conf/arp_ignore", "ipv4/conf/arp_announce", "ipv4/conf/arp_filter"),
    *("ipv4/conf/rp_filter", "ipv4/conf/accept_local", "ipv4/conf/newer_than_this_version"),
    *("ipv4/neigh/gc_stale_time", "ipv6/neigh/ucast_solicit"),
    *("ipv6/conf/accept_ra", "ipv6/conf/autoconf", "ipv6/conf/accept_dad"),
)
STAYS = (
    *("ipv4/conf/forwarding", "ipv6/conf/forwarding", "ipv4/conf/bc_forwarding"),
    *("ipv4/conf/proxy_arp", "ipv6/conf/proxy_ndp", "ipv4/conf/route_localnet"),
    *("ipv4/conf/accept_source_route", "ipv6/conf/accept_source_route"),
    *("ipv4/conf/disable_policy", "ipv4/conf/disable_xfrm", "ipv6/conf/seg6_enabled"),
    *("mpls/conf/input", "ipv6/conf/disable_ipv6", "ipv6/conf/mtu", SECRET, MODE),
)

hosts: SearchStrategy[Values] = st.dictionaries(
    st.sampled_from([*GOES, *STAYS]), st.sampled_from(["0", "1", "2", "3"])
)
modes = st.sampled_from(AddrGenMode)
addresses = st.lists(st.sampled_from([LINK_LOCAL, GLOBAL]), unique=True)


def device(mode: AddrGenMode = AddrGenMode.KEEP, *, copied: bool = False) -> Device:
    return Device(DeviceSelector(), addr_gen_mode=mode, copy_sysctls=copied)


# ---- copySysctls


@given(hosts, addresses, modes)
def test_the_pod_gets_what_the_host_had_but_not_what_makes_a_router_or_is_decided_elsewhere(
    host: Values, there: list[Address], mode: AddrGenMode
) -> None:
    without = pod_sysctls(SeenSysctls(sysctls=host), there, device(mode))
    wanted = pod_sysctls(SeenSysctls(sysctls=host), there, device(mode, copied=True))
    assert wanted == {**{name: host[name] for name in GOES if name in host}, **without}
    assert without.keys() <= {MODE, SECRET}


# ---- addrGenMode


@given(hosts, addresses, st.booleans())
def test_the_kernels_mode_sets_none(host: Values, there: list[Address], copied: bool) -> None:
    asked = device(AddrGenMode.KERNEL, copied=copied)
    assert {MODE, SECRET}.isdisjoint(pod_sysctls(SeenSysctls(sysctls=host), there, asked))


@pytest.mark.parametrize(
    ("host", "there", "wanted"),
    [
        ({MODE: "0"}, [LINK_LOCAL], {MODE: "0"}),
        ({MODE: "0"}, [], {MODE: "0"}),
        ({MODE: "1"}, [], {MODE: "1"}),
        ({MODE: "1"}, [GLOBAL], {MODE: "1"}),
        ({MODE: "1"}, [LINK_LOCAL, GLOBAL], {MODE: "0"}),
        ({MODE: "2", SECRET: "::5"}, [LINK_LOCAL], {SECRET: "::5", MODE: "2"}),
        ({MODE: "3", SECRET: "::5"}, [LINK_LOCAL], {SECRET: "::5", MODE: "3"}),
        ({MODE: "2"}, [LINK_LOCAL], {MODE: "3"}),
        ({MODE: "3"}, [LINK_LOCAL], {MODE: "3"}),
        ({MODE: "0", SECRET: "::5"}, [LINK_LOCAL], {MODE: "0"}),
        ({MODE: "0", "ipv6/conf/disable_ipv6": "1"}, [], {MODE: "1"}),
        ({MODE: "2", SECRET: "::5", "ipv6/conf/disable_ipv6": "1"}, [], {MODE: "1"}),
        ({MODE: "0", "ipv6/conf/disable_ipv6": "0"}, [], {MODE: "0"}),
        ({}, [], {}),
        ({SECRET: "::5"}, [], {}),
    ],
    ids=str,
)
def test_the_pod_gets_one_link_local_address_where_the_host_makes_or_has_one(
    host: Values, there: list[Address], wanted: Values
) -> None:
    assert pod_sysctls(SeenSysctls(sysctls=host), there, device()) == wanted


@pytest.mark.parametrize("mode", ["2", "3"])
def test_the_secret_of_the_whole_host_does_not_go_into_a_pod(mode: str) -> None:
    seen = SeenSysctls(sysctls={MODE: mode, SECRET: "::5"}, sysctl_defaults={SECRET: "::5"})
    assert pod_sysctls(seen, [LINK_LOCAL], device()) == {MODE: "3"}


@given(hosts, addresses)
def test_a_secret_goes_along_only_for_the_modes_that_need_it(
    host: Values, there: list[Address]
) -> None:
    wanted = pod_sysctls(SeenSysctls(sysctls=host), there, device())
    if SECRET in wanted:
        assert wanted[SECRET] == host[SECRET]
        assert wanted[MODE] == host[MODE]
        assert wanted[MODE] in ("2", "3")
    assert wanted.get(MODE) != "2" or SECRET in wanted


# ---- what is set


class _Kernel:
    """The sysctls of a netdev that has just come into the pod."""

    def __init__(self, usual: Values) -> None:
        self.has = dict(usual)

    def set(self, name: str, value: int | str) -> None:
        self.has[name] = value
        if name == SECRET:
            self.has[MODE] = "2"


@given(some.sysctls, some.sysctls)
def test_afterwards_the_netdev_has_all_that_is_wanted(wanted: Values, usual: Values) -> None:
    kernel = _Kernel(usual)
    changes = due_in_pod(wanted, usual)
    for change in changes:
        kernel.set(change.name, change.value)
    assert wanted.items() <= kernel.has.items()
    assert {change.name for change in changes} <= wanted.keys()
    assert not [c for c in changes if c.name != MODE and usual.get(c.name) == c.value]


@given(some.sysctls)
def test_nothing_is_set_where_a_new_netdev_has_it_all(wanted: Values) -> None:
    assert due_in_pod(wanted, {"ipv4/conf/rp_filter": "7", **wanted}) == []


def test_what_a_secret_sets_as_well_is_set_after_it_even_if_it_is_usual() -> None:
    wanted: Values = {"ipv4/conf/rp_filter": "1", MODE: "2", SECRET: "fd00::1"}
    usual: Values = {"ipv4/conf/rp_filter": "1", MODE: "2"}
    assert due_in_pod(wanted, usual) == [
        SetSysctl(SECRET, "fd00::1", None, Stage.DOWN),
        SetSysctl(MODE, "2", "2", Stage.DOWN),
    ]
