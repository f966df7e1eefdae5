"""A browser and a font from Debian's packages, unpacked into a folder, not installed."""

import fcntl
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from amdcni.testing.namespaces import PLAIN_ENVIRONMENT
from tests.debian import NotHere, lacking, run, unpack

CACHE: Final = Path(__file__).parents[2] / ".browser"
_BROWSER: Final = "chromium-headless-shell"
_FONTS: Final = "fonts-dejavu-core"

_FONTS_CONF: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{root}/usr/share/fonts</dir>
  <cachedir>{cache}</cachedir>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
</fontconfig>
"""
"""The same fonts everywhere, so that the same pages have the same widths."""


@frozen
class Unpacked:
    """The folder that the packages are unpacked into."""

    root: Path

    @property
    def program(self) -> Path:
        """The browser itself; Debian's script before it only reads the desktop's settings."""
        return self.root / "usr/lib/chromium" / _BROWSER

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment in which the browser finds its libraries and its fonts."""
        libraries = self.root / f"usr/lib/{platform.machine()}-linux-gnu"
        return {
            **PLAIN_ENVIRONMENT,
            "LD_LIBRARY_PATH": f"{libraries}:{libraries}/pulseaudio",
            "FONTCONFIG_FILE": str(self.root.parent / "fonts.conf"),
            "HOME": str(self.root.parent),
        }


def unpacked() -> Unpacked:
    """Return the unpacked packages, downloaded if they are not there yet.

    Raises:
        NotHere: this computer cannot download or run them.
    """
    CACHE.mkdir(exist_ok=True)
    found, complete = Unpacked(CACHE / "root"), CACHE / "complete"
    with (CACHE / "lock").open("w") as lock:
        # One session at a time in a checkout downloads.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            unpack(_chosen, found.root)
            conf = _FONTS_CONF.format(root=found.root, cache=CACHE / "fontconfig")
            (CACHE / "fonts.conf").write_text(conf)
            complete.touch()
    if not found.program.exists():
        raise NotHere(f"{_BROWSER} is not where Debian has it")
    run([found.program, "--version"], environment=found.environment)
    return found


def _chosen() -> list[str]:
    """The browser with what this computer lacks, and the fonts even if it has them."""
    return sorted({_FONTS, *lacking(_BROWSER)})
