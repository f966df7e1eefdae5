"""The pages of the documentation, as `make docs` builds them."""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
HTML: Final = DOCS / "_build/html"

WRITTEN: Final = sorted(
    path.relative_to(DOCS).with_suffix("").as_posix()
    for path in DOCS.rglob("*.md")
    if not path.is_relative_to(DOCS / "_build")
)
"""The names of the pages that somebody has written."""

PAGES: Final = [*WRITTEN, "genindex", "py-modindex", "search"]
"""What is left in the folder of pages that are no more is not one of them."""


def path_of(page: str) -> Path:
    """Where a page is."""
    return HTML / f"{page}.html"


def build() -> None:
    """Build what has changed, one session at a time, by the command of `make docs`."""
    HTML.mkdir(parents=True, exist_ok=True)
    options = ("-q", "-W", "--keep-going", "-n")
    with (HTML.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *options, str(DOCS), str(HTML)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
