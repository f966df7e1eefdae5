"""Pictures of what commands show on a terminal of 80 columns: `make screens`.

python -m scripts.screens --commands FOLDER  what each command shows, on a node that is made up
python -m scripts.screens --pages FOLDER     the main pages, as `make docs` has built them
python -m scripts.screens --demo FILE        the demonstration, as a part of a page
python -m scripts.screens --one COMMAND...   what a command prints on a terminal
"""

import argparse
import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import sysconfig
import termios
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from amdcni.testing import throwaway_node
from tests.debian import NotHere
from tests.site.browser import browsing
from tests.site.looking import NARROW, WIDE
from tests.site.packages import unpacked
from tests.site.pages import path_of

COLUMNS: Final = 80
_ROWS: Final = 60
_BIN: Final = Path(sysconfig.get_path("scripts"))
# rich would have a browser load a font from the internet.
_FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def shown(argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """What a command prints on a terminal, with its colours, whatever its exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, COLUMNS, 0, 0))
    environ = {**os.environ, **(env or {}), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ, close_fds=True
    )
    os.close(theirs)
    said = bytearray()
    # A terminal whose last program has ended cannot be read.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65536):
            said += part
    process.wait()
    os.close(ours)
    return said.decode(errors="replace").replace("\r\n", "\n")


def as_svg(said: str, title: str) -> str:
    """The text of a terminal as a picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(said), soft_wrap=True)
    svg = console.export_svg(title=title, code_format=_FORMAT)
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


def as_part_of_a_page(svg: str) -> str:
    """The picture in a frame that scrolls, since it is long."""
    return f'<div class="terminal">\n{svg}</div>\n'


# ---- a node that is made up


_CONTAINERS: Final = {
    "trainer-0": "8c1f0a7be2d94f0f8a2a6b1d7c3e5f90112233445566778899aabbccddeeff00",
    "trainer-1": "5be20d31fe7745c2b6a4f3c2d1e0a9b8c7d6e5f40312233445566778899aabbc",
}
_SCREENS: Final[Mapping[str, tuple[str, ...]]] = {
    "alone": (),
    "devices": ("devices",),
    "attachments": ("attachments",),
    "show": ("attachments", "show", "0000:c1:00.0"),
    "check": ("check",),
    "status": ("status",),
    "doctor": ("doctor",),
    "heal-dry-run": ("heal", "--dry-run"),
    "heal": ("heal",),
    "attachments-after": ("attachments",),
}
"""The commands in the order in which they are typed: two pods have NICs, and one has died."""


def record_all(folder: Path) -> None:
    """Write what each command shows, as pictures and as text."""
    folder.mkdir(parents=True, exist_ok=True)
    with throwaway_node() as node:
        for number, (name, container) in enumerate(_CONTAINERS.items(), start=1):
            addresses = (f"10.0.{number}.0/31", f"fd00:{number}::8/64")
            bdf = f"0000:c{number}:00.0"
            node.add_nic(bdf, f"enp{number}s0", addresses)
            pod = node.add_pod(f"cni-{container[:8]}-1f0a-4b7e-92d9-{container[:12]}")
            config = {
                **{"cniVersion": "1.0.0", "name": "fabric", "type": "amd-host-device"},
                **{"deviceID": bdf, "mover": "native"},
            }
            args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=team-vision;K8S_POD_NAME={name}"
            plugin = _BIN / "amd-host-device"
            added = node.cni("ADD", plugin, config, netns=pod, container_id=container, args=args)
            added.expect_result()
        node.add_nic("0000:c3:00.0", "enp3s0", ("10.0.3.0/31",))
        pod.delete()
        for name, words in _SCREENS.items():
            command = [str(_BIN / "amdcni"), *words]
            said = node.output_of([sys.executable, "-m", "scripts.screens", "--one", *command])
            (folder / f"{name}.txt").write_text(Text.from_ansi(said).plain + "\n")
            (folder / f"{name}.svg").write_text(as_svg(said, " ".join(("amdcni", *words))))


# ---- pages

_PAGES: Final = (
    "index",
    "at-night",
    "tutorial/index",
    "how-to/install-on-a-cluster",
    "how-to/find-a-nic",
    "how-to/troubleshoot",
    "reference/command",
    "reference/glossary",
    "reference/python/types",
    "explanation/architecture",
    "explanation/agent",
    "explanation/nothing-is-lost",
    "changelog",
)
_SCHEMES: Final = ("light", "dark")


def show_pages(folder: Path) -> None:
    """Write pictures of the main pages in a wide and a narrow window, and the first also by night.

    Without a browser there are none, and stderr has the reason.
    """
    try:
        packages = unpacked()
    except (NotHere, OSError) as refusal:
        print(f"no pictures of the pages: {refusal}", file=sys.stderr)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with browsing(packages) as browser:
        for page, width in product(_PAGES, (WIDE, NARROW)):
            for scheme in _SCHEMES if page == "index" else _SCHEMES[:1]:
                browser.resize(width)
                browser.prefer(scheme)
                browser.open(path_of(page).as_uri())
                name = "-".join((*page.split("/"), scheme, str(width)))
                (folder / f"page-{name}.png").write_bytes(browser.picture(whole=True))


def main() -> int:
    """Make the pictures that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screens", description=__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--commands", type=Path, metavar="FOLDER")
    group.add_argument("--pages", type=Path, metavar="FOLDER")
    group.add_argument("--demo", type=Path, metavar="FILE")
    group.add_argument("--one", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args()
    if options.commands:
        record_all(options.commands)
    elif options.pages:
        show_pages(options.pages)
    elif options.demo:
        said = shown([sys.executable, "-m", "examples.integration_flow"])
        options.demo.write_text(as_part_of_a_page(as_svg(said, "make demo")))
    else:
        sys.stdout.write(shown(options.one))
    return 0


if __name__ == "__main__":
    sys.exit(main())
