"""The machine: QEMU with real PCI NICs, in which this checkout's tests and plugin run.

It shares /usr, the checkout and the interpreter with this computer, read-only, but not its
network: the machine's NICs are plugged into a hub inside QEMU.  It ends with the process that
started it.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from tests.vm.hot import hot_files
from tests.vm.initrd import write_initrd
from tests.vm.nics import SLOTS
from tests.vm.packages import Unpacked

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_MEMORY_MIB = 768
_CPUS = 2
_KERNEL_ARGUMENTS = (
    "console=ttyS0 panic=-1 quiet tsc=reliable no_timer_check mitigations=off nokaslr"
    " intel_iommu=on"
)
_USR = Path("/usr")


@frozen
class Boot:
    """A machine that was started; its output goes to files in `folder`."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def lines(self, name: str) -> list[Any]:
        """Return the JSON values of a file that `recording` writes."""
        # The last line may be incomplete.
        whole = [line for line in self._text(name).splitlines(True) if line.endswith("\n")]
        return [json.loads(line) for line in whole]

    @property
    def signs_of_life(self) -> tuple[int, ...]:
        """The sizes of its output files, which change as long as something happens in it."""
        paths = (self.folder / name for name in ("reports", *_OUTPUT))
        return tuple(path.stat().st_size if path.exists() else 0 for path in paths)

    @property
    def last_words(self) -> str:
        """The end of the machine's output: what it was doing, the log of pytest, the console."""
        return "\n".join(f"--- {name}\n{self._text(name)[-4000:].strip()}" for name in _OUTPUT)

    def _text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def end(self) -> None:
        """Switch it off if it is still running."""
        self.process.kill()
        self.process.wait()


_OUTPUT: Final = ("signs", "log", "console")


def boot(
    unpacked: Unpacked,
    folder: Path,
    state: Path,
    command: Sequence[str],
    soft_roce: Path | str,
) -> Boot:
    """Start a machine that runs `command` in the checkout.

    In the machine, `folder` is /out; `state`, which outlives the machine, is copied to
    /var/lib/cni.
    `soft_roce` is the module, or why there is none.
    """
    state.mkdir(exist_ok=True)
    shares = dict(_shares())
    script = f"cd {shlex.quote(str(CHECKOUT))} && exec {shlex.join(command)}\n"
    (folder / "run").write_text(script)
    initrd = folder / "initrd"
    write_initrd(initrd, unpacked, shares, hot_files(CHECKOUT), soft_roce)
    argv = [
        # If this process is killed, nothing else ends the machine.
        *("setpriv", "--pdeathsig=KILL", "--"),
        *unpacked.qemu,
        # Even where /dev/kvm exists, it may not run this kernel.
        *("-accel", "tcg", "-machine", "q35,i8042=off"),
        # vfio-pci accepts only devices behind an IOMMU.
        *("-device", "intel-iommu"),
        # A third faster than "max", whose newest features are the costliest to emulate.
        *("-cpu", "Nehalem"),
        *("-m", str(_MEMORY_MIB), "-smp", str(_CPUS)),
        *("-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(unpacked.kernel), "-initrd", str(initrd), "-append", _KERNEL_ARGUMENTS),
        *_share_options("usr", _USR),
        *_share_options("out", folder, writable=True),
        *_share_options("state", state, writable=True),
        *(word for tag, path in shares.items() for word in _share_options(tag, path)),
        *_nic_options(),
    ]
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=unpacked.environment,
        )
    return Boot(process, folder)


def _shares() -> Iterator[tuple[str, Path]]:
    """Yield tag and path of each share besides /usr; its path in the machine is the same."""
    outside: list[Path] = []
    for path in (CHECKOUT, *_interpreter_folders()):
        if not any(path.is_relative_to(shared) for shared in (_USR, *outside)):
            outside.append(path)
            yield f"share{len(outside)}", path


def _interpreter_folders() -> Iterable[Path]:
    return (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())


def _share_options(tag: str, path: Path, *, writable: bool = False) -> Iterator[str]:
    mode = "" if writable else ",readonly=on"
    where = str(path).replace(",", ",,")
    yield from (
        "-fsdev",
        f"local,id={tag},path={where},security_model=none,multidevs=remap{mode}",
    )
    yield from ("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")


def _nic_options() -> Iterator[str]:
    for slot in SLOTS:
        wire = f"wire{slot.number}"
        yield from ("-netdev", f"hubport,id={wire},hubid=0")
        yield from (
            "-device",
            f"{slot.model},netdev={wire},mac={slot.mac},addr={slot.number:#x},romfile=",
        )
