"""Any sequence of calls, kills and misfortunes: what was on the host before ADD is never lost."""

import ipaddress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from amdcni.core.errors import AmdcniError
from amdcni.core.host import Address
from amdcni.core.spec import Verb
from tests.unit.fake_node import HOST_LOCAL, Keeper, Killed, Machine, ask, config_for

NICS = ("0000:01:00.0", "0000:02:00.0")
PODS = ("pod1", "pod2", "pod3")
IFNAMES = ("net1", "net2")
LONGEST_CALL = 60
"""More moments than any call has."""

nics = st.sampled_from(NICS)
pods = st.sampled_from(PODS)
ifnames = st.sampled_from(IFNAMES)
ipams = st.sampled_from([None, HOST_LOCAL])
kills = st.none() | st.integers(0, LONGEST_CALL)


def path_of(pod: str) -> str:
    return f"/run/netns/{pod}"


class Sequences(RuleBasedStateMachine):
    """A node with NICs and pods; at each moment of each call the keepers look at the NICs."""

    @initialize()
    def start(self) -> None:
        self.machine = Machine()
        self.kernel = self.machine.kernel
        self.keepers = []
        for number, nic in enumerate(NICS, 1):
            (link,) = self.kernel.plug(nic, f"ens{number}").links
            texts = (f"192.0.2.{2 * number}/31", f"fd00:{number}::1/64", f"fd00:{number}::2/64")
            addresses = tuple(Address(ipaddress.ip_interface(text)) for text in texts)
            self.kernel.configure(link, addresses, alias=f"rail {number}")
            self.keepers.append(Keeper(self.machine, link))
        for pod in PODS:
            self.kernel.make_netns(path_of(pod))

    def call(
        self,
        verb: Verb,
        nic: str | None,
        pod: str,
        ifname: str,
        kill_at: int | None = None,
        *,
        netns: bool = True,
        **keys: Any,
    ) -> bool:
        """Whether the call succeeded; it may be refused or killed, and nothing else."""
        try:
            ask(
                self.machine,
                verb,
                config_for(nic, **keys),
                container=pod,
                ifname=ifname,
                netns=path_of(pod) if netns else None,
                kill_at=kill_at,
            )
        except AmdcniError:
            return False
        except Killed:
            return False
        return True

    def holders(self) -> list[dict[str, str]]:
        return [record["id"] for record in self.machine.disk.records().values()]

    @rule(nic=nics, pod=pods, ifname=ifnames, ipam=ipams, kill_at=kills)
    def add(self, nic: str, pod: str, ifname: str, ipam: object, kill_at: int | None) -> None:
        if self.call(Verb.ADD, nic, pod, ifname, kill_at, ipam=ipam):
            link = self.kernel.functions[nic].links[0]
            assert (link.space, link.name) == (self.kernel.paths[path_of(pod)], ifname)

    @rule(nic=st.none() | nics, pod=pods, ifname=ifnames, netns=st.booleans(), kill_at=kills)
    def delete(
        self, nic: str | None, pod: str, ifname: str, netns: bool, kill_at: int | None
    ) -> None:
        if self.call(Verb.DEL, nic, pod, ifname, kill_at, netns=netns):
            assert {"containerID": pod, "ifname": ifname} not in self.holders()

    @rule(valid=st.sets(st.tuples(pods, ifnames)), kill_at=kills)
    def gc(self, valid: set[tuple[str, str]], kill_at: int | None) -> None:
        listed = [{"containerID": pod, "ifname": ifname} for pod, ifname in sorted(valid)]
        keys: dict[str, Any] = {"cni.dev/valid-attachments": listed}
        if self.call(Verb.GC, None, "pod1", "net1", kill_at, **keys):
            assert all(holder in listed for holder in self.holders())

    @rule(pod=pods)
    def a_pod_dies_and_its_path_is_used_again(self, pod: str) -> None:
        self.kernel.destroy_netns(self.kernel.paths[path_of(pod)])
        self.kernel.make_netns(path_of(pod))

    @rule(full=st.booleans(), read_only=st.booleans())
    def the_disk_changes(self, full: bool, read_only: bool) -> None:
        self.machine.disk.full, self.machine.disk.read_only = full, read_only

    @rule(number=st.integers(1, len(NICS)), refused=st.booleans())
    def the_host_refuses_an_address_or_takes_it_again(self, number: int, refused: bool) -> None:
        self.keepers[number - 1].order_matters = False
        change = self.kernel.host.refused.add if refused else self.kernel.host.refused.discard
        change(f"fd00:{number}::1/64")

    @rule(number=st.integers(1, len(NICS)))
    def a_stranger_comes_or_goes(self, number: int) -> None:
        stranger = self.kernel.host.find(f"ens{number}")
        if stranger is None:
            self.kernel.add_link(f"ens{number}", "bridge")
        elif stranger.function is None:
            self.kernel.remove_link(stranger)

    @invariant()
    def nothing_was_lost_at_any_moment(self) -> None:
        assert self.kernel.violations == []

    @invariant()
    def no_stranger_has_got_an_address(self) -> None:
        strangers = [link for link in self.kernel.host.links if link.function is None]
        assert [own for link in strangers for own in link.addresses if not own.by_kernel] == []

    def teardown(self) -> None:
        """All misfortunes end, every attachment is deleted: the host is whole."""
        self.the_disk_changes(full=False, read_only=False)
        self.kernel.host.refused.clear()
        for pod in PODS:
            for ifname in IFNAMES:
                assert self.call(Verb.DEL, None, pod, ifname)
        assert [keeper.is_whole() for keeper in self.keepers] == [True] * len(NICS)
        assert (self.machine.disk.files, self.machine.disk.markers) == ({}, set())
        assert self.machine.plugins.leases == {}
        self.nothing_was_lost_at_any_moment()


TestSequences = Sequences.TestCase
TestSequences.settings = settings(stateful_step_count=20)
