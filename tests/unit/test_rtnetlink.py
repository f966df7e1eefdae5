"""The route netlink protocol, against a kernel whose answers a test scripts."""

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
)

from amdcni.core.errors import KernelRefused
from amdcni.effects import rtnetlink
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink, attributes_in

HEADER = struct.Struct("=IHHII")
THING = 77
NLMSGERR_ATTR_MSG = 1


ASK = Request(THING, 0, b"")

Answer = tuple[int, int, bytes]
"""Kind, flags, and what follows the header."""


def thing(number: int, rest: bytes = b"", flags: int = NLM_F_MULTI) -> Answer:
    return THING, flags, struct.pack("=I", number) + rest


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute as the kernel writes it, padded to a multiple of 4 bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def done(code: int = 0, said: str | None = None, flags: int = 0) -> Answer:
    """The end of a dump, with the words of the kernel if it failed."""
    words = b"" if said is None else attribute(NLMSGERR_ATTR_MSG, said.encode() + b"\0")
    tlvs = 0 if said is None else NLM_F_ACK_TLVS
    return NLMSG_DONE, NLM_F_MULTI | tlvs | flags, struct.pack("=i", code) + words


def error(code: int, said: str | None = None) -> Answer:
    """The refusal of a request; code 0 acknowledges it."""
    body = struct.pack("=i", code) + HEADER.pack(92, THING, 0, 0, 0)
    if said is None:
        return NLMSG_ERROR, NLM_F_CAPPED, body
    words = attribute(NLMSGERR_ATTR_MSG, said.encode() + b"\0")
    return NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, body + words


def datagram(sequence: int, answers: Iterable[Answer]) -> bytes:
    whole = b""
    for kind, flags, body in answers:
        whole += HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body
        whole += bytes(-len(whole) % 4)
    return whole


@define
class Kernel:
    """Answers each request with the next of `scripts`: datagrams, each of messages."""

    scripts: list[list[list[Answer]]]
    queue: list[bytes] = field(factory=list)
    asked: list[int] = field(factory=list)
    """The sequence numbers of the requests."""
    ports: list[int] = field(factory=list)
    """The senders of the next datagrams; after those, the kernel."""
    on_send: Callable[[], None] = field(default=lambda: None)
    on_receive: Callable[[], None] = field(default=lambda: None)

    def send(self, data: bytes) -> int:
        length, _, _, sequence, _ = HEADER.unpack_from(data)
        assert length == len(data)
        self.asked.append(sequence)
        self.queue += [datagram(sequence, answers) for answers in self.scripts.pop(0)]
        self.on_send()
        return len(data)

    def recvfrom_into(
        self, buffer: bytearray, size: int, flags: int
    ) -> tuple[int, tuple[int, int]]:
        if flags & socket.MSG_PEEK:
            assert self.queue, "this would wait for ever"
            return len(self.queue[0]), (self.ports[0] if self.ports else 0, 0)
        port = self.ports.pop(0) if self.ports else 0
        return self.recv_into(buffer, size, flags), (port, 0)

    def recv_into(self, buffer: bytearray, _: int, flags: int) -> int:
        if not self.queue:
            assert flags & socket.MSG_DONTWAIT, "this would wait for ever"
            raise BlockingIOError
        data = self.queue.pop(0)
        kept = data[: len(buffer)]
        buffer[: len(kept)] = kept
        self.on_receive()
        return len(data)

    def close(self) -> None:
        self.queue.clear()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel([])
    monkeypatch.setattr(rtnetlink, "_opened", lambda _: kernel)
    return kernel


def numbers(replies: list[Reply]) -> list[int]:
    return [int.from_bytes(reply.body[:4], sys.byteorder) for reply in replies]


def test_an_acknowledged_request_succeeds(kernel: Kernel) -> None:
    kernel.scripts = [[[error(0)]]]
    Rtnetlink().ask(ASK)
    assert kernel.queue == []


