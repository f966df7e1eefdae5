"""containerd, runc and busybox from Debian's packages, unpacked into a folder, not installed."""

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from amdcni.testing.namespaces import PLAIN_ENVIRONMENT
from tests.debian import NotHere, lacking, run, unpack


@frozen
class Unpacked:
    """The folder that the packages are unpacked into."""

    root: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment in which the programs find one another and their libraries."""
        programs = [self.root / folder for folder in ("usr/bin", "usr/sbin")]
        libraries = sorted((self.root / "usr/lib").glob("*-linux-gnu"))
        path = [*map(str, programs), PLAIN_ENVIRONMENT["PATH"]]
        found = {**PLAIN_ENVIRONMENT, "PATH": ":".join(path)}
        return {**found, "LD_LIBRARY_PATH": ":".join(map(str, libraries))} if libraries else found

    @property
    def busybox(self) -> Path:
        """A static executable: packages have moved from / to /usr one by one."""
        return next(
            place for top in ("usr", "") if (place := self.root / top / "bin/busybox").exists()
        )


def unpacked(folder: Path) -> Unpacked:
    """Return the unpacked packages in `folder`, downloaded if they are not there yet.

    Raises:
        NotHere: this computer cannot download or run them.
    """
    if os.geteuid() != 0:
        raise NotHere("containerd and runc need root")
    found, complete = Unpacked(folder / "root"), folder / "complete"
    if not complete.exists():
        unpack(lambda: ["busybox-static", *lacking("containerd", "runc")], found.root)
        complete.touch()
    for program in ("containerd", "runc"):
        run(["env", program, "--version"], environment=found.environment)
    return found
