"""udev, which sets name, MTU and the like of every netdev that is new to it, also of ours.

A netdev that comes home is new to it: the kernel tells it of one that has gone and one that has
appeared (net/core/dev.c, __dev_change_net_namespace).  What it did late would undo what is
restored, so it goes first.
"""

import os
import time
from typing import Final

_POLL_S: Final = 0.01
_POLLS: Final = 100
"""A second: where it hears nothing of this network namespace, nothing comes."""


def await_udev(ifindex: int, folder: str) -> None:
    """Wait until udev, whose folder this is, is done with a netdev.

    While it has something to do, there is a file `queue`; what it knows of a netdev, it writes at
    the end, and removes when the netdev leaves (systemd, src/udev/udevd.c and udev-event.c).
    """
    for _ in range(_POLLS):
        if os.path.exists(f"{folder}/data/n{ifindex}") and not os.path.exists(f"{folder}/queue"):
            break
        time.sleep(_POLL_S)