@pytest.mark.parametrize("verb", [Rtnetlink.ask, Rtnetlink.get, Rtnetlink.answers, Rtnetlink.dump])
@pytest.mark.parametrize(
    ("said", "expected"), [(None, "Operation not permitted"), ("not for you", "not for you")]
)
def test_a_refusal_has_the_kernels_own_words_if_there_are_any(
    kernel: Kernel, verb: Callable[[Rtnetlink, Request], object], said: str | None, expected: str
) -> None:
    kernel.scripts = [[[error(-errno.EPERM, said)]]]
    with pytest.raises(RequestRefused, match=expected) as refusal:
        verb(Rtnetlink(), ASK)
    assert refusal.value.code == errno.EPERM


def test_a_single_answer_is_returned_unchanged(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(5, b"rest", flags=0)]]]
    assert Rtnetlink().get(ASK) == Reply(THING, 0, struct.pack("=I", 5) + b"rest")


def test_a_dump_has_the_messages_of_all_datagrams(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1), thing(2)], [thing(3)], [done()]]]
    assert numbers(Rtnetlink().dump(ASK)) == [1, 2, 3]


def test_a_dump_may_be_empty(kernel: Kernel) -> None:
    kernel.scripts = [[[done()]]]
    assert Rtnetlink().dump(ASK) == []


def test_a_dump_that_fails_at_its_end_is_a_refusal_in_the_kernels_words(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1)], [done(-errno.EINVAL, "no such filter")]]]
    with pytest.raises(RequestRefused, match="no such filter") as refusal:
        Rtnetlink().dump(ASK)
    assert refusal.value.code == errno.EINVAL


def test_only_the_wanted_part_of_a_dump_is_returned(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1), thing(2), thing(1)], [done()]]]
    assert numbers(Rtnetlink().dump(ASK, lambda reply: reply.body[0] == 1)) == [1, 1]


@pytest.mark.parametrize("verb", [Rtnetlink.ask, Rtnetlink.get, Rtnetlink.answers, Rtnetlink.dump])
def test_a_message_from_another_process_is_not_taken_for_the_kernels_answer(
    kernel: Kernel, verb: Callable[[Rtnetlink, Request], object]
) -> None:
    kernel.scripts = [[[error(0)], [error(-errno.EPERM)]]]
    kernel.ports = [4711]
    with pytest.raises(RequestRefused):
        verb(Rtnetlink(), ASK)


def test_a_dump_that_others_disturbed_is_read_again(kernel: Kernel) -> None:
    within = [[thing(1, flags=NLM_F_MULTI | NLM_F_DUMP_INTR)], [done()]]
    at_its_end = [[thing(1)], [done(flags=NLM_F_DUMP_INTR)]]
    kernel.scripts = [within, at_its_end, [[thing(1), thing(2)], [done()]]]
    assert numbers(Rtnetlink().dump(ASK)) == [1, 2]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, on a clock that only they advance."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(made))
    return made


DISTURBED = [[thing(1, flags=NLM_F_MULTI | NLM_F_DUMP_INTR)], [done()]]


def test_dumps_that_are_always_disturbed_are_given_up_after_growing_pauses(
    kernel: Kernel, pauses: list[float]
) -> None:
    """All dumps of a socket share one waiting time."""
    kernel.scripts = [DISTURBED] * 1000
    netlink = Rtnetlink()
    with pytest.raises(KernelRefused, match="try again"):
        netlink.dump(ASK)
    waited = len(pauses)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]
    with pytest.raises(KernelRefused, match="try again"):
        netlink.dump(ASK)
    assert len(pauses) == waited


def test_an_undisturbed_dump_is_complete_without_a_pause(
    kernel: Kernel, pauses: list[float]
) -> None:
    kernel.scripts = [[[thing(1)], [done()]], DISTURBED]
    netlink = Rtnetlink()
    assert netlink.dump_once(ASK) == ([Reply(THING, NLM_F_MULTI, thing(1)[2])], True)
    answers, whole = netlink.dump_once(ASK)
    assert (numbers(answers), whole, pauses) == ([1], False, [])


