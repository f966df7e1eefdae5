"""The accounts that are possible after calls of a CNI plugin, killed or not.

`ends` says how a call may end, and `remnants` what a killed one may leave.  Neither asks the plugin
or the kernel.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import assert_never

from attrs import evolve, frozen

from tests.netns.account import (
    Account,
    Add,
    Bare,
    Call,
    Check,
    Collect,
    Delete,
    Heal,
    Home,
    Lent,
    Record,
    Reset,
    Sandbox,
    State,
    Status,
    Unfinished,
    Unmarked,
    Who,
)

INVALID_ENVIRONMENT, UNKNOWN_CONTAINER, IO_FAILURE, TRY_AGAIN = 4, 3, 5, 11
NOT_AVAILABLE, PROTECTED, IFNAME_TAKEN, KERNEL_REFUSED, CHECK_FAILED = 50, 103, 104, 105, 108
DELEGATE_FAILED = 999
SOMETHING_NOT_HEALED = 1
"""The exit status of `amdcni heal`, which does not wait for other calls."""

# ---- how a call may end


@frozen
class End:
    """An error code, or None for success, and the account afterwards."""

    code: int | None
    account: Account


def ends(account: Account, call: Call) -> Iterator[End]:
    """Yield each way in which `call` may end if no other call is running."""
    match call:
        case Add():
            yield from _ends_of_add(account, call)
        case Delete(by, nic):
            own = account.lent_to({account.who(by)})
            # It holds two only after a kill; then only the one that is named is released.
            released = own & {nic} or own
            for beside in _healed_beside(account.released(released)):
                yield End(None, beside)
        case Check(_, by):
            who = account.who(by)
            held = [s for s in account.nics.values() if not isinstance(s, Home) and s.who == who]
            if not any(isinstance(state, Lent) for state in held):
                yield End(CHECK_FAILED if held else UNKNOWN_CONTAINER, account)
            if any(isinstance(state, Lent | Unmarked | Reset) for state in held):
                yield End(None, account)
        case Status() if account.disk_full:
            yield End(NOT_AVAILABLE, account)
        case Collect(frozenset() as spared):
            kept = {account.who(someone) for someone in spared}
            stale = account.lent_to(account.holders() - kept)
            yield from _ends_of_healing(account.released(stale), call)
        case Collect() | Heal() | Status():
            yield from _ends_of_healing(account, call)
        case _:
            assert_never(call)


def _ends_of_healing(account: Account, call: Call) -> Iterator[End]:
    healed = account.healed(Unfinished, Bare)
    for again in _attached_again(healed, begun_alone=False):
        # Whether an unmarked one is healed depends on whether it is still in its pod.
        for ended in (again, again.healed(Unmarked)):
            yield End(None, ended)
            if isinstance(call, Heal) and account.disk_full:
                yield End(SOMETHING_NOT_HEALED, ended)


def _healed_beside(account: Account) -> Iterator[Account]:
    """Yield what may become of the other NICs in a call about one."""
    yield from _attached_again(account.healed(Unfinished), begun_alone=True)


def _attached_again(account: Account, *, begun_alone: bool) -> Iterator[Account]:
    """Yield the account with the NICs in their pods that were reset.

    On a full disk they may be anywhere, whatever the records say.
    """
    if not account.disk_full:
        yield account.attached_again(begun_alone=begun_alone)
        return
    resets = {nic: s for nic, s in account.nics.items() if isinstance(s, Reset)}
    for begun in product((False, True), repeat=len(resets)):
        states = {nic: evolve(resets[nic], begun=b) for nic, b in zip(resets, begun, strict=True)}
        yield account.having(**states)


def _ends_of_add(account: Account, call: Add) -> Iterator[End]:
    who = account.who(call.by)
    if not is_alive(who, account):
        yield End(INVALID_ENVIRONMENT, account)
        return
    for healed in _healed_beside(account):
        yield from _ends_of_add_after_healing(account, healed, who, call)


def _ends_of_add_after_healing(
    account: Account, healed: Account, who: Who, call: Add
) -> Iterator[End]:
    match healed.nics[call.nic]:
        case Lent(holder) if holder == who:
            yield End(None, healed)
            return
        case Lent():
            yield End(TRY_AGAIN, healed)
            return
        case Reset(holder) if holder != who:
            # That it is held is found out only once the pod has been looked at.
            if Lent(who) not in healed.nics.values():
                yield End(TRY_AGAIN, healed)
            if {Lent(who), Unmarked(who)} & set(healed.nics.values()):
                yield End(IFNAME_TAKEN, healed)
            return
        case Reset():
            # If it is in its pod by now, this very ADD has been done.
            yield End(None, healed.having(**{call.nic: Lent(who)}))
        case Unmarked(holder) if holder != who:
            yield End(TRY_AGAIN, healed)
        case _:
            pass
    home = healed.having(**{call.nic: Home()})
    if Lent(who) in home.nics.values():
        yield End(IFNAME_TAKEN, home)
        return
    if Unmarked(who) in home.nics.values():
        yield End(IFNAME_TAKEN, home)
    if call.nic in account.carrying:
        yield End(PROTECTED, home)
        return
    if account.disk_full:
        yield End(IO_FAILURE, home)
    # A record that was removed has left space.
    if not account.disk_full or home.nics != account.nics:
        yield End(None, home.having(**{call.nic: Lent(who)}))


def is_alive(who: Who, account: Account) -> bool:
    """Return whether the pod's netns is still that of the container."""
    return who.pod in account.alive and who == account.who(Sandbox(who.pod, who.ifname))


