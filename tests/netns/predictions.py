"""What may have become of an account after calls of a CNI plugin, killed or not.

`ends` says how a call may end, and `remnants` what one that was killed may leave.  Neither the
plugin nor the kernel is asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import assert_never

from attrs import frozen

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
"""The exit status of `amdcni heal`, which waits for no other call."""

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
        case Delete(by, nic):
            own = account.lent_to({account.who(by)})
            # Only a call that was killed makes it hold two; what is named goes alone then.
            released = own & {nic} or own
            yield End(None, account.released(released).healed(Unfinished))
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
            yield from _ends_of_healing(account.released(account.lent_to(account.holders() - kept)))
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