def test_messages_before_the_acknowledgement_are_the_answer(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1, flags=0)], [error(0)]], [[error(0)]]]
    netlink = Rtnetlink()
    assert numbers(netlink.answers(ASK)) == [1]
    assert netlink.answers(ASK) == []


class SignalledError(Exception):
    """What a signal handler raises in the middle of anything."""


@pytest.mark.parametrize("datagrams", [0, 1, 2, 3])
def test_after_a_signal_has_interrupted_a_dump_the_next_request_is_answered(
    kernel: Kernel, datagrams: int
) -> None:
    """Whether none of it was read yet, all of it, or everything but the end."""
    kernel.scripts = [
        [[thing(1)], [thing(2)], [done()]],
        [[thing(3)], [done()]],
    ]
    received = 0

    def interrupt() -> None:
        nonlocal received
        received += 1
        if received == datagrams:
            raise SignalledError

    def interrupt_sending() -> None:
        kernel.on_send = lambda: None
        raise SignalledError

    kernel.on_receive = interrupt
    if not datagrams:
        kernel.on_send = interrupt_sending
    netlink = Rtnetlink()
    with pytest.raises(SignalledError):
        netlink.dump(ASK)
    assert numbers(netlink.dump(ASK)) == [3]


def test_a_late_answer_is_not_taken_for_that_to_the_next_request(kernel: Kernel) -> None:
    """The kernel had answered; a signal came before the answer was read."""
    kernel.scripts = [[[error(-errno.EBUSY)]], [[thing(4, flags=0)]]]
    netlink = Rtnetlink()

    def interrupt() -> None:
        kernel.on_receive = lambda: None
        kernel.queue.insert(0, datagram(kernel.asked[-1], [error(-errno.EBUSY)]))
        raise SignalledError

    kernel.on_receive = interrupt
    with pytest.raises(SignalledError):
        netlink.ask(ASK)
    assert numbers([netlink.get(ASK)]) == [4]


def test_a_message_may_be_as_long_as_all_names_of_a_netdev_make_it(kernel: Kernel) -> None:
    long = [thing(1, bytes(60_000)), thing(2, bytes(60_000))]
    kernel.scripts = [[long, [thing(3)], [done()]]]
    assert numbers(Rtnetlink().dump(ASK)) == [1, 2, 3]


def test_an_answer_that_is_too_long_is_refused(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1, bytes(1 << 24))]], [[thing(3, flags=0)]]]
    netlink = Rtnetlink()
    with pytest.raises(KernelRefused, match="too long"):
        netlink.dump(ASK)
    assert numbers([netlink.get(ASK)]) == [3]


@pytest.mark.parametrize("method", ["send", "recvfrom_into"])
def test_a_failing_socket_is_a_refusal_not_a_crash(
    kernel: Kernel, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    kernel.scripts = [[[error(0)]]]
    monkeypatch.setattr(Kernel, method, fail)
    with pytest.raises(KernelRefused, match="No buffer space available"):
        Rtnetlink().ask(ASK)


@given(
    st.binary(max_size=20),
    st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=9)), max_size=5),
    st.sampled_from([0, 0x8000, 0x4000]),
)
def test_attributes_are_read_one_by_one_whatever_their_flags(
    before: bytes, attributes: list[tuple[int, bytes]], flags: int
) -> None:
    data = before + b"".join(attribute(kind | flags, value) for kind, value in attributes)
    assert list(attributes_in(data, len(before))) == attributes


@given(st.binary(max_size=40))
def test_reading_attributes_ends_whatever_the_bytes(data: bytes) -> None:
    assert len(list(attributes_in(data, 0))) <= len(data) / 4


def test_the_kernel_of_this_machine_answers() -> None:
    from amdcni.effects.messages import links

    netlink = Rtnetlink()
    names = [links.ifname_of(link) for link in netlink.dump(links.query_all())]
    assert "lo" in names
    assert links.ifname_of(netlink.get(links.query_by_index(1))) == "lo"
    with pytest.raises(RequestRefused) as refusal:
        netlink.get(links.query_by_index(2**31 - 1))
    assert refusal.value.code == errno.ENODEV
    netlink.close()
