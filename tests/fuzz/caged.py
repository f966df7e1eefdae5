"""The process on the node in the cage that serves hostile calls; started by `stage.py`.

    caged.py replay       tries the inputs on stdin, a line of base64 each
    caged.py probe        reports what the cage lets through
    caged.py writable     reports only where it lets files be made
    caged.py fuzz FLAG... lets atheris make inputs; the flags are libFuzzer's

It loads everything, locks itself in and begins.  Only `fuzz` needs atheris.
"""

import base64
import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

from tests.fuzz import cage

_PACKAGES: Final = ("amdcni", "amdcni_shim")
_OF_OTHERS: Final = ("amdcni.testing", "amdcni.deployment", "amdcni.cli")
"""Packages that no call of the plugin loads."""


def load(instrumented: AbstractContextManager[Any]) -> None:
    """Import everything that a call can need; import the plugin itself within the context.

    Once this process is locked in, no more shared objects can be loaded.
    """
    for path in Path(sysconfig.get_path("platstdlib"), "lib-dynload").glob("*.so"):
        with suppress(ImportError):
            importlib.import_module(path.name.partition(".")[0])
    with instrumented:
        for name in _modules():
            importlib.import_module(name)


def _modules() -> Iterator[str]:
    for package in map(importlib.import_module, _PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(_OF_OTHERS):
                yield module.name


def replay() -> int:
    """Try the inputs from stdin, up to the first that breaks the law."""
    from tests.fuzz import edge, inputs

    lines = sys.stdin.buffer.read().splitlines()
    load(nullcontext())
    cage.lock()
    there = edge.made()
    for line in lines:
        data = base64.b64decode(line)
        try:
            there.try_bytes(data)
        except BaseException:
            print(f"this input breaks the law: {inputs.parse(data)}", file=sys.stderr)
            raise
    print(json.dumps({"tried": len(lines)}))
    return 0


def fuzz(flags: Sequence[str]) -> None:
    """Let atheris make inputs until one breaks the law or time is up; does not return."""
    import atheris

    os.dup2(2, 1)  # Atheris prints exceptions to stdout, which is for what is found.
    _load_fuzzer()
    load(atheris.instrument_imports(include=list(_PACKAGES)))
    from tests.fuzz import edge, inputs

    cage.lock()
    there = edge.made()
    gc.freeze()

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return inputs.mutated(data, max_size, seed, atheris.Mutate)

    atheris.Setup([sys.argv[0], *flags], there.try_bytes, custom_mutator=mutate)
    atheris.Fuzz()


def _load_fuzzer() -> None:
    """Import what atheris would otherwise import when it begins."""
    flags = sys.getdlopenflags()
    # libFuzzer finds the mutator's symbol only if that is loaded first and visible to everybody.
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    importlib.import_module("atheris.custom_mutator")
    sys.setdlopenflags(flags)
    importlib.import_module("atheris.core_with_libfuzzer")


# ---- what the cage lets through ----------------------------------------------------------------

_MARK: Final = "amdcni-probe"


def probe() -> int:
    """Print what can be written, executed and seen once this process is locked in, as JSON.

    Plugins are looked for and started in the same way as by the plugin under test.
    """
    load(nullcontext())
    cage.lock()
    executables = [
        *_files_in("/usr/bin", "/usr/sbin", cage.PLUGINS),
        *("/proc/self/exe", sys.executable, os.path.realpath(sys.executable)),
    ]
    status = Path("/proc/self/status").read_text()
    answer = {
        "writable": _writable(),
        "executables": executables,
        "found": [path for path in executables if _is_found(path)],
        "executed": [path for path in executables if _can_execute(path)],
        "netns": sorted({os.readlink(path) for path in Path("/proc").glob("[0-9]*/ns/net")}),
        "netdevs": sorted(os.listdir("/sys/class/net")),
        "devices": sorted(path.name for path in Path("/dev").iterdir()),
        "sockets": _sockets(),
        "status": dict(line.split(":\t", 1) for line in status.splitlines()),
        "user": Path("/proc/self/uid_map").read_text().split()[1],
        "system_files": [path for path in _SYSTEM_FILES if os.access(path, os.W_OK)],
    }
    print(json.dumps(answer))
    return 0


def probe_writable() -> int:
    """Print where files can be made once this process is locked in, as JSON."""
    load(nullcontext())
    cage.lock()
    print(json.dumps({"writable": _writable()}))
    return 0


_SYSTEM_FILES: Final = (
    *("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname"),
    *("/proc/sys/vm/drop_caches", "/proc/irq/default_smp_affinity", "/dev/kmsg"),
)


def _files_in(*folders: str) -> list[str]:
    return [entry.path for folder in folders for entry in os.scandir(folder) if entry.is_file()]


def _writable() -> list[str]:
    return [folder for folder, _, _ in os.walk("/") if _can_write_in(folder)]


def _can_write_in(folder: str) -> bool:
    path = os.path.join(folder, _MARK)
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.unlink(path)
        return True
    return False


def _is_found(path: str) -> bool:
    from amdcni.core.errors import PluginNotFound
    from amdcni.core.names import PluginName
    from amdcni.effects.plugins import find_plugin

    folder, name = os.path.split(path)
    with suppress(PluginNotFound):
        return find_plugin(PluginName(name), [folder]) == path
    return False


def _can_execute(path: str) -> bool:
    with suppress(OSError):
        subprocess.run([path], stdin=subprocess.DEVNULL, capture_output=True, check=False, env={})
        return True
    return False


def _sockets() -> list[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return [line.split()[7] for line in lines if len(line.split()) > 7]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["replay"]:
            sys.exit(replay())
        case ["probe"]:
            sys.exit(probe())
        case ["writable"]:
            sys.exit(probe_writable())
        case ["fuzz", *flags]:
            fuzz(flags)
