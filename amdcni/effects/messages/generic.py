"""Generic netlink: which number the kernel has given to a family of messages."""

import struct
from typing import Final

from amdcni.effects.messages.common import number_of, octets_of_text
from amdcni.effects.rtnetlink import Reply, Request, attributes_in

COMMAND: Final = struct.Struct("=BBH")  # struct genlmsghdr: command, version, reserved
_ATTRIBUTE: Final = struct.Struct("=HH")
_GENL_ID_CTRL: Final = 0x10
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_ID: Final = 1
_CTRL_ATTR_FAMILY_NAME: Final = 2
NLA_F_NESTED: Final = 0x8000


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute as it is in a message."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that consists of others."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def family_query(name: str) -> Request:
    """The query for the number of a family."""
    asked = attribute(_CTRL_ATTR_FAMILY_NAME, octets_of_text(name))
    return Request(_GENL_ID_CTRL, 0, COMMAND.pack(_CTRL_CMD_GETFAMILY, 1, 0) + asked)


def family_of(reply: Reply) -> int:
    """The number in the controller's answer."""
    return number_of(dict(attributes_in(reply.body, COMMAND.size)).get(_CTRL_ATTR_FAMILY_ID)) or 0
