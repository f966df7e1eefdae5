"""The node on which hostile calls are served; runs in the cage, prints one JSON line for each find.

Usage: `python -m tests.fuzz.stage replay|probe|writable|fuzz FLAG...`, with the inputs on stdin, a
line of base64 each.  On stdout come the lines of `caged.py`, and for `fuzz` also a line for each
input that is worth keeping (`corpus`) or has broken the law (`found`).  If the host has changed in
the end, stderr says how, and the exit status is 1.
"""

import base64
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from amdcni.testing import Node, differences, dump, throwaway_node
from tests.fuzz.inputs import FIRST, SECOND, USERSPACE
from tests.fuzz.watch import OWN

CHECKOUT: Final = Path(__file__).parents[2]
_WITH_OWN_MOUNTS: Final = ("/usr/bin/unshare", "--mount", "--propagation=private")
ENVIRONMENT: Final = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


def furnish(node: Node) -> None:
    """Give the node two NICs, a function without a netdev, and two pods."""
    node.add_nic(FIRST, "enp1s0", ["192.168.1.8/31", "2001:db8:1::8/64"])
    node.add_nic(SECOND, "enp2s0", ["192.168.2.8/31", "2001:db8:2::8/64"])
    node.ip("route add 10.77.0.0/16 via 192.168.1.9")
    node.add_function(USERSPACE)
    for name in ("pod1", "pod2"):
        node.add_pod(name)


def main(arguments: Sequence[str]) -> int:
    """Serve the calls on a new node and return the exit status."""
    inputs = sys.stdin.buffer.read()
    with throwaway_node() as node:
        furnish(node)
        kept = node.root / OWN[1:]
        for folder in ("corpus", "found"):
            (kept / folder).mkdir(parents=True)
        given = []
        if arguments[0] == "fuzz":
            for number, line in enumerate(inputs.splitlines()):
                given.append(str(number))
                (kept / "corpus" / given[-1]).write_bytes(base64.b64decode(line))
        before = dump(node)
        process = node.start(
            [*_WITH_OWN_MOUNTS, sys.executable, "-m", "tests.fuzz.caged", *arguments],
            stdin=inputs,
            env=ENVIRONMENT,
            cwd=CHECKOUT,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            errors = threading.Thread(target=_pass_on, args=(process.stderr, sys.stderr.buffer))
            errors.start()
            _pass_on(process.stdout, sys.stdout.buffer)
            errors.join()
        changed = differences(before, dump(node))
        for kind in ("corpus", "found"):
            for path in sorted((kept / kind).iterdir()):
                if path.name in given:
                    continue
                data = base64.b64encode(path.read_bytes()).decode()
                print(json.dumps({"kind": kind, "name": path.name, "data": data}))
    for line in changed:
        print(f"the host is not as it was: {line}", file=sys.stderr)
    return 1 if changed else process.returncode


def _pass_on(source: IO[bytes], target: IO[bytes]) -> None:
    while data := os.read(source.fileno(), 65536):
        target.write(data)
        target.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
