"""The route netlink protocol against a kernel that answers what a test says."""

import errno
import socket
import struct
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
    nlmsg,
)

from amdcni.core.errors import KernelRefused
from amdcni.effects import rtnetlink
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink

HEADER = struct.Struct("=IHHII")
THING = 77


class Thing(nlmsg):  # type: ignore[misc]
    """A message with a number and two attributes."""

    prefix = "THING_"
    fields = (("number", "I"),)
    nla_map = (("THING_UNSPEC", "none"), ("THING_NAME", "asciiz"), ("THING_SIZE", "uint32"))


class NamedThing(nlmsg):  # type: ignore[misc]
    """The same, of which the name alone is known."""

    prefix = "THING_"
    fields = Thing.fields
    nla_map = ((1, "THING_NAME", "asciiz"),)


ASK = Request(THING, 0, b"", Thing)

Answer = tuple[int, int, bytes]
"""Kind, flags, and what follows the header."""


def thing(number: int, name: str = "x", size: int = 0, flags: int = NLM_F_MULTI) -> Answer:
    message = Thing()
    message["number"] = number
    message["attrs"] = [("THING_NAME", name), ("THING_SIZE", size)]
    message.encode()
    return THING, flags, bytes(message.data[HEADER.size :])


def done(code: int = 0) -> Answer:
    return NLMSG_DONE, NLM_F_MULTI, struct.pack("=i", code)


def error(code: int, said: str | None = None) -> Answer:
    """What refuses a request; code 0 acknowledges it."""
    body = struct.pack("=i", code) + HEADER.pack(92, THING, 0, 0, 0)
    if said is None:
        return NLMSG_ERROR, NLM_F_CAPPED, body
    text = said.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), 1) + text  # NLMSGERR_ATTR_MSG
    return NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, body + attribute


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
    on_receive: Callable[[], None] = field(default=lambda: None)

    def send(self, data: bytes) -> int:
        length, _, _, sequence, _ = HEADER.unpack_from(data)
        assert length == len(data)
        self.asked.append(sequence)
        self.queue += [datagram(sequence, answers) for answers in self.scripts.pop(0)]
        return len(data)

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
    monkeypatch.setattr(rtnetlink, "_opened", lambda: kernel)
    return kernel


def numbers(messages: list[Thing]) -> list[int]:
    return [message["number"] for message in messages]


def test_what_the_kernel_acknowledges_is_done(kernel: Kernel) -> None:
    kernel.scripts = [[[error(0)]]]
    Rtnetlink().ask(ASK)
    assert kernel.queue == []


@pytest.mark.parametrize("verb", [Rtnetlink.ask, Rtnetlink.get, Rtnetlink.dump])
@pytest.mark.parametrize(
    ("said", "told"), [(None, "Operation not permitted"), ("not for you", "not for you")]
)
def test_a_refusal_has_the_kernels_own_words_if_it_has_some(
    kernel: Kernel, verb: Callable[[Rtnetlink, Request], object], said: str | None, told: str
) -> None:
    kernel.scripts = [[[error(-errno.EPERM, said)]]]
    with pytest.raises(RequestRefused, match=told) as refusal:
        verb(Rtnetlink(), ASK)
    assert refusal.value.code == errno.EPERM


def test_one_thing_is_got_with_its_attributes(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(5, "five", 55, flags=0)]]]
    got = Rtnetlink().get(ASK)
    assert (got["number"], got.get("THING_NAME"), got.get("THING_SIZE")) == (5, "five", 55)


def test_a_dump_has_the_messages_of_all_datagrams(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1), thing(2)], [thing(3)], [done()]]]
    assert numbers(Rtnetlink().dump(ASK)) == [1, 2, 3]


def test_a_dump_may_have_nothing(kernel: Kernel) -> None:
    kernel.scripts = [[[done()]]]
    assert Rtnetlink().dump(ASK) == []


def test_a_dump_that_fails_at_its_end_is_a_refusal(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1)], [done(-errno.EINVAL)]]]
    with pytest.raises(RequestRefused) as refusal:
        Rtnetlink().dump(ASK)
    assert refusal.value.code == errno.EINVAL


def test_only_what_is_wanted_of_a_dump_is_told(kernel: Kernel) -> None:
    few, many = 0x01020304, 0x05060708
    kernel.scripts = [[[thing(few), thing(many), thing(few)], [done()]]] * 2
    assert numbers(Rtnetlink().dump(ASK, lambda reply: reply.mentions(many))) == [many]
    assert numbers(Rtnetlink().dump(ASK, lambda reply: reply.byte(0) == 4)) == [few, few]


