"""Calls as runtimes make them in the field: ordered, repeated, late, and lost.

What a runtime does is known from CNI SPEC 1.1 §3 and from what containerd, the kubelet and Multus
were seen to do: a sandbox is stopped and later removed, and each of these sends a DEL, the second
one without a netns; both are repeated when they fail; an answer can be lost; a DEL of an old
sandbox comes when another one already has the device; and sometimes no DEL comes at all.  A runtime
that reads the configuration again for a DEL sends one that somebody has edited or broken meanwhile.
"""

from collections.abc import Iterator
from enum import StrEnum

from attrs import evolve, field, frozen
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.spec import Verb


class NetnsSaid(StrEnum):
    """What CNI_NETNS says about the container's network namespace."""

    PATH = "path"
    """Where it is; it may be gone in the meantime, see `RuntimeCall.netns_is_gone`."""
    EMPTY = "empty"


@frozen
class RuntimeCall:
    """A call that a runtime makes; with a configuration and pods it can be carried out as it is.

    `container` is the number of a container, and `device` that of the device that its
    configuration names.  For GC and STATUS `container` is None, and GC has the containers that are
    `valid`.
    """

    verb: Verb
    container: int | None = None
    device: int = 0
    netns: NetnsSaid = NetnsSaid.PATH
    netns_is_gone: bool = False
    """Whether the network namespace has ended before this call."""
    has_result: bool = False
    """Whether the runtime knows the result of ADD, and gives it as prevResult."""
    answer_is_lost: bool = False
    """Whether the runtime never gets the answer, as when it is killed meanwhile."""
    valid: tuple[int, ...] = ()
    edited: bytes | None = None
    """What comes on standard input of a DEL instead of the configuration of the ADD."""

    def __str__(self) -> str:
        if self.container is None:
            kept = f" except for {list(self.valid)}" if self.verb is Verb.GC else ""
            return f"{self.verb}{kept}"
        facts = [f"{self.verb} of container {self.container} with device {self.device}"]
        facts += ["without a netns"] if self.netns is NetnsSaid.EMPTY else []
        facts += ["after its netns has ended"] if self.netns_is_gone else []
        facts += ["with the result"] if self.has_result else []
        facts += ["whose answer is lost"] if self.answer_is_lost else []
        facts += [f"with {self.edited!r} as configuration"] if self.edited is not None else []
        return ", ".join(facts)


edited_configurations: SearchStrategy[bytes] = st.sampled_from(
    [
        *(b"", b"{", b"not JSON", b"[]", b"null", b"\xff\xfe", b"{}"),
        b'{"cniVersion":"1.1","name":"fabric","type":"amd-host-device"}',
        b'{"cniVersion":"1.1.0","type":"amd-host-device"}',
        b'{"cniVersion":"1.1.0","name":["fabric"],"type":"amd-host-device"}',
        b'{"cniVersion":"1.1.0","name":"other","type":"amd-host-device","deviceID":"ens1"}',
        b'{"cniVersion":"1.1.0","name":"fabric","dataDir":"/run/amdcni-elsewhere"}',
        b'{"cniVersion":"1.1.0","name":"fabric","dataDir":"/proc/self/no"}',
        b'{"cniVersion":"1.1.0","name":"fabric","dataDir":"/etc","logFile":"/etc/passwd"}',
        b'{"cniVersion":"1.1.0","name":"fabric","dataDir":"/run/amd-host-device/../../etc"}',
        b'{"cniVersion":"1.1.0","name":"fabric","dataDir":7,"logLevel":8,"mover":9}',
        b'{"cniVersion":"1.1.0","name":"fabric","mover":"native","ipam":{"type":"no-ipam"}}',
        b'{"cniVersion":"1.1.0","name":"fabric","mover":"delegate","ipam":"","prevResult":5}',
    ]
)
"""What a configuration may have become between an ADD and its DEL; it no longer names a device."""


@frozen
class _Life:
    """What is left of the calls for one container, in order."""

    calls: tuple[RuntimeCall, ...] = field()

    @property
    def container(self) -> int:
        container = self.calls[0].container
        assert container is not None
        return container


@st.composite
def _lives(draw: DrawFn, container: int, devices: int) -> _Life:
    """All calls for one container, from its ADD to the last DEL that the runtime sends."""
    device = draw(st.integers(0, devices - 1))
    add = RuntimeCall(Verb.ADD, container, device)
    lost = draw(st.integers(0, 7)) == 0
    # A runtime that was killed before it got the answer calls again, or cleans up.
    begun = [evolve(add, answer_is_lost=True)] if lost else [add]
    known = not lost
    if lost and draw(st.booleans()):
        begun.append(add)
        known = True
    if draw(st.integers(0, 9)) == 0:
        begun = []  # The sandbox failed before its network was asked for.
    known = known and bool(begun)
    checks = [evolve(add, verb=Verb.CHECK, has_result=True)] * (draw(st.integers(0, 2)) * known)
    return _Life((*begun, *checks, *draw(_endings(add, known=known))))


@st.composite
def _endings(draw: DrawFn, add: RuntimeCall, *, known: bool) -> tuple[RuntimeCall, ...]:
    gone = draw(st.booleans())
    stop = evolve(add, verb=Verb.DEL, has_result=known and draw(st.booleans()), netns_is_gone=gone)
    # After the first DEL that succeeds Multus no longer knows the result.
    again = evolve(stop, has_result=False)
    remove = evolve(again, netns=NetnsSaid.EMPTY, netns_is_gone=True)
    sent = [stop, *[again] * draw(st.integers(0, 2)), *[remove] * draw(st.integers(0, 2))]
    if draw(st.integers(0, 5)) == 0:
        edited = draw(edited_configurations)
        sent = [evolve(call, edited=edited, has_result=False) for call in sent]
    return () if draw(st.integers(0, 9)) == 0 else tuple(sent)


@st.composite
def _runtime_calls(draw: DrawFn, containers: int, devices: int) -> tuple[RuntimeCall, ...]:
    left = [draw(_lives(number, devices)) for number in range(containers)]
    calls: list[RuntimeCall] = []
    living: list[int] = []
    while any(life.calls for life in left):
        life = draw(st.sampled_from([life for life in left if life.calls]))
        call, rest = life.calls[0], life.calls[1:]
        left[life.container] = evolve(life, calls=rest)
        living = [number for number in living if number != life.container]
        if rest or call.verb is not Verb.DEL:
            living.append(life.container)
        calls.append(call)
        calls += draw(_of_no_container(tuple(sorted(living))))
    return tuple(calls)


def _of_no_container(living: tuple[int, ...]) -> SearchStrategy[list[RuntimeCall]]:
    """Rarely a STATUS, or a GC with what the runtime believes to be alive."""
    asked = st.sampled_from([RuntimeCall(Verb.STATUS), RuntimeCall(Verb.GC, valid=living)])
    return st.integers(0, 7).flatmap(
        lambda n: st.lists(asked, max_size=1) if n == 0 else st.just([])
    )


def runtime_calls(
    *, containers: int = 3, devices: int = 2
) -> SearchStrategy[tuple[RuntimeCall, ...]]:
    """Sequences of calls for some containers, interleaved as runtimes interleave them.

    The calls for one container come one after the other.  Those for different ones come in any
    order, so a late DEL may come after the ADD of the next container with the device.
    """
    return _runtime_calls(containers, devices)


def of_container(calls: tuple[RuntimeCall, ...], container: int) -> Iterator[RuntimeCall]:
    """The calls of a sequence that are for one container."""
    return (call for call in calls if call.container == container)