def explanations(
    account: Account, calls: Sequence[Call], codes: Sequence[int | None]
) -> list[Account]:
    """Return what `account` may be if these calls, made at once, ended with these codes.

    Calls about a NIC exclude each other, so the outcome is that of some order.
    """
    found = []
    for order in permutations(zip(calls, codes, strict=True)):
        accounts = [account]
        for call, code in order:
            accounts = [
                end.account
                for at in accounts
                for end in (*ends(at, call), *_ends_beside_healing(account, at, call, len(calls)))
                if end.code == code or (len(calls) > 1 and may_differ(call, end, code))
            ]
        found += accounts
    return found


def _ends_beside_healing(before: Account, at: Account, call: Call, calls: int) -> Iterator[End]:
    """Yield how an ADD may end while another call brings home what has its ifname in the pod.

    It does not wait for that call, which is about another device.  Nor does healing wait for any.
    """
    for end in ends(at, call) if calls > 1 else ():
        # What was not attached again is busy.
        resets = {n: s for n, s in at.nics.items() if isinstance(s, Reset)}
        busy = {n: s for n, s in resets.items() if end.account.nics[n] == Lent(s.who)}
        if busy and not (isinstance(call, Add) and call.nic in busy):
            yield evolve(end, account=end.account.having(**busy))
    if isinstance(call, Add) and calls > 1:
        who = before.who(call.by)
        if is_alive(who, before) and Unfinished(who) in before.nics.values():
            yield End(IFNAME_TAKEN, at.healed(Unfinished))


def may_differ(call: Call, end: End, code: int | None) -> bool:
    """Return whether a call among others may end with another code, but the same account.

    A CHECK may find anything, and `amdcni heal` waits for no call.  An ifname that is free when an
    ADD looks may be taken when it moves the NIC; then the error is the kernel's or the delegate's.
    """
    late = end.code == IFNAME_TAKEN and code in (KERNEL_REFUSED, DELEGATE_FAILED)
    busy = isinstance(call, Heal) and code == SOMETHING_NOT_HEALED
    return isinstance(call, Check) or busy or late


# ---- what a kill may leave


def remnants(account: Account, call: Call, nic: str, record: Record | None) -> State | None:
    """Return a NIC's state by its `record` after `call` was killed; None if it is impossible."""
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
    names = (record.container_id, record.ifname)
    if (
        isinstance(before, Lent | Bare | Unmarked | Reset)
        and _names(before.who) == names
        and record.finished
    ):
        # On a full disk, the release begins without being recorded.
        unmarked = isinstance(before, Lent | Reset) and given_back and account.disk_full
        return Unmarked(before.who) if unmarked else _without_a_record_of_work(before)
    for state in states:
        if not isinstance(state, Home) and _names(state.who) == names:
            if record.again:
                return Reset(state.who, begun=True)
            return state if record.finished else Unfinished(state.who)
    return None


def _without_a_record_of_work(state: State) -> State:
    return Reset(state.who) if isinstance(state, Reset) else state


def _names(who: Who) -> tuple[str, str]:
    return who.container_id, who.ifname


def matching(accounts: Iterable[Account], records: Mapping[str, Record]) -> Account | None:
    """Return the account that agrees with the records on disk."""
    return next((account for account in accounts if account.records() == records), None)
