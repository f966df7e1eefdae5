"""What must have become of every NIC after calls of a CNI plugin, killed or not: a pure model.

An `Account` tells of each NIC where it is and what is on disk about it.  `ends` says how a call may
end, and `remnants` what one that was killed may leave.  Nothing here asks the plugin or the kernel.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import assert_never

from attrs import evolve, field, frozen

INVALID_ENVIRONMENT, UNKNOWN_CONTAINER, IO_FAILURE, TRY_AGAIN = 4, 3, 5, 11
NOT_AVAILABLE, IFNAME_TAKEN, KERNEL_REFUSED, CHECK_FAILED = 50, 104, 105, 108
DELEGATE_FAILED = 999
SOMETHING_NOT_HEALED = 1
"""The exit status of `amdcni heal`, which waits for no other call."""

# ---- who calls


@frozen
class Who:
    """An attachment, by a container's ID and the ifname, and the pod whose container it is."""

    container_id: str
    ifname: str
    pod: str

    def __str__(self) -> str:
        return f"{self.container_id}/{self.ifname}"


@frozen
class Sandbox:
    """The container of a pod, or one of those that were in the pod's place `earlier`."""

    pod: str
    ifname: str
    earlier: int = 0


@frozen
class Holder:
    """Whoever has the NIC, or had it last."""

    nic: str


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
    """GC that spares some, or that comes without a list."""

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
    """On the host, exactly as in the beginning; there is no record."""


@frozen
class Lent:
    """In the pod under its ifname, up and with its addresses; the record says so."""

    who: Who


@frozen
class Bare:
    """On the host, after the death of the netns that had it; the record says that it is lent."""

    who: Who


@frozen
class Unfinished:
    """Anywhere: a call was killed at work, and the record says so."""

    who: Who


@frozen
class Unmarked:
    """Anywhere: a call was killed at giving it back, and had found no space to write that down."""

    who: Who


State = Home | Lent | Bare | Unfinished | Unmarked

Record = tuple[str, str, bool]
"""Container ID, ifname, and whether the work is finished."""


@frozen
class Account:
    """A node with the states of its NICs and with its pods, alive or dead, by their names."""

    nics: Mapping[str, State]
    alive: frozenset[str]
    containers: Mapping[str, int]
    """How many containers each pod has had so far."""
    latest: Mapping[str, Who] = field(factory=dict)
    """Who had each NIC last."""
    disk_full: bool = False

    def having(self, **states: State) -> "Account":
        """This account with other states of some NICs."""
        latest = {n: s.who for n, s in states.items() if not isinstance(s, Home)}
        return evolve(self, nics={**self.nics, **states}, latest={**self.latest, **latest})

    def who(self, someone: Someone) -> Who:
        match someone:
            case Who():
                return someone
            case Sandbox(pod, ifname, earlier):
                return Who(f"{pod}-{max(1, self.containers[pod] - earlier)}", ifname, pod)
            case Holder(nic):
                return self.latest.get(nic, Who("nobody", "net1", min(self.containers)))
            case _:
                assert_never(someone)

    def resolved(self, call: Call) -> Call:
        """The call with everyone by name; only a living container, or the last, asks for a NIC."""
        match call:
            case Add(_, by):
                who = self.who(by)
                return evolve(call, by=self.who(Sandbox(who.pod, who.ifname)))
            case Delete(by) | Check(_, by):
                return evolve(call, by=self.who(by))
            case Collect(frozenset() as spared):
                return Collect(frozenset(map(self.who, spared)))
            case _:
                return call

    def records(self) -> dict[str, Record]:
        """What is on disk, by NIC."""
        return {
            nic: (state.who.container_id, state.who.ifname, not isinstance(state, Unfinished))
            for nic, state in self.nics.items()
            if not isinstance(state, Home)
        }

    def pod_dies(self, pod: str) -> "Account":
        """Its NICs come home; what was unfinished stays so."""
        came = {
            nic: Bare(state.who)
            for nic, state in self.nics.items()
            if isinstance(state, Lent | Unmarked) and state.who.pod == pod
        }
        return evolve(self.having(**came), alive=self.alive - {pod})

    def pod_starts(self, pod: str) -> "Account":
        """With a container that has never been before."""
        containers = {**self.containers, pod: self.containers[pod] + 1}
        return evolve(self, alive=self.alive | {pod}, containers=containers)

    def holders(self) -> set[Who]:
        """Everyone of whom there is a record."""
        return {state.who for state in self.nics.values() if not isinstance(state, Home)}

    def released(self, holders: Collection[Who]) -> "Account":
        """With everything at home that these had."""
        return self.having(
            **{
                nic: Home()
                for nic, state in self.nics.items()
                if not isinstance(state, Home) and state.who in holders
            }
        )

    def healed(self, *kinds: type[State]) -> "Account":
        """With everything at home that was in one of these states."""
        return self.having(**{n: Home() for n, s in self.nics.items() if isinstance(s, kinds)})


# ---- how a call may end


@frozen
class End:
    """A code of an error, or None for success, and what has become of the NICs."""

    code: int | None
    account: Account


