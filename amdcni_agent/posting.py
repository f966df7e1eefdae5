"""Posts Kubernetes events, in a thread of the reporting process; loaded only where that is wanted.

The thread alone waits for the API server.  Each request has a connection of its own, since there
are few, and so none is stale, and each has the token and the certificates of the moment.
"""

import http.client
import json
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Final
from urllib.parse import quote

import attrs

from amdcni.core.request import LogLevel
from amdcni.log import Log
from amdcni_agent.cluster import Cluster
from amdcni_agent.happenings import Happened
from amdcni_agent.kube_events import Answer, Later, answer_of
from amdcni_agent.outbox import Moment, Outbox, Request

_MAX_BODY_BYTES: Final = 1 << 16
_PATCH: Final = "application/strategic-merge-patch+json"
_FAILURES: Final = (OSError, http.client.HTTPException, ValueError)
"""Whatever can go wrong with a connection, or with the files that it needs."""


@attrs.frozen
class Patience:
    """How long the API server may take: for any step of a request, and for all of it."""

    step_s: float = 10.0
    whole_s: float = 30.0


DEFAULT_PATIENCE: Final = Patience()


def ask(cluster: Cluster, request: Request, patience: Patience = DEFAULT_PATIENCE) -> Answer:
    """Make a request; what fails on the way to the API server, or back, is tried later."""
    try:
        return _ask(cluster, request, patience)
    except _FAILURES as failure:
        return Later(f"{type(failure).__name__}: {failure}"[:300])


def _ask(cluster: Cluster, request: Request, patience: Patience) -> Answer:
    told = request.told
    path = f"/api/v1/namespaces/{quote(told.event.namespace, safe='')}/events"
    headers = {
        "Authorization": f"Bearer {cluster.account.token()}",
        "Content-Type": "application/json" if request.is_new else _PATCH,
        "Accept": "application/json",
        "User-Agent": f"amdcni/{version('amdcni')}",
        "Connection": "close",
    }
    connection = http.client.HTTPSConnection(
        cluster.host, cluster.port, timeout=patience.step_s, context=_context(cluster)
    )
    ended = threading.Timer(patience.whole_s, _cut, (connection,))
    ended.daemon = True
    ended.start()
    try:
        method, path = ("POST", path) if request.is_new else ("PATCH", f"{path}/{told.name}")
        connection.request(method, path, json.dumps(request.body).encode(), headers)
        response = connection.getresponse()
        body = response.read(_MAX_BODY_BYTES)
        if response.length and len(body) < _MAX_BODY_BYTES:
            raise http.client.IncompleteRead(body, response.length)
        return answer_of(response.status, response.headers.get("Retry-After"), body)
    finally:
        ended.cancel()
        connection.close()


def _context(cluster: Cluster) -> ssl.SSLContext:
    """TLS that believes the cluster's own certificates, and no others.

    Not the default context: from Python 3.13 on, that refuses what kubeadm makes, and a variable
    would have it write the keys of the session into a file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=cluster.account.certificates())
    return context


def _cut(connection: http.client.HTTPSConnection) -> None:
    """End a connection in which another thread waits, even if a byte comes now and then."""
    opened = connection.sock
    if opened is not None:
        with suppress(OSError):
            # Below TLS: the end of its session is the business of the other thread.
            socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _now() -> Moment:
    return Moment(time.monotonic(), time.time())


class Poster:
    """Posts what happens to the API server, which `ask` asks, from a thread that it starts."""

    def __init__(
        self,
        outbox: Outbox,
        log: Log,
        ask: Callable[[Request], Answer],
        clock: Callable[[], Moment],
    ) -> None:
        self._outbox = outbox
        self._log = log
        self._ask = ask
        self._clock = clock
        self._changed = threading.Condition()
        self._ended = False
        self._counted = (0, 0)
        # A daemon: it may be waiting for an API server that is mute when its process ends.
        threading.Thread(target=self._work, name="events", daemon=True).start()

    def post(self, happened: Happened) -> None:
        """Have something posted; whoever calls this does not wait for it."""
        with self._changed:
            self._outbox.happened(happened, self._clock())
            self._changed.notify()

    def counts(self) -> tuple[int, int]:
        """How many requests were taken, and how many happenings dropped, since the last call."""
        with self._changed:
            now = (self._outbox.posted, self._outbox.dropped)
        before, self._counted = self._counted, now
        return now[0] - before[0], now[1] - before[1]

    def end(self) -> None:
        """Let the thread end as soon as it does not wait for the API server any more."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _work(self) -> None:
        try:
            while (request := self._next()) is not None:
                answer = self._ask(request)
                with self._changed:
                    complaint = self._outbox.answered(answer, self._clock())
                if complaint is not None:
                    facts = {"namespace": request.told.event.namespace, "reason": complaint}
                    self._log(LogLevel.WARNING, "events-not-posted", **facts)
        except Exception as failure:
            reason = f"{type(failure).__name__}: {failure}"
            self._log(LogLevel.ERROR, "events-ended", reason=reason)

    def _next(self) -> Request | None:
        """Wait for the next request; None at the end."""
        with self._changed:
            while not self._ended:
                now = self._clock()
                request = self._outbox.next(now)
                if request is not None:
                    return request
                due_s = self._outbox.next_time_s()
                self._changed.wait(None if due_s is None else max(0.0, due_s - now.steady_s))
        return None


def start_posting(cluster: Cluster, log: Log) -> Poster:
    """Post events to the API server of a cluster from now on."""
    outbox = Outbox(cluster.node, jitter=random.random)
    log(LogLevel.INFO, "events-posted", node=cluster.node, host=cluster.host, port=cluster.port)
    return Poster(outbox, log, lambda request: ask(cluster, request), _now)
