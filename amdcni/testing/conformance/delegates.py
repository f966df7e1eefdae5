"""The suite's own IPAM plugin, which records how it is called and fails on demand.

To a plugin that delegates to it, it is like any other (CNI SPEC 1.1 §4).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from amdcni.core.spec import Verb
from amdcni.testing.conformance.clauses import require
from amdcni.testing.conformance.stage import Container

NAME = "conformance-ipam"
STDERR = "conformance-ipam was here"
CODE = 123
"""The code of the error with which it fails."""
ROUTE = {"dst": "192.0.2.128/25", "gw": "198.51.100.254"}
"""A route through the gateway of its addresses."""
_ADDRESS = "198.51.100.{number}/24"

_PROGRAM = r"""#!{python} -IS
import json, os, sys
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
environ = dict(os.environ)
verb, text = environ.get("CNI_COMMAND", ""), sys.stdin.read()
config = json.loads(text or "{{}}")
version = config.get("cniVersion", "0.1.0")
if verb == "VERSION":
    print(json.dumps({{"cniVersion": "1.1.0", "supportedVersions": {versions}}}))
    sys.exit(0)
calls = os.path.join(folder, "calls")
number = len(os.listdir(calls)) + 1
with open(os.path.join(calls, f"{{number:04}}.json"), "w") as file:
    json.dump({{"environ": environ, "config": config}}, file)
print({stderr!r}, file=sys.stderr)
if os.path.exists(os.path.join(folder, f"fail-{{verb}}")):
    print(json.dumps({{"cniVersion": version, "code": {code}, "msg": f"{{verb}} has to fail"}}))
    sys.exit(1)
if verb == "ADD":
    address = {address!r}.format(number=number)
    gateway = {{"gateway": {gateway!r}}}
    routes = {{"routes": config["ipam"].get("routes", [])}}
    if version < "0.3.0":
        said = {{"ip4": {{"ip": address, **gateway, **routes}}}}
    elif version < "1.0.0":
        said = {{"ips": [{{"version": "4", "address": address, **gateway}}], **routes}}
    else:
        said = {{"ips": [{{"address": address, **gateway}}], **routes}}
    print(json.dumps({{"cniVersion": version, **said, "dns": {{}}}}))
"""


@frozen
class DelegateCall:
    """How the plugin was called: its environment, and the configuration."""

    environ: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def verb(self) -> str:
        """CNI_COMMAND."""
        return self.environ["CNI_COMMAND"]


@frozen
class Recorder:
    """The plugin's folder, for CNI_PATH."""

    folder: Path

    @property
    def calls(self) -> list[DelegateCall]:
        """The calls so far, except for VERSION, in order."""
        paths = sorted((self.folder / "calls").iterdir())
        return [DelegateCall(**json.loads(path.read_bytes())) for path in paths]

    @property
    def given(self) -> list[str]:
        """The addresses that it gave so far, in order."""
        calls = enumerate(self.calls, 1)
        return [_ADDRESS.format(number=number) for number, call in calls if call.verb == Verb.ADD]

    def expect(self, *verbs: str) -> None:
        """Require that it was called for these verbs, in this order, among others."""
        called = [call.verb for call in self.calls]
        left = iter(called)
        wanted = all(verb in left for verb in verbs)
        require(wanted, f"the delegate was called for {', '.join(called) or 'nothing'}")

    def serving(
        self, container: Container, routes: Sequence[Mapping[str, str]] = (ROUTE,)
    ) -> Container:
        """Return one with addresses and routes of this plugin, if it has those of any plugin."""
        found = evolve(container, path=[*container.path, self.folder])
        if not container.stage.subject.delegates_ipam:
            return found
        return found.having(ipam={"type": NAME, "routes": list(routes)})

    def fail(self, verb: Verb) -> None:
        """Let every call of the verb fail from now on."""
        (self.folder / f"fail-{verb}").touch()


def install(folder: Path, supported: tuple[str, ...]) -> Recorder:
    """Put the plugin into a folder, for the versions that the caller speaks."""
    (folder / "calls").mkdir(parents=True)
    program = _PROGRAM.format(
        python=sys.executable,
        versions=list(supported),
        stderr=STDERR,
        code=CODE,
        address=_ADDRESS,
        gateway=ROUTE["gw"],
    )
    path = folder / NAME
    path.write_text(program)
    path.chmod(0o755)
    return Recorder(folder)
