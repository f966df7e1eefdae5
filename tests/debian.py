"""Debian's packages, downloaded and unpacked into a folder, not installed."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class NotHere(Exception):
    """Why this computer cannot download, or run, what a test needs."""


def unpack(chosen: Callable[[], Sequence[str]], folder: Path) -> None:
    """Download the chosen packages and unpack them, side by side, into a new folder.

    If that fails as root, apt's lists may be out of date, so they are updated before it is tried
    again.

    Raises:
        NotHere: the packages cannot be had.
    """
    for tool in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(tool) is None:
            raise NotHere(f"{tool} is missing: the packages are Debian's")
    packages = folder.with_name(f"{folder.name}.packages")
    for leftover in (packages, folder):
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.mkdir(parents=True)
    try:
        _download(chosen(), packages)
    except NotHere:
        if os.geteuid() != 0:
            raise
        run(["apt-get", "-qq", "update"])
        _download(chosen(), packages)
    for package in sorted(packages.glob("*.deb")):
        run(["dpkg", "--extract", package, folder])
    shutil.rmtree(packages)


def _download(names: Sequence[str], folder: Path) -> None:
    if names:
        # Not as apt's own user, which could not write here.
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names], cwd=folder)


def lacking(*packages: str) -> list[str]:
    """Return the packages that installing these would add to this computer.

    Raises:
        NotHere: apt does not know them.
    """
    argv = ["apt-get", "--simulate", "-o", "Debug::NoLocking=1", "--no-install-recommends"]
    lines = run([*argv, "install", *packages]).splitlines()
    return [line.split()[1] for line in lines if line.startswith("Inst ")]


def run(
    argv: Sequence[str | Path],
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return what a program prints.

    Raises:
        NotHere: it failed.
    """
    done = subprocess.run(
        argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = _last_lines(done.stderr or done.stdout)
        raise NotHere(f"{' '.join(map(str, argv[:3]))} ... ended with {done.returncode}: {said}")
    return done.stdout


def _last_lines(text: str) -> str:
    lines = text.strip().splitlines()[-3:]
    return "; ".join(line.strip() for line in lines)
