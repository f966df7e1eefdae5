"""Soft-RoCE that behaves like the RDMA device of a real NIC, built from the source of the kernel.

QEMU has no RDMA NIC whose driver is in Debian's kernel, and Debian's soft-RoCE cannot change its
network namespace, and is destroyed when its netdev does.  A few lines make it one that can: its
`disassociate_ucontext` has nothing to do, it stays as long as its netdev only moves, and it belongs
to the device of its netdev, as hardware does, and not to its netdev.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.debian import NotHere, run, unpack
from tests.vm.packages import Unpacked

_DRIVER: Final = "drivers/infiniband/sw/rxe"

_CHANGES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "rxe_net.c": (
        (
            "\tcase NETDEV_UNREGISTER:\n",
            "\tcase NETDEV_UNREGISTER:\n\t\tif (ndev->reg_state == NETREG_REGISTERED)\n"
            "\t\t\tbreak;\n",
        ),
    ),
    "rxe_verbs.c": (
        (
            "static const struct ib_device_ops rxe_dev_ops = {\n",
            "static bool movable = true;\nmodule_param(movable, bool, 0444);\n\n"
            "static void rxe_disassociate_ucontext(struct ib_ucontext *ibcontext)\n{\n}\n\n"
            "static const struct ib_device_ops rxe_dev_ops = {\n"
            "\t.disassociate_ucontext = rxe_disassociate_ucontext,\n",
        ),
        ("\t.device_group = &rxe_attr_group,\n", ""),
        (
            "\tib_set_device_ops(dev, &rxe_dev_ops);\n",
            "\tib_set_device_ops(dev, &rxe_dev_ops);\n"
            "\tif (!movable)\n\t\tdev->ops.disassociate_ucontext = NULL;\n"
            "\tdev->dev.parent = rxe->ndev->dev.parent;\n",
        ),
    ),
}


def built(unpacked: Unpacked, folder: Path) -> Path:
    """Return the module for the machine's kernel, built in `folder` if it is not there yet.

    Raises:
        NotHere: it cannot be built on this computer.
    """
    release = unpacked.modules.name
    module = folder / f"rdma_rxe-{release}.ko"
    if not module.exists():
        for tool in ("gcc", "make", "tar", "strip"):
            if shutil.which(tool) is None:
                raise NotHere(f"soft-RoCE is built by {tool}, which is missing")
        _build(release, folder / "source", module)
    return module


def _build(release: str, folder: Path, module: Path) -> None:
    found = re.fullmatch(r"((\d+\.\d+)\.\S+)-[^-]+", release)
    if found is None:
        raise NotHere(f"{release} is not the release of a kernel of Debian")
    abi, version = found.groups()
    names = (f"linux-headers-{release}", f"linux-headers-{abi}-common", f"linux-kbuild-{version}")
    source = f"linux-source-{version}"
    unpack(lambda: [*names, source], folder)
    archive = folder / "usr/src" / f"{source}.tar.xz"
    run(["tar", "--extract", "--file", archive, "--directory", folder, f"{source}/{_DRIVER}"])
    archive.unlink()
    driver, there = folder / source / _DRIVER, folder / "usr/src"
    _change(driver)
    makefile = there / names[0] / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{there}/"))
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    argv = ["make", "-C", str(there / names[0]), f"M={driver}", "CC=gcc", "modules"]
    run(argv, environment=environment)
    part = module.with_suffix(".part")
    subprocess.run(["strip", "--strip-debug", "-o", part, driver / "rdma_rxe.ko"], check=True)
    shutil.rmtree(folder)
    part.rename(module)


def _change(driver: Path) -> None:
    for name, changes in _CHANGES.items():
        text = (driver / name).read_text()
        for before, after in changes:
            if text.count(before) != 1:
                raise NotHere(f"{name} of this kernel is not as expected: {before.strip()!r}")
            text = text.replace(before, after)
        (driver / name).write_text(text)
