"""Scrapers and probes are served whatever the others do, and whatever is sent."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import InvalidName
from amdcni.core.request import LogLevel
from amdcni_agent.address import DEFAULT_ADDRESS, Address
from amdcni_agent.happenings import Happened, Happening, Pod
from amdcni_agent.health import SILENCE_S
from amdcni_agent.messages import Message, encode
from amdcni_agent.pages import MAX_HEAD_BYTES, Page, Request, parse_head, response, verdict
from amdcni_agent.posting import Poster
from amdcni_agent.scraping import DEFAULT_LIMITS, Limits, Site
from tests.patience import wait_until
from tests.unit.reporting import (
    CALL,
    SERVING,
    ask,
    connect,
    get,
    read_all,
    read_response,
    scrape,
    total,
)

ANYWHERE = Address.parse("127.0.0.1:0")
GET = b"GET /metrics HTTP/1.1\r\n\r\n"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@attrs.frozen
class Running:
    """A site that is served by a thread, and the main process's end of its channel."""

    channel: socket.socket
    clock: Clock
    events: list[tuple[str, dict[str, object]]]

    @property
    def address(self) -> Address:
        wait_until(lambda: self.addresses(), "the pages are served")
        return Address.parse(self.addresses()[-1])

    def addresses(self) -> list[str]:
        return [str(f["address"]) for event, f in self.events if event == "metrics-served"]

    def tell(self, message: Message) -> None:
        self.channel.send(encode(message))


@contextmanager
def running(
    address: Address | None = ANYWHERE,
    limits: Limits = DEFAULT_LIMITS,
    poster: Poster | None = None,
) -> Iterator[Running]:
    events: list[tuple[str, dict[str, object]]] = []

    def log(_: LogLevel, event: str, **facts: object) -> None:
        events.append((event, facts))

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clock = Clock()
    site = Site(theirs, address, log, poster, limits, clock)
    thread = threading.Thread(target=site.serve)
    thread.start()
    try:
        yield Running(ours, clock, events)
    finally:
        ours.close()
        thread.join()
        theirs.close()


@pytest.fixture
def site() -> Iterator[Running]:
    with running() as site:
        yield site


def test_metrics_are_served_as_openmetrics(site: Running) -> None:
    with connect(site.address) as connection:
        connection.sendall(GET)
        head = read_all(connection).partition(b"\r\n\r\n")[0]
    assert b"Content-Type: application/openmetrics-text" in head


def test_what_was_said_before_a_scrape_is_in_it(site: Running) -> None:
    for told in range(1, 20):
        site.tell(CALL)
        assert total(scrape(site.address), "amdcni_calls_total") == told


POD = Pod("team-secret", "job-secret", "uid-secret")
HAPPENED = Happened(Happening.LOST, "0000:c1:00.0", "0000:c1:00.0: it is lost", POD)


class Collected(Poster):
    """Events that are only collected."""

    def __init__(self) -> None:
        self.happened: list[Happened] = []
        self.is_ended = False

    def post(self, happened: Happened) -> None:
        self.happened.append(happened)

    def counts(self) -> tuple[int, int]:
        return 2, 3

    def end(self) -> None:
        self.is_ended = True


def test_what_becomes_an_event_is_posted_and_no_name_of_it_gets_into_a_metric() -> None:
    poster = Collected()
    with running(poster=poster) as site:
        site.tell(HAPPENED)
        text = get(site.address, "/metrics")[1].decode()
        assert poster.happened == [HAPPENED]
        assert "secret" not in text
        assert "c1:00" not in text
        samples = scrape(site.address)
        # Both counts are since the last scrape.
        assert total(samples, "amdcni_events_posted_total") == 2 * len(("first", "second"))
        assert total(samples, "amdcni_events_dropped_total") == 3 * len(("first", "second"))
    assert poster.is_ended


def test_without_a_poster_what_happens_is_not_even_dropped(site: Running) -> None:
    site.tell(HAPPENED)
    samples = scrape(site.address)
    assert total(samples, "amdcni_events_dropped_total") == 0
    assert total(samples, "amdcni_messages_dropped_total") == 0


def test_without_an_address_events_are_posted_and_nothing_is_served() -> None:
    poster = Collected()
    with running(None, poster=poster) as site:
        site.tell(HAPPENED)
        wait_until(lambda: poster.happened, "it is posted")
        assert site.events == []


def test_what_is_no_message_counts_as_dropped(site: Running) -> None:
    site.channel.send(b"\xff")
    assert total(scrape(site.address), "amdcni_messages_dropped_total") == 1


def test_the_probes_follow_what_the_main_process_says(site: Running) -> None:
    assert get(site.address, "/healthz") == (200, b"ok\n")
    assert get(site.address, "/readyz")[0] == 503
    site.tell(SERVING)
    assert get(site.address, "/readyz") == (200, b"ok\n")
    site.tell(attrs.evolve(SERVING, is_serving=False))
    assert get(site.address, "/readyz")[0] == 503
    assert get(site.address, "/healthz")[0] == 200


def test_the_probes_notice_a_main_process_that_is_silent(site: Running) -> None:
    site.tell(SERVING)
    assert get(site.address, "/readyz")[0] == 200
    site.clock.now_s += SILENCE_S
    assert get(site.address, "/healthz")[0] == 503
    assert get(site.address, "/readyz")[0] == 503
    assert total(scrape(site.address), "amdcni_agent_heartbeat_age_seconds") == SILENCE_S
    site.tell(CALL)
    assert get(site.address, "/healthz")[0] == 200
    assert get(site.address, "/readyz")[0] == 200


