"""Prometheus' own checker, from Debian's package, unpacked into a folder, not installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / ".promtool"
_MEMBER = "./usr/bin/promtool"


def promtool() -> str:
    """The path of promtool, downloaded if need be; where that is impossible, skip the test."""
    unpacked = _FOLDER / "promtool"
    found = shutil.which("promtool") or (str(unpacked) if unpacked.exists() else None)
    if found is not None:
        return found
    for tool in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no promtool, nor {tool} to unpack one")
    _FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
        done = subprocess.run(download, cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"promtool cannot be downloaded: {done.stderr.strip()}")
        (package,) = Path(folder).glob("*.deb")
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder, _MEMBER], input=archive, check=True)
        # Several test processes may do this at once.
        os.replace(Path(folder, _MEMBER), unpacked)
    return str(unpacked)
