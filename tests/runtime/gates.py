"""Gates at which the plugins that ours calls wait, so that things can happen during a call."""

from pathlib import Path
from typing import Final

from attrs import frozen

from amdcni.testing import Namespace
from tests.netns.runtime import DEBIAN
from tests.patience import wait_until

_FOLDER: Final = "/run/gates"
_SCRIPT: Final = f"""#!/bin/sh
gate() {{
    [ -e {_FOLDER}/$1 ] || return 0
    echo $PPID >{_FOLDER}/$1.reached.part
    mv {_FOLDER}/$1.reached.part {_FOLDER}/$1.reached
    while [ -e {_FOLDER}/$1 ]; do sleep 0.05; done
}}
gate before-$CNI_COMMAND-of-PLUGIN-for-$CNI_IFNAME
{DEBIAN}/PLUGIN
status=$?
gate after-$CNI_COMMAND-of-PLUGIN-for-$CNI_IFNAME
exit $status
"""


Place = tuple[str, str, str]
"""`before` or `after` a plugin, its name, and that of the netdev in the sandbox."""


@frozen
class Gate:
    """A place where a plugin waits as long as it is closed."""

    folder: Path
    name: str

    def close(self) -> None:
        """Let whoever comes wait."""
        self._reached.unlink(missing_ok=True)
        (self.folder / self.name).touch()

    def open(self) -> None:
        """Let everybody pass, also who waits."""
        (self.folder / self.name).unlink(missing_ok=True)

    def wait_for_caller(self) -> int:
        """Return the process ID, on the node, of who has called the plugin that waits here."""
        wait_until(self._reached.exists, f"{self.name} is reached")
        return int(self._reached.read_text())

    @property
    def _reached(self) -> Path:
        return self.folder / f"{self.name}.reached"


@frozen
class Gates:
    """The gates of a node."""

    root: Path
    """The node's root folder as a test sees it."""

    def put_plugin(self, name: str, bin_dir: str) -> None:
        """Install one of Debian's plugins with a gate before it and one after it."""
        (self.root / _FOLDER.lstrip("/")).mkdir(exist_ok=True)
        path = self.root / bin_dir.lstrip("/") / name
        path.write_text(_SCRIPT.replace("PLUGIN", name))
        path.chmod(0o755)

    def closed(self, place: Place, verb: str) -> Gate:
        """Close the gate at a place where a plugin performs a verb."""
        when, plugin, ifname = place
        gate = Gate(self.root / _FOLDER.lstrip("/"), f"{when}-{verb}-of-{plugin}-for-{ifname}")
        gate.close()
        return gate


def kill(inside: Namespace, pid: int) -> None:
    """Kill a process of a node by its number there."""
    inside.output_of(["kill", "-KILL", str(pid)])
