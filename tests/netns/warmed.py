"""The calls that `warm.py` asks for; a script that the kit's `forking.py` loads, and then forks.

Everything is imported when it is loaded, and each process that is forked goes on as the executable
does after its start.
"""

import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from amdcni_shim import process, start

PACKAGES: Final = ("amdcni.core", "amdcni.effects", "amdcni.verbs", "amdcni.cli")
RECORD: Final = Path(__file__).parents[1] / "unit/data/record-format-1.json"
CALL: Final = {
    "CNI_CONTAINERID": "pod1",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/run/netns/pod1",
    "CNI_PATH": "/opt/cni/bin",
}
RESULT: Final = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod1"}],
    "ips": [{"address": "192.0.2.1/31", "interface": 0}],
    "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.0"}],
}
CONFIG: Final = {
    "cniVersion": "1.1.0",
    "name": "fabric",
    "type": "amd-host-device",
    "deviceID": "0000:01:00.0",
    "ipam": {"type": "host-local"},
    "prevResult": RESULT,
}


def load() -> None:
    """Import what any call needs, and keep the collector from touching and so copying it."""
    process.start_lightly()
    for name in PACKAGES:
        package = importlib.import_module(name)
        for each in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(each.name)
    importlib.import_module("amdcni_shim.__main__")
    importlib.import_module("amdcni_shim.edge")
    importlib.import_module("amdcni.log")
    rehearse()
    gc.freeze()


def rehearse() -> None:
    """Read and write what calls do: the codec prepares itself at the first value of each type."""
    from amdcni.core import codec, formats
    from amdcni.core.request import parse_environment
    from amdcni.core.versions import CniVersion

    formats.attachment_to_json(formats.parse_attachment(RECORD.read_bytes()))
    for verb in ("ADD", "CHECK", "DEL"):
        call = parse_environment({**CALL, "CNI_COMMAND": verb})
        formats.parse_call(call, json.dumps(CONFIG).encode())
    codec.result_to_json(codec.result_from_json(RESULT), CniVersion("1.1.0"))


def become(
    argv: list[str],
    env: Mapping[str, str],
    before: tuple[str, str, Sequence[str | int]] | None,
) -> None:
    """Serve one call with this environment, after what it has to do before, and exit."""
    stdin, stdout, stderr = (io.FileIO(n, mode) for n, mode in enumerate(("r", "w", "w")))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(stdin))
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(stdout))
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(stderr), errors="backslashreplace", line_buffering=True
    )
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    if before is not None:
        module, name, arguments = before
        getattr(importlib.import_module(module), name)(*arguments)
    run(os.path.basename(argv[0]))


def run(program: str) -> None:
    """Run one of the two executables, or a script in Python as an interpreter of its own does."""
    if program == "amd-host-device":
        start.run()
    elif program == "amdcni":
        importlib.import_module("amdcni.cli").run()
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


load()
