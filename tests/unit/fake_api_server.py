"""An API server of Kubernetes, as far as events (core/v1) are concerned, over TLS.

It checks what the real one checks, and answers in its words.  It uses nothing but the standard
library, and none of the code that it judges, so that it can also run as a program on a throwaway
node::

    python fake_api_server.py FOLDER ADDRESS PORT

There, `FOLDER` has `server.pem` and `token`; `events.json` appears in it, and so does `fault`, a
word for what every request meets with.
"""

import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DOTTED = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
PATCHES = "application/strategic-merge-patch+json"
KEYS = {
    "apiVersion": str,
    "kind": str,
    "metadata": dict,
    "involvedObject": dict,
    "reason": str,
    "message": str,
    "source": dict,
    "firstTimestamp": str,
    "lastTimestamp": str,
    "count": int,
    "type": str,
    "reportingComponent": str,
    "reportingInstance": str,
}
"""Those keys of an event that its schema has and that are posted; others are unknown."""
REFERENCE = {"apiVersion", "kind", "namespace", "name", "uid", "resourceVersion", "fieldPath"}
MUTE_S = 3600
MOST_MESSAGE_BYTES = 1024
MOST_NAME = 253
MOST_REASON = 128


def faults_in(event: dict[str, Any]) -> Iterator[str]:
    """What the real API server, or its schema, has against an event."""
    for key, value in event.items():
        if key not in KEYS:
            yield f"unknown field {key!r}"
        elif not isinstance(value, KEYS[key]):
            yield f"{key} is {value!r}"
    yield from (f"{key} is missing" for key in sorted(KEYS.keys() - event.keys()))
    if (event.get("apiVersion"), event.get("kind")) != ("v1", "Event"):
        yield "no v1 Event"
    metadata, about = event.get("metadata", {}), event.get("involvedObject", {})
    name, namespace = metadata.get("name", ""), metadata.get("namespace", "")
    if len(name) > MOST_NAME or not re.fullmatch(DOTTED, name):
        yield f"metadata.name {name!r}"
    if not re.fullmatch(LABEL, namespace):
        yield f"metadata.namespace {namespace!r}"
    if metadata.keys() != {"name", "namespace"}:
        yield f"metadata {metadata}"
    if not about.keys() <= REFERENCE or not about.get("kind") or not about.get("name"):
        yield f"involvedObject {about}"
    # pkg/apis/core/validation/events.go, legacyValidateEvent
    if about.get("namespace", "default") != namespace:
        yield "involvedObject.namespace: does not match event.namespace"
    if event.get("source", {}).keys() != {"component", "host"}:
        yield "source"
    for key in ("reason", "reportingComponent", "reportingInstance"):
        if not 0 < len(event.get(key, "")) <= MOST_REASON:
            yield key
    if not re.fullmatch("[A-Z][A-Za-z]+", event.get("reason", "")):
        yield "reason is not in CamelCase"
    if event.get("type") not in ("Normal", "Warning"):
        yield "type"
    yield from change_faults_in(event)


def change_faults_in(event: dict[str, Any]) -> Iterator[str]:
    """The same, for what a patch may change."""
    if len(event.get("message", "").encode()) > MOST_MESSAGE_BYTES or not event.get("message"):
        yield "message"
    if event.get("count", 0) < 1:
        yield "count"
    for key in {"firstTimestamp", "lastTimestamp"} & event.keys():
        if not re.fullmatch(STAMP, event[key]):
            yield key


