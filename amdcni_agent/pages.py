"""The pages for scrapers and probes: from the head of a request to a whole response; pure.

One request a connection, GET or HEAD, without a body: more than that, nobody needs here.
"""

from http import HTTPStatus
from typing import Final

import attrs

MAX_HEAD_BYTES: Final = 8192
"""A request with a larger head is refused."""

TEXT: Final = "text/plain; charset=utf-8"

_END: Final = b"\r\n\r\n"


@attrs.frozen
class Page:
    """What is answered: `body` has the type `content_type`."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


@attrs.frozen
class Request:
    """Which page is wanted; `is_head` is whether without its body."""

    path: str
    is_head: bool = False


def parse_head(received: bytes) -> Request | Page | None:
    """The request; or the page that refuses it; or None while its head is not complete."""
    if len(received) > MAX_HEAD_BYTES and received.find(_END, 0, MAX_HEAD_BYTES) < 0:
        return _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if _END not in received:
        return None
    words = received.partition(b"\r\n")[0].decode("latin-1").split(" ")
    match words:
        case [method, target, ("HTTP/1.0" | "HTTP/1.1")] if target.startswith("/"):
            if method not in ("GET", "HEAD"):
                return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
            return Request(target.partition("?")[0], is_head=method == "HEAD")
    return _refusal(HTTPStatus.BAD_REQUEST)


def verdict(fault: str | None) -> Page:
    """The page of a probe: 200 if there is no fault, otherwise 503."""
    if fault is None:
        return Page(HTTPStatus.OK, b"ok\n")
    return Page(HTTPStatus.SERVICE_UNAVAILABLE, f"{fault}\n".encode())


def not_found() -> Page:
    """The page of every other path."""
    return _refusal(HTTPStatus.NOT_FOUND)


def _refusal(status: HTTPStatus) -> Page:
    return Page(status, f"{status.phrase}\n".encode())


def response(page: Page, *, is_head: bool = False) -> bytes:
    """The page as it is sent; the connection ends with it."""
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join(lines).encode() + _END
    return head if is_head else head + page.body
