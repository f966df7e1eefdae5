"""A pure model of a node with a CNI plugin: who calls what, and where every NIC is.

An `Account` says where each NIC is and what is on disk about it.
"""

from collections.abc import Collection, Mapping
from typing import assert_never

from attrs import evolve, field, frozen

# ---- who calls


@frozen
class Who:
    """An attachment, that is, container ID and ifname, and the pod that the container is of."""

    container_id: str
    ifname: str
    pod: str

    def __str__(self) -> str:
        return f"{self.container_id}/{self.ifname}"


@frozen
class Sandbox:
    """The container of a pod, or one of those that the pod had `earlier`."""

    pod: str
    ifname: str
    earlier: int = 0


@frozen
class Holder:
    """The holder of the NIC, or one of those who had it `earlier`, the latest first."""

    nic: str
    earlier: int = 0


Someone = Who | Sandbox | Holder

# ---- what is called


@frozen
class Add:
    nic: str
    by: Someone
    mover: str

    def __str__(self) -> str:
        return f"ADD of {self.nic} for {self.by} ({self.mover})"


@frozen
class Delete:
    """DEL, with or without a device in the configuration and a netns in the environment."""

    by: Someone
    nic: str | None
    netns: bool

    def __str__(self) -> str:
        lacking = ["device"] * (self.nic is None) + ["netns"] * (not self.netns)
        return f"DEL of {self.by}" + (f" without {' or '.join(lacking)}" if lacking else "")


@frozen
class Check:
    nic: str
    by: Someone

    def __str__(self) -> str:
        return f"CHECK of {self.by}"


@frozen
class Collect:
    """GC that spares some attachments, or that has no list."""

    spared: frozenset[Someone] | None

    def __str__(self) -> str:
        if self.spared is None:
            return "GC without a list"
        return f"GC that spares {', '.join(sorted(map(str, self.spared))) or 'nobody'}"


@frozen
class Heal:
    """`amdcni heal`."""

    def __str__(self) -> str:
        return "amdcni heal"


@frozen
class Status:
    """STATUS, which heals too."""

    def __str__(self) -> str:
        return "STATUS"


Call = Add | Delete | Check | Collect | Heal | Status

# ---- where a NIC is


@frozen
class Home:
    """On the host, exactly as at the beginning; there is no record."""


@frozen
class Lent:
    """In the pod under its ifname, up and with its addresses; the record says that it is lent."""

    who: Who


@frozen
class Bare:
    """On the host, since the netns that had it died; the record says that it is lent."""

    who: Who


@frozen
class Unfinished:
    """Anywhere: a call was killed while it worked on it, and the record says so."""

    who: Who


@frozen
class Unmarked:
    """Anywhere: a call was killed while it returned it, and had had no space to record that."""

    who: Who


@frozen
class Reset:
    """Anywhere: its netdev was made anew on the host while its pod lives, and healing puts it back.

    `begun` is whether the record says that this was begun; it was then killed or refused.
    """

    who: Who
    begun: bool = False


State = Home | Lent | Bare | Unfinished | Unmarked | Reset


@frozen
class Record:
    """What a record on disk says: whose it is, and whether the work is finished.

    If it is not, it is `again` if the NIC is on its way into a pod that had it before.
    """

    container_id: str
    ifname: str
    finished: bool
    again: bool = False


