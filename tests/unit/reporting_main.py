"""A main process in miniature, which the tests of the reporting process start and command."""

import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path

from amdcni.core.request import LogLevel
from amdcni.log import make_log
from amdcni_agent.address import Address
from amdcni_agent.messages import parse_message
from amdcni_agent.reports import Reporter


def main(folder: Path) -> None:
    """Obey one command a line, and answer with one line."""
    # What an agent has open, and its other processes must not keep open.
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    served = socket.socket(socket.AF_UNIX)
    served.bind(str(folder / "agent.sock"))
    served.listen()

    reporter = Reporter(Address.parse("127.0.0.1:0"), make_log(LogLevel.INFO, None, sys.stderr))
    for line in sys.stdin:
        command, _, rest = line.rstrip("\n").partition(" ")
        print(obey(reporter, command, rest), flush=True)


def obey(reporter: Reporter, command: str, rest: str) -> str:
    match command:
        case "start":
            reporter.start()
        case "send":
            reporter.send(parse_message(rest.encode()))
            return "sent"
        case "flood":
            count, _, message = rest.partition(" ")
            for _ in range(int(count)):
                reporter.send(parse_message(message.encode()))
        case "died":
            return str(reporter.died())
        case "forget":
            reporter.forget()
        case "stop":
            reporter.stop()
        case "worker":
            return str(fork_a_worker())
        case "children":
            me = os.getpid()
            return json.dumps(
                [int(n) for n in Path(f"/proc/{me}/task/{me}/children").read_text().split()]
            )
    return "done"


def fork_a_worker() -> int:
    """Fork a process that keeps everything open and outlives its parent."""
    pid = os.fork()
    if pid == 0:
        time.sleep(3600)
        os._exit(0)
    return pid


if __name__ == "__main__":
    main(Path(sys.argv[1]))
