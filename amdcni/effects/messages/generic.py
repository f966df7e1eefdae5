"""Generic netlink: which number the kernel has given to a family of messages."""

import struct
from typing import Final

from amdcni.effects.messages.common import number_of, octets_of_text
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in

COMMAND: Final = struct.Struct("=BBH")  # struct genlmsghdr: command, version, reserved
_GENL_ID_CTRL: Final = 0x10
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_ID: Final = 1
_CTRL_ATTR_FAMILY_NAME: Final = 2


def family_query(name: str) -> Request:
    """The query for the number of a family."""
    asked = attribute(_CTRL_ATTR_FAMILY_NAME, octets_of_text(name))
    return Request(_GENL_ID_CTRL, 0, COMMAND.pack(_CTRL_CMD_GETFAMILY, 1, 0) + asked)


def family_of(reply: Reply) -> int:
    """The number in the controller's answer."""
    return number_of(dict(attributes_in(reply.body, COMMAND.size)).get(_CTRL_ATTR_FAMILY_ID)) or 0