def ends(account: Account, call: Call) -> Iterator[End]:
    """Each way in which `call` may end if no other is at work."""
    match call:
        case Add():
            yield from _ends_of_add(account, call)
        case Delete(by):
            who = account.who(by)
            yield End(None, account.released(account.holders() & {who}).healed(Unfinished))
        case Check(_, by):
            who = account.who(by)
            held = [s for s in account.nics.values() if not isinstance(s, Home) and s.who == who]
            if not any(isinstance(state, Lent) for state in held):
                yield End(CHECK_FAILED if held else UNKNOWN_CONTAINER, account)
            if any(isinstance(state, Lent | Unmarked) for state in held):
                yield End(None, account)
        case Status() if account.disk_full:
            yield End(NOT_AVAILABLE, account)
        case Collect(frozenset() as spared):
            kept = {account.who(someone) for someone in spared}
            yield from _ends_of_healing(account.released(account.holders() - kept))
        case Collect() | Heal() | Status():
            yield from _ends_of_healing(account)
        case _:
            assert_never(call)


def _ends_of_healing(account: Account) -> Iterator[End]:
    healed = account.healed(Unfinished, Bare)
    yield End(None, healed)
    # Whether it is still in its pod is seen by the one who heals.
    yield End(None, healed.healed(Unmarked))


def _ends_of_add(account: Account, call: Add) -> Iterator[End]:
    who = account.who(call.by)
    if not is_alive(who, account):
        yield End(INVALID_ENVIRONMENT, account)
        return
    healed = account.healed(Unfinished)
    match healed.nics[call.nic]:
        case Lent(holder) if holder == who:
            yield End(None, healed)
            return
        case Lent():
            yield End(TRY_AGAIN, healed)
            return
        case Unmarked(holder) if holder != who:
            yield End(TRY_AGAIN, healed)
        case _:
            pass
    home = healed.having(**{call.nic: Home()})
    if any(state in (Lent(who), Unmarked(who)) for state in home.nics.values()):
        yield End(IFNAME_TAKEN, home)
        return
    if account.disk_full:
        yield End(IO_FAILURE, home)
    # A record that was forgotten has left space.
    if not account.disk_full or home.nics != account.nics:
        yield End(None, home.having(**{call.nic: Lent(who)}))


def is_alive(who: Who, account: Account) -> bool:
    """Whether the pod's netns is that of the container still."""
    return who.pod in account.alive and who == account.who(Sandbox(who.pod, who.ifname))


def explanations(
    account: Account, calls: Sequence[Call], codes: Sequence[int | None]
) -> list[Account]:
    """What may have become of `account` if these calls, all at once, ended with these codes.

    Calls about a NIC exclude each other, so that it is as if they had come in some order.
    """
    found = []
    for order in permutations(zip(calls, codes, strict=True)):
        accounts = [account]
        for call, code in order:
            accounts = [
                end.account
                for at in accounts
                for end in ends(at, call)
                if end.code == code or (len(calls) > 1 and may_differ(call, end, code))
            ]
        found += accounts
    return found


def may_differ(call: Call, end: End, code: int | None) -> bool:
    """Whether a call in the midst of others may end with another code, and the same account.

    A CHECK may find anything, and `amdcni heal` waits for nobody.  An ifname that is free when an
    ADD looks may be taken when it moves, which is the kernel's error then, or the delegate's.
    """
    late = end.code == IFNAME_TAKEN and code in (KERNEL_REFUSED, DELEGATE_FAILED)
    busy = isinstance(call, Heal) and code == SOMETHING_NOT_HEALED
    return isinstance(call, Check) or busy or late


# ---- what a kill may leave


def remnants(account: Account, call: Call, nic: str, record: Record | None) -> State | None:
    """The state of a NIC by its `record` after `call` was killed; None if that must not be."""
    before = account.nics[nic]
    possible = list(ends(account, call))
    after = [end.account.nics[nic] for end in possible]
    given_back = any(state != before for state in after)
    begun = [
        Lent(account.who(call.by))
        for end in possible
        if isinstance(call, Add) and call.nic == nic and end.code in (None, IO_FAILURE)
    ]
    states = {before, *after, *begun} if given_back or begun else {before}
    if record is None:
        return Home() if given_back or Home() in states else None
    container_id, ifname, finished = record
    if (
        isinstance(before, Lent | Bare | Unmarked)
        and _names(before.who) == (container_id, ifname)
        and finished
    ):
        # On a full disk, the release begins without a mark.
        unmarked = isinstance(before, Lent) and given_back and account.disk_full
        return Unmarked(before.who) if unmarked else before
    for state in states:
        if not isinstance(state, Home) and _names(state.who) == (container_id, ifname):
            return state if finished else Unfinished(state.who)
    return None


def _names(who: Who) -> tuple[str, str]:
    return who.container_id, who.ifname


def matching(accounts: Iterable[Account], records: Mapping[str, Record]) -> Account | None:
    """The account that says the same as the disk."""
    return next((account for account in accounts if account.records() == records), None)
