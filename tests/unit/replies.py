"""The messages with which a kernel answers, made from what was sent to it."""

import struct
import sys
from typing import Any

import attrs

from amdcni.effects.rtnetlink import HEADER_BYTES, Reply, Request


def reply_to(request: Request) -> Reply:
    """The kernel's message about a thing, which has the form of the request that made it."""
    return Reply(request.kind, request.flags, request.body)


def having(reply: Reply, offset: int, value: int, size: int) -> Reply:
    """The same with another number in its fixed part."""
    number = value.to_bytes(size, sys.byteorder)
    body = reply.body[:offset] + number + reply.body[offset + size :]
    return attrs.evolve(reply, body=body)


def message_of(message: Any, **values: Any) -> Reply:
    """A message of pyroute2 with attributes, such as `IFLA_MTU=1400`, as the kernel would send."""
    message["attrs"] = list(values.items())
    message.encode()
    return Reply(0, 0, bytes(message.data[HEADER_BYTES:]))


def decoded(request: Request, message_class: Any) -> Any:
    """What pyroute2 makes of a request."""
    data = struct.pack("=I", HEADER_BYTES + len(request.body)) + bytes(12) + request.body
    message = message_class(data)
    message.decode()
    return message
