"""What the answer to a call has to be, where a clause is about it (CNI SPEC 1.1 §2 and §5)."""

from typing import Any

from amdcni.testing.cni import Outcome
from amdcni.testing.conformance.clauses import not_applicable, require


def require_success(outcome: Outcome) -> None:
    """Fail the clause unless the call succeeded, whatever it printed."""
    require(outcome.succeeded, f"the plugin failed where it had to succeed: {outcome}")


def require_failure(outcome: Outcome) -> None:
    """Fail the clause unless the call failed, whatever it printed."""
    require(not outcome.succeeded, f"the plugin succeeded where it had to fail: {outcome}")


def require_silence(outcome: Outcome) -> None:
    """Fail the clause if the call, which has to have succeeded, printed something."""
    if not outcome.succeeded:
        not_applicable(f"it needs a call that succeeds, and this one fails: {outcome}")
    require(not outcome.stdout, f"the plugin printed something: {outcome}")


def error_of(outcome: Outcome) -> dict[str, Any]:
    """Return the error object, without which the clause cannot be tried."""
    error = outcome.answer
    if outcome.succeeded or not isinstance(error, dict):
        not_applicable(f"it needs an error object, and this is none: {outcome}")
    return error


def require_code(outcome: Outcome, *codes: int, naming: str = "") -> None:
    """Fail the clause unless the error object has one of the codes, and a text in its message."""
    error = error_of(outcome)
    wanted = " or ".join(map(str, codes))
    require(error.get("code") in codes, f"the code is {error.get('code')!r}, not {wanted}")
    said = f"{error.get('msg', '')} {error.get('details', '')}"
    require(naming in said, f"the error does not say {naming!r}: {outcome}")