def test_a_number_is_looked_for_in_one_message_and_not_in_its_neighbours(kernel: Kernel) -> None:
    found: list[Reply] = []

    def keep(reply: Reply) -> bool:
        found.append(reply)
        return True

    kernel.scripts = [[[thing(7, size=1), thing(8, size=2), thing(9, size=3)], [done()]]]
    Rtnetlink().dump(ASK, keep)
    for position, (number, size) in enumerate([(7, 1), (8, 2), (9, 3)]):
        assert [reply.mentions(number) for reply in found].index(True) == position
        assert [reply.mentions(number) for reply in found].count(True) == 1
        assert found[position].mentions(size)


def test_a_dump_that_others_disturbed_is_read_again(kernel: Kernel) -> None:
    disturbed = [[thing(1, flags=NLM_F_MULTI | NLM_F_DUMP_INTR)], [done()]]
    kernel.scripts = [disturbed, disturbed, [[thing(1), thing(2)], [done()]]]
    assert numbers(Rtnetlink().dump(ASK)) == [1, 2]


def test_a_dump_that_is_disturbed_each_time_is_given_up(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1, flags=NLM_F_MULTI | NLM_F_DUMP_INTR)], [done()]]] * 1000
    with pytest.raises(KernelRefused, match="try again"):
        Rtnetlink().dump(ASK)


class SignalledError(Exception):
    """What a handler of a signal raises in the middle of anything."""


@pytest.mark.parametrize("datagrams", [1, 2, 3])
def test_after_a_dump_that_a_signal_has_ended_the_next_request_is_answered(
    kernel: Kernel, datagrams: int
) -> None:
    """Whether the end of the dump was among what was read, or is still to come."""
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

    kernel.on_receive = interrupt
    netlink = Rtnetlink()
    with pytest.raises(SignalledError):
        netlink.dump(ASK)
    assert numbers(netlink.dump(ASK)) == [3]


def test_an_answer_that_came_too_late_is_not_taken_for_another(kernel: Kernel) -> None:
    """The kernel did what was asked for; a signal came before its answer was read."""
    kernel.scripts = [[[error(-errno.EBUSY)]], [[thing(4, flags=0)]]]
    netlink = Rtnetlink()

    def interrupt() -> None:
        kernel.on_receive = lambda: None
        kernel.queue.insert(0, datagram(kernel.asked[-1], [error(-errno.EBUSY)]))
        raise SignalledError

    kernel.on_receive = interrupt
    with pytest.raises(SignalledError):
        netlink.ask(ASK)
    assert netlink.get(ASK)["number"] == 4


def test_an_answer_that_is_too_long_is_not_taken_for_a_whole_one(kernel: Kernel) -> None:
    kernel.scripts = [[[thing(1, "x" * 60_000), thing(2, "y" * 60_000)]], [[thing(3, flags=0)]]]
    netlink = Rtnetlink()
    with pytest.raises(KernelRefused, match="too long"):
        netlink.dump(ASK)
    assert netlink.get(ASK)["number"] == 3


@pytest.mark.parametrize("method", ["send", "recv_into"])
def test_a_socket_that_fails_is_a_refusal_and_no_crash(
    kernel: Kernel, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    kernel.scripts = [[[error(0)]]]
    monkeypatch.setattr(Kernel, method, fail)
    with pytest.raises(KernelRefused, match="No buffer space available"):
        Rtnetlink().ask(ASK)


@given(st.text("abc", max_size=9), st.integers(0, 2**32 - 1))
def test_an_attribute_that_a_class_does_not_know_is_not_there_and_the_others_are(
    name: str, size: int
) -> None:
    kind, flags, body = thing(6, name, size)
    data = datagram(1, [(kind, flags, body)])
    reply = Reply(kind, flags, data, 0, HEADER.size + len(body))
    whole, named = reply.decoded(Thing), reply.decoded(NamedThing)
    assert whole.get("THING_NAME") == named.get("THING_NAME") == name
    assert (whole.get("THING_SIZE"), named.get("THING_SIZE")) == (size, None)
    assert named["number"] == 6


def test_the_kernel_of_this_machine_is_asked() -> None:
    from amdcni.effects.messages import links

    netlink = Rtnetlink()
    names = [links.ifname_of(link) for link in netlink.dump(links.query())]
    assert "lo" in names
    assert links.ifname_of(netlink.get(links.query("lo"))) == "lo"
    with pytest.raises(RequestRefused) as refusal:
        netlink.get(links.query("no-such-netdev"))
    assert refusal.value.code == errno.ENODEV
    netlink.close()
