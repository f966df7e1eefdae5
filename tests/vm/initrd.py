"""The initial file system of the machine: busybox, kernel modules and the script that goes on."""

import lzma
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from tests.vm.packages import Unpacked

_APPLETS = ("sh", "cp", "mount", "mkdir", "insmod", "rmmod", "echo", "poweroff", "sync")
_FOLDERS = (
    "bb",
    "dev",
    "etc",
    "hot",
    "modules",
    "out",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "state",
    "var/lib/cni",
    "var/tmp",
)
_OF_THE_SYSTEM = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "iproute2")
_IN_USR = ("bin", "sbin", "lib", "lib64")

_QDISCS = "cake choke codel drr ets fq hfsc htb ingress mqprio multiq netem pie prio red sfq tbf"
_FILTERS = "basic bpf cgroup flow flower fw matchall route u32"
_ACTIONS = "connmark csum gact mirred nat pedit police sample simple skbedit tunnel_key vlan"

_MODULES = (
    *("virtio_pci", "9pnet_virtio", "9p", "overlay"),
    *("e1000e", "virtio_net", "vmxnet3"),
    *("dummy", "veth", "pci_stub", "uio_pci_generic", "vfio_pci", "vfio_iommu_type1"),
    *("8021q", "macvlan", "ipvlan", "macsec", "tun", "bonding", "vrf", "wireguard", "vcan"),
    *("vxlan", "geneve", "mpls_iptunnel"),
    "crc32c_generic",  # which libcrc32c needs, and does not say so
    *(f"sch_{name}" for name in _QDISCS.split()),
    *(f"cls_{name}" for name in _FILTERS.split()),
    *(f"act_{name}" for name in _ACTIONS.split()),
    *("em_cmp", "em_nbyte", "em_u32", "em_meta"),
)
"""The modules for the machine's shares, its NICs and the other netdevs that the tests make."""

_MODULES_FOR_RDMA = ("ib_core", "ib_uverbs", "crc32_generic")
"""Those that the tests of RDMA load with the mode that they need."""


def write_initrd(
    path: Path,
    unpacked: Unpacked,
    shares: Mapping[str, Path],
    hot: Collection[Path],
    soft_roce: Path | str,
) -> None:
    """Write it; its script mounts `shares`, by tag, at the paths they have on this computer.

    It has copies of the files in `hot`, which cover those on the shares.
    `soft_roce` is the module, or why there is none.
    """
    tree = path.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    for folder in _FOLDERS:
        (tree / folder).mkdir(parents=True)
    shutil.copy(unpacked.busybox, tree / "bb/busybox")
    for applet in _APPLETS:
        (tree / "bb" / applet).symlink_to("busybox")
    for name in _IN_USR:
        (tree / name).symlink_to(f"usr/{name}")
    _copy_etc(tree / "etc")
    _copy_modules(tree / "modules", unpacked.modules)
    for file in hot:
        copy = tree / "hot" / file.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        # With its time, by which Python knows whether what it has compiled is current.
        shutil.copy2(file, copy, follow_symlinks=False)
    if isinstance(soft_roce, str):
        (tree / "modules/no-rdma").write_text(soft_roce)
    else:
        shutil.copy(soft_roce, tree / "modules/rdma_rxe.ko")
    (tree / "shares").write_text("".join(f"{tag} {where}\n" for tag, where in shares.items()))
    shutil.copy(Path(__file__).with_name("init.sh"), tree / "init")
    (tree / "init").chmod(0o755)
    names = "\n".join(str(entry.relative_to(tree)) for entry in sorted(tree.rglob("*")))
    pack = [str(unpacked.busybox), "cpio", "-o", "-H", "newc"]
    packed = subprocess.run(pack, cwd=tree, input=names.encode(), capture_output=True, check=True)
    path.write_bytes(packed.stdout)
    shutil.rmtree(tree)


def _copy_etc(target: Path) -> None:
    for name in _OF_THE_SYSTEM:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        elif source.exists():
            shutil.copy(source, target / name)


def _copy_modules(target: Path, modules: Path) -> None:
    """Copy the modules with their dependencies, and lists of them in loading order."""
    files = {_module_name(path): path for path in modules.rglob("*.ko*")}
    early = list(_in_loading_order(_MODULES, files))
    late = [name for name in _in_loading_order(_MODULES_FOR_RDMA, files) if name not in early]
    for order, names in (("order", early), ("rdma-order", late)):
        for name in names:
            (target / f"{name}.ko").write_bytes(_plain(files[name]))
        (target / order).write_text("".join(f"{name}.ko\n" for name in names))
    (target / "debians_rxe.ko").write_bytes(_plain(files["rdma_rxe"]))


def _in_loading_order(names: Iterable[str], files: Mapping[str, Path]) -> Iterator[str]:
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        # A module without a file is built into the kernel.
        if name in done or name not in files:
            return
        done.add(name)
        for other in _dependencies(files[name]):
            yield from visit(other)
        yield name

    for name in names:
        yield from visit(name)


def _dependencies(module: Path) -> list[str]:
    """Return the names after `depends=` in the section .modinfo, as modinfo(8) shows them."""
    match = re.search(rb"\0depends=([^\0]*)\0", _plain(module))
    return [] if match is None else [n.replace("-", "_") for n in match[1].decode().split(",") if n]


def _module_name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _plain(module: Path) -> bytes:
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data
