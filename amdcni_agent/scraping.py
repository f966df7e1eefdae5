"""Serves scrapers and probes from one thread, whatever they do, and listens to the main process.

Kubernetes events are handed to another thread, so that neither waits for an API server.
"""

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs

from amdcni.core.request import LogLevel
from amdcni.log import Log
from amdcni_agent import metrics, pages
from amdcni_agent.address import Address
from amdcni_agent.happenings import Happened
from amdcni_agent.health import Health
from amdcni_agent.messages import MAX_BYTES, AgentState, Lost, NotAMessage, parse_message
from amdcni_agent.metrics import Metrics

if TYPE_CHECKING:
    from amdcni_agent.posting import Poster

_CHUNK_BYTES: Final = 64 * 1024
_MESSAGES_A_ROUND: Final = 256


@attrs.frozen
class Limits:
    """How little one scraper can take from the others.

    At most `connections` are open; a further one ends the oldest.  A connection ends after
    `exchange_s`.  An address that is taken is tried again every `retry_s`.
    """

    connections: int = 64
    exchange_s: float = 10.0
    retry_s: float = 10.0


DEFAULT_LIMITS: Final = Limits()


@attrs.define(eq=False)
class _Exchange:
    """A connection: first its request is received, then its response is sent.

    What arrives after the request is read and thrown away: closing a connection with unread data
    would make the kernel reset it, and the other end might lose the response.
    """

    connection: socket.socket
    until_s: float
    received: bytearray = attrs.field(factory=bytearray)
    outgoing: memoryview | None = None
    surplus: int = 0

    @property
    def awaited(self) -> int:
        return selectors.EVENT_WRITE if self.outgoing else selectors.EVENT_READ

    def proceed(self, answer: Callable[[bytes], bytes | None]) -> bool:
        """Receive or send what is possible now; whether there is more to do."""
        if self.outgoing:
            self.outgoing = self.outgoing[self.connection.send(self.outgoing) :]
            if not self.outgoing:
                self.connection.shutdown(socket.SHUT_WR)
            return True
        data = self.connection.recv(_CHUNK_BYTES)
        if self.outgoing is not None:
            self.surplus += len(data)
            return bool(data) and self.surplus <= _CHUNK_BYTES
        self.received += data
        response = answer(bytes(self.received))
        if response is not None:
            self.outgoing = memoryview(response)
        return bool(data)


class Site:
    """The pages of the agent at an address, if any, made from what the main process says.

    Events are for `poster`.
    """

    def __init__(
        self,
        channel: socket.socket,
        address: Address | None,
        log: Log,
        poster: "Poster | None" = None,
        limits: Limits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._address = address
        self._log = log
        self._poster = poster
        self._limits = limits
        self._clock = clock
        self._metrics = Metrics()
        self._health = Health(heard_s=clock())
        self._selector = selectors.DefaultSelector()
        self._exchanges: dict[socket.socket, _Exchange] = {}
        self._listener: socket.socket | None = None
        self._listen_from_s = 0.0
        self._refusal: str | None = None
        channel.setblocking(False)
        self._selector.register(channel, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the main process has closed its end of the channel."""
        try:
            while self._serve_round():
                pass
        finally:
            for exchange in tuple(self._exchanges.values()):
                self._end(exchange)
            if self._listener is not None:
                self._listener.close()
            self._selector.close()
            if self._poster is not None:
                self._poster.end()

    def _serve_round(self) -> bool:
        """Do what there is to do now; whether the main process is still there."""
        self._listen()
        ready = {key.fileobj: key for key, _ in self._selector.select(self._patience_s())}
        # First of all, so that no answer is older than what the main process has said.
        if self._channel in ready and not self._hear():
            return False
        for place in ready:
            if place is self._listener:
                self._accept()
            elif isinstance(place, socket.socket) and place in self._exchanges:
                self._proceed(self._exchanges[place])
        now_s = self._clock()
        for exchange in [each for each in self._exchanges.values() if each.until_s <= now_s]:
            self._end(exchange)
        return True

    def _patience_s(self) -> float | None:
        """How long there is nothing to do unless something arrives."""
        due = [exchange.until_s for exchange in self._exchanges.values()]
        if self._listener is None and self._address is not None:
            due.append(self._listen_from_s)
        return max(0.0, min(due) - self._clock()) if due else None

    def _listen(self) -> None:
        """Listen at the address, if it is time to try; a failure is logged once."""
        now_s = self._clock()
        if self._address is None or self._listener is not None or now_s < self._listen_from_s:
            return
        try:
            listener = self._address.listen()
        except OSError as error:
            self._listen_from_s = now_s + self._limits.retry_s
            reason, earlier = error.strerror or str(error), self._refusal
            self._refusal = reason
            if reason != earlier:
                facts = {"address": self._address, "reason": reason}
                self._log(LogLevel.WARNING, "metrics-not-served", **facts)
            return
        self._listener, self._refusal = listener, None
        self._selector.register(listener, selectors.EVENT_READ)
        bound = attrs.evolve(self._address, port=listener.getsockname()[1])
        self._log(LogLevel.INFO, "metrics-served", address=bound)

    def _hear(self) -> bool:
        """Take the messages that have arrived; False at their end."""
        for _ in range(_MESSAGES_A_ROUND):
            try:
                data = self._channel.recv(MAX_BYTES)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        try:
            message = parse_message(data)
        except NotAMessage:
            message = Lost(1)
        if not isinstance(message, Happened):
            self._metrics.take(message)
        elif self._poster is not None:
            self._poster.post(message)
        serves = message.is_serving if isinstance(message, AgentState) else self._health.is_serving
        self._health = Health(self._clock(), serves)

    def _accept(self) -> None:
        """Accept a connection, in place of the oldest if there are too many."""
        assert self._listener is not None
        if len(self._exchanges) >= self._limits.connections:
            self._end(next(iter(self._exchanges.values())))
        with suppress(OSError):  # it has gone again
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            exchange = _Exchange(connection, self._clock() + self._limits.exchange_s)
            self._exchanges[connection] = exchange
            self._selector.register(connection, exchange.awaited)

    def _proceed(self, exchange: _Exchange) -> None:
        try:
            goes_on = exchange.proceed(self._answer)
        except BlockingIOError:
            return
        except OSError:
            goes_on = False
        if goes_on:
            self._selector.modify(exchange.connection, exchange.awaited)
        else:
            self._end(exchange)

    def _end(self, exchange: _Exchange) -> None:
        del self._exchanges[exchange.connection]
        self._selector.unregister(exchange.connection)
        exchange.connection.close()

    def _answer(self, received: bytes) -> bytes | None:
        """The response to what was received; None if it is not yet a whole request."""
        request = pages.parse_head(received)
        if request is None or isinstance(request, pages.Page):
            return None if request is None else pages.response(request)
        return pages.response(self._page(request.path), is_head=request.is_head)

    def _page(self, path: str) -> pages.Page:
        now_s = self._clock()
        match path:
            case "/metrics":
                if self._poster is not None:
                    self._metrics.take_events(*self._poster.counts())
                text = self._metrics.text(self._health.age_s(now_s))
                return pages.Page(HTTPStatus.OK, text, metrics.CONTENT_TYPE)
            case "/healthz":
                return pages.verdict(self._health.find_illness(now_s))
            case "/readyz":
                return pages.verdict(self._health.find_hindrance(now_s))
        return pages.not_found()