def test_head_answers_without_a_body(site: Running) -> None:
    request = GET.replace(b"GET", b"HEAD")
    assert ask(site.address, request) == (200, b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics?name[]=up HTTP/1.0\r\n\r\n", 200),
        (b"GET /../etc/shadow HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\xff\xfe\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, 431),
    ],
)
def test_other_requests_are_refused(site: Running, request_: bytes, status: int) -> None:
    assert ask(site.address, request_)[0] == status
    assert get(site.address, "/healthz")[0] == 200


def test_a_request_may_arrive_byte_by_byte(site: Running) -> None:
    with connect(site.address) as connection:
        for byte in GET:
            connection.sendall(bytes([byte]))
        assert read_response(connection)[0] == 200


def test_endless_headers_end_the_connection(site: Running) -> None:
    with connect(site.address) as connection:
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"X: " + b"x" * 65536 + b"\r\n")
            pytest.fail("it has read 64 MiB of headers")
        read_all(connection)
    assert get(site.address, "/healthz")[0] == 200


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """One site for all examples of a test."""
    with running() as site:
        yield site


@given(st.binary(max_size=200))
def test_garbage_hurts_nobody(shared: Running, data: bytes) -> None:
    with connect(shared.address) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection)[:9] in (b"", b"HTTP/1.1 ")
    assert get(shared.address, "/healthz")[0] == 200


def test_fifty_scrapers_at_once_all_get_everything(site: Running) -> None:
    site.tell(CALL)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(site.address)) for _ in range(50)]
        for connection in connections:
            connection.sendall(GET)
        answers = [read_response(connection) for connection in reversed(connections)]
    assert {status for status, _ in answers} == {200}
    assert all(body.endswith(b"# EOF\n") for _, body in answers)


def test_mute_scrapers_hinder_nobody_however_many_there_are(site: Running) -> None:
    with ExitStack() as stack:
        mute = [
            stack.enter_context(connect(site.address))
            for _ in range(DEFAULT_LIMITS.connections * 3)
        ]
        for connection in mute:
            with suppress(ConnectionError):
                connection.sendall(b"G")
        assert get(site.address, "/metrics")[0] == 200
        # The oldest had to go.
        assert read_all(mute[0]) == b""


def test_a_scraper_that_is_too_slow_is_sent_away(site: Running) -> None:
    with connect(site.address) as slow:
        slow.sendall(b"G")
        assert get(site.address, "/healthz")[0] == 200
        site.clock.now_s += DEFAULT_LIMITS.exchange_s
        assert get(site.address, "/healthz")[0] == 200
        assert read_all(slow) == b""


def test_a_scraper_that_reads_nothing_is_sent_away(site: Running) -> None:
    with connect(site.address) as deaf:
        deaf.sendall(GET)
        assert get(site.address, "/healthz")[0] == 200
        site.clock.now_s += DEFAULT_LIMITS.exchange_s
        assert get(site.address, "/healthz")[0] == 200
        deaf.settimeout(5)
        assert read_all(deaf).startswith(b"HTTP/1.1 200")


def test_scrapers_that_have_gone_are_forgotten(site: Running) -> None:
    for _ in range(200):
        with connect(site.address) as connection:
            connection.sendall(GET)
    assert get(site.address, "/healthz")[0] == 200


def test_a_taken_address_is_logged_once_and_tried_again_until_it_is_free() -> None:
    tries = []

    @attrs.frozen
    class Watched(Address):
        def listen(self) -> socket.socket:
            tries.append(self)
            return super().listen()

    with ANYWHERE.listen() as taken:
        port = taken.getsockname()[1]
        address = Watched(ANYWHERE.host, port)
        with running(address, Limits(retry_s=0)) as site:
            wait_until(lambda: len(tries) > 3, "it has tried several times")
            site.tell(CALL)
            taken.close()
            assert site.address == Address(ANYWHERE.host, port)
            assert [event for event, _ in site.events] == ["metrics-not-served", "metrics-served"]
            assert site.events[0][1]["reason"] == "Address already in use"
            # Meanwhile it has listened to the main process.
            assert total(scrape(site.address), "amdcni_calls_total") == 1


@given(st.binary() | st.text().map(str.encode))
def test_every_beginning_is_incomplete_refused_or_a_request(data: bytes) -> None:
    assert isinstance(parse_head(data + b"\r\n\r\n"), Request | Page)
    assert parse_head(data) is None or b"\r\n\r\n" in data


@given(st.binary(min_size=1, max_size=20))
def test_a_head_that_is_too_large_is_not_waited_for(data: bytes) -> None:
    assert parse_head(data * (MAX_HEAD_BYTES + 1)) is not None


@given(st.none() | st.text(min_size=1))
def test_a_response_says_how_long_its_body_is(fault: str | None) -> None:
    page = verdict(fault)
    head, _, body = response(page).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert response(page, is_head=True) == head + b"\r\n\r\n"


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_survives_being_written_and_read(host: object, port: int) -> None:
    make: Callable[..., Address] = Address
    address = make(host, port)
    if "%" not in str(host):
        assert Address.parse(str(address)) == address


def test_the_default_address_is_only_of_this_node() -> None:
    assert str(DEFAULT_ADDRESS) == "127.0.0.1:9464"
    assert DEFAULT_ADDRESS.host.is_loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1",
        ":9464",
        "localhost:9464",
        "127.0.0.1:65536",
        "::1:9464",
        "[::1]",
        "1.2.3.4:-1",
    ],
)
def test_what_is_no_address_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidName, match="is not an IP address with a port"):
        Address.parse(text)