class ApiServer:
    """What is in the cluster, and how requests are answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.gone_namespaces: set[str] = set()
        self.ending_namespaces: set[str] = set()
        self.forbidden: set[tuple[str, str]] = set()
        """Methods and namespaces that the service account may not use."""
        self.faults: deque[str] = deque()
        """What the next requests meet with: a status, or `mute`, `half`, `closed`, `garbage` ..."""
        self.seen: list[tuple[str, str, int]] = []
        """The method, the path and the status of each request."""
        self.lock = threading.Lock()

    def fault(self) -> str:
        with self.lock:
            if self.faults:
                return self.faults.popleft()
        with suppress(OSError):
            return (self.folder / "fault").read_text().strip()
        return ""

    def save(self) -> None:
        new = self.folder / "events.json.new"
        new.write_text(json.dumps(list(self.events.values())))
        new.rename(self.folder / "events.json")

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """The status and the object of the response to a request."""
        token = (self.folder / "token").read_text().strip()
        if headers["Authorization"] != f"Bearer {token}":
            return 401, status(401, "Unauthorized", "Unauthorized")
        found = re.fullmatch(r"/api/v1/namespaces/([^/]+)/events(?:/([^/]+))?", path)
        if found is None or (method == "PATCH") != bool(found[2]):
            return 404, status(404, "NotFound", "the server could not find the requested resource")
        namespace, name = found[1], found[2] or ""
        if (method, namespace) in self.forbidden:
            verb = {"POST": "create", "PATCH": "patch"}[method]
            words = (
                'events is forbidden: User "system:serviceaccount:kube-system:amdcni" cannot '
                f'{verb} resource "events" in API group "" in the namespace "{namespace}"'
            )
            return 403, status(403, "Forbidden", words)
        if namespace in self.gone_namespaces:
            return 404, status(404, "NotFound", f'namespaces "{namespace}" not found')
        wanted = "application/json" if method == "POST" else PATCHES
        if headers["Content-Type"] != wanted:
            return 415, status(415, "UnsupportedMediaType", f"not {wanted}")
        said = json.loads(body)
        with self.lock:
            if method == "POST":
                return self._create(namespace, said)
            return self._patch(namespace, name, said)

    def _create(self, namespace: str, event: dict[str, Any]) -> tuple[int, Any]:
        faults = list(faults_in(event))
        if event.get("metadata", {}).get("namespace") != namespace:
            return 400, status(400, "BadRequest", "the namespace of the object does not match")
        if faults:
            return 422, status(422, "Invalid", f"Event is invalid: {faults}")
        name = event["metadata"]["name"]
        if namespace in self.ending_namespaces:
            cause = {"reason": "NamespaceTerminating", "field": "metadata.namespace"}
            words = f"unable to create new content in namespace {namespace}"
            details = {"name": name, "kind": "events", "causes": [cause]}
            return 403, {**status(403, "Forbidden", words), "details": details}
        if (namespace, name) in self.events:
            return 409, status(409, "AlreadyExists", f'events "{name}" already exists')
        self.events[namespace, name] = event
        self.save()
        return 201, event

    def _patch(self, namespace: str, name: str, patch: dict[str, Any]) -> tuple[int, Any]:
        known = self.events.get((namespace, name))
        if known is None:
            return 404, status(404, "NotFound", f'events "{name}" not found')
        faults = list(change_faults_in({**known, **patch}))
        if faults or not patch.keys() <= {"count", "message", "lastTimestamp", "firstTimestamp"}:
            return 422, status(422, "Invalid", f"Event is invalid: {faults} {patch}")
        known.update(patch)
        self.save()
        return 200, known


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def handler_of(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.respond()

        def do_PATCH(self) -> None:
            self.respond()

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fault = server.fault()
            if fault == "lost":
                # Done, but nobody hears of it.
                server.answer(self.command, self.path, self.headers, body)
            if fault and not fault.isdecimal():
                server.seen.append((self.command, self.path, 0))
                self.misbehave(fault)
                self.close_connection = True
                return
            if fault:
                code, said = int(fault), status(int(fault), "InternalError", "it is broken")
            else:
                code, said = server.answer(self.command, self.path, self.headers, body)
            server.seen.append((self.command, self.path, code))
            data = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if code == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(data)

        def misbehave(self, fault: str) -> None:
            match fault:
                case "mute":
                    time.sleep(MUTE_S)
                case "half":
                    self.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{")
                case "garbage":
                    self.wfile.write(b"\x00\xff" * 500)
                case "endless":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    with suppress(OSError):
                        while True:
                            self.wfile.write(b"X: " + b"x" * 1000 + b"\r\n")
                case "drip":
                    with suppress(OSError):
                        while True:
                            self.wfile.write(b"H")
                            time.sleep(0.01)
                case "redirect":
                    self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: http://[::1]:1/\r\n\r\n")
                case _:
                    pass

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class TlsServer(ThreadingHTTPServer):
    """The handshake happens in the thread of each connection."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], server: ApiServer) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(server.folder / "server.pem")
        self.server = server
        super().__init__(address, handler_of(server))

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as wrapped:
            handler_of(self.server)(wrapped, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serving(server: ApiServer, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve in a thread until the end of the `with`; the port."""
    tls = TlsServer((host, 0), server)
    thread = threading.Thread(target=tls.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield tls.server_address[1]
    finally:
        tls.shutdown()
        thread.join()
        tls.server_close()


def make_certificates(folder: Path, *names: str) -> None:
    """Make `ca.crt`, and `server.pem` for a server with these names, such as `IP:127.0.0.1`."""

    def openssl(*words: str) -> None:
        subprocess.run(
            ["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=120
        )

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        *("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30"),
        *("-subj", "/CN=kubernetes"),
    )
    openssl(
        *("req", *key, "-keyout", "server.key", "-out", "server.csr"),
        *("-subj", "/CN=kube-apiserver"),
    )
    (folder / "names").write_text(f"subjectAltName={','.join(names)}\n")
    openssl(
        *("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", "30", "-extfile", "names", "-out", "server.crt"),
    )
    whole = (folder / "server.key").read_text() + (folder / "server.crt").read_text()
    (folder / "server.pem").write_text(whole)


def main(folder: str, host: str, port: str) -> None:
    server = ApiServer(Path(folder))
    server.save()
    TlsServer((host, int(port)), server).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
