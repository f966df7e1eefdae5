"""Settings of `ethtool` by ioctl: those that generic netlink does not have on every kernel."""

import errno
import fcntl
import socket
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from amdcni.core.aspects.ethtool import SetEthtool
from amdcni.effects.messages import ethtool_commands as messages

_SIOCETHTOOL: Final = 0x8946
_IFREQ: Final = struct.Struct("16sP16x")  # struct ifreq: the name, and where the command is

Run = Callable[[bytes], bytes]
"""Has the driver carry out a command, and returns its answer; raises OSError."""

GROUPS: Final = ("rss", "hash-fields", "tunables")


@contextmanager
def commands(ifname: str) -> Iterator[Run]:
    """What runs commands for a netdev of the network namespace that this thread is in."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:

        def run(command: bytes) -> bytes:
            memory = array("B", command)
            address, _ = memory.buffer_info()
            fcntl.ioctl(opened, _SIOCETHTOOL, _IFREQ.pack(ifname.encode(), address))
            return memory.tobytes()

        yield run


def read(run: Run) -> Iterator[tuple[str, int | str]]:
    """The settings that the driver has, each with the name of its group before its own."""
    with suppress(OSError):
        yield from messages.rss_in(_ask_rss(run)).items()
    for packets in messages.PACKETS:
        try:
            yield f"hash-fields/{packets}", messages.hash_in(run(messages.hash_query(packets)))
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                break
    for name in messages.TUNABLES:
        with suppress(OSError):
            yield f"tunables/{name}", messages.tunable_in(run(messages.tunable_query(name)), name)


def _ask_rss(run: Run) -> bytes:
    return run(messages.rss_query(*messages.rss_sizes(run(messages.rss_query()))))


def read_rules(run: Run) -> tuple[int, ...]:
    """The numbers of the rules for received packets."""
    try:
        count = messages.rule_count(run(messages.rules_query()))
        return messages.rules_in(run(messages.rules_query(count))) if count else ()
    except OSError:
        return ()


def put(run: Run, change: SetEthtool) -> None:
    """Make a change of one of the `GROUPS`; raises OSError."""
    if change.group == "rss":
        run(messages.put_rss(change, _ask_rss(run)))
        return
    for each in change.settings:
        run(_PUT[change.group](each.name, int(each.value)))


_PUT: Final[Mapping[str, Callable[[str, int], bytes]]] = {
    "hash-fields": messages.put_hash,
    "tunables": messages.put_tunable,
}
