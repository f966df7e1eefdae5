"""The interrupts of PCI devices: which there are, and which CPUs each of them may go to."""

from collections.abc import Collection
from typing import Final

from amdcni.core.errors import KernelRefused
from amdcni.core.host import Interrupts
from amdcni.core.names import PciAddress
from amdcni.effects.files import text_in, write
from amdcni.effects.sysfs import entries, folder_of

_IRQ: Final = "/proc/irq"

_MOST_OTHERS: Final = 64
"""How many interrupts of other devices are looked at: a large node has thousands."""


def read(device: PciAddress, others: Collection[str] | None = None) -> Interrupts | None:
    """The interrupts of the device and `others`, by default some from all over the host.

    None if the device has none of its own, as before its driver is bound.
    """
    own = _numbers_in(f"{folder_of(device)}/msi_irqs")
    if not own:
        return None
    if others is None:
        rest = [number for number in _numbers_in(_IRQ) if number not in own]
        others = rest[:: len(rest) // _MOST_OTHERS + 1]
    return Interrupts(_cpus_of(own), _cpus_of(others))


def _numbers_in(folder: str) -> list[str]:
    return sorted((name for name in entries(folder) if name.isdigit()), key=int)


def _cpus_of(numbers: Collection[str]) -> dict[str, str]:
    found = {number: text_in(_file_of(number)) for number in numbers if number.isdigit()}
    return {number: cpus for number, cpus in found.items() if cpus}


def _file_of(number: str) -> str:
    return f"{_IRQ}/{number}/smp_affinity_list"


def assign(number: str, cpus: str) -> None:
    """Let an interrupt go to these CPUs; raises KernelRefused."""
    try:
        write(_file_of(number), f"{cpus}\n")
    except OSError as error:
        raise KernelRefused(
            f"the kernel refused to let interrupt {number} go to the CPUs {cpus}: {error.strerror}"
        ) from None