@frozen
class Account:
    """A node: the states of its NICs and its pods, alive or dead, by their names."""

    nics: Mapping[str, State]
    alive: frozenset[str]
    containers: Mapping[str, int]
    """How many containers each pod has had so far."""
    history: Mapping[str, tuple[Who, ...]] = field(factory=dict)
    """Who has had each NIC, the latest first."""
    disk_full: bool = False
    carrying: Mapping[str, str] = field(factory=dict)
    """The netdev on top of each NIC that has one, as words for `ip link add`."""

    def having(self, **states: State) -> "Account":
        """Return this account with other states for some NICs."""
        history = dict(self.history)
        for nic, state in states.items():
            if not isinstance(state, Home):
                earlier = [who for who in history.get(nic, ()) if who != state.who]
                history[nic] = (state.who, *earlier)
        return evolve(self, nics={**self.nics, **states}, history=history)

    def who(self, someone: Someone) -> Who:
        match someone:
            case Who():
                return someone
            case Sandbox(pod, ifname, earlier):
                return Who(f"{pod}-{max(1, self.containers[pod] - earlier)}", ifname, pod)
            case Holder(nic, earlier):
                known = self.history.get(nic, ())
                if self.nics[nic] == Home():
                    earlier = max(0, earlier - 1)
                known = (*known, Who("nobody", "net1", min(self.containers)))
                return known[min(earlier, len(known) - 1)]
            case _:
                assert_never(someone)

    def resolved(self, call: Call) -> Call:
        """Return the call with everyone by name.

        Only a living container, or the last of its pod, asks for a NIC.  If the call means the
        holder of a NIC that nobody has, the holder of another NIC takes its place.
        """
        match call:
            case Delete(Holder(nic, 0), named) if nic not in self.records() and self.records():
                nic = min(self.records())
                return evolve(call, by=self.who(Holder(nic)), nic=nic if named else None)
            case Check(_, Holder(nic)) if nic not in self.records() and self.records():
                nic = min(self.records())
                return evolve(call, by=self.who(Holder(nic)), nic=nic)
            case Add(nic, by):
                who = self.who(by)
                who = self.who(Sandbox(who.pod, who.ifname))
                # A runtime does not use a name twice without a DEL.
                mine = [n for n, s in self.nics.items() if isinstance(s, Reset) and s.who == who]
                return evolve(call, by=who, nic=mine[0] if mine else nic)
            case Delete(by) | Check(_, by):
                return evolve(call, by=self.who(by))
            case Collect(frozenset() as spared):
                return Collect(frozenset(map(self.who, spared)))
            case _:
                return call

    def records(self) -> dict[str, Record]:
        """Return what is on disk, by NIC."""
        return {
            nic: record_in(state) for nic, state in self.nics.items() if not isinstance(state, Home)
        }

    def pod_dies(self, pod: str) -> "Account":
        """Return the account after a pod's death: its NICs are bare, unfinished ones stay so."""
        came = {
            nic: Unfinished(state.who)
            if isinstance(state, Reset) and state.begun
            else Bare(state.who)
            for nic, state in self.nics.items()
            if isinstance(state, Lent | Unmarked | Reset) and state.who.pod == pod
        }
        return evolve(self.having(**came), alive=self.alive - {pod})

    def pod_starts(self, pod: str) -> "Account":
        """Return the account after the start of a pod, with a container that is new."""
        containers = {**self.containers, pod: self.containers[pod] + 1}
        return evolve(self, alive=self.alive | {pod}, containers=containers)

    def holders(self) -> set[Who]:
        """Return everyone who has a record."""
        return {state.who for state in self.nics.values() if not isinstance(state, Home)}

    def lent_to(self, holders: Collection[Who]) -> set[str]:
        """Return the NICs whose records name these holders."""
        return {
            nic
            for nic, state in self.nics.items()
            if not isinstance(state, Home) and state.who in holders
        }

    def released(self, nics: Collection[str]) -> "Account":
        """Return this account with these NICs on the host."""
        return self.having(**{nic: Home() for nic in nics})

    def healed(self, *kinds: type[State]) -> "Account":
        """Return this account with every NIC on the host that was in one of these states."""
        return self.having(**{n: Home() for n, s in self.nics.items() if isinstance(s, kinds)})

    def attached_again(self, *, begun_alone: bool) -> "Account":
        """Return this account with every NIC in its pod that was reset."""
        return self.having(
            **{
                nic: Lent(state.who)
                for nic, state in self.nics.items()
                if isinstance(state, Reset) and (state.begun or not begun_alone)
            }
        )


def record_in(state: Lent | Bare | Unfinished | Unmarked | Reset) -> Record:
    """Return what is on disk about a NIC in this state."""
    again = isinstance(state, Reset) and state.begun
    finished = not (again or isinstance(state, Unfinished))
    return Record(state.who.container_id, state.who.ifname, finished, again)
