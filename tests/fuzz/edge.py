"""The law of the edge, for any input: what may come out, and what must stay as it was.

`Edge.try_bytes` raises for an input that breaks it:

- No exception leaves `main`, and no error object reports a fault of our own.
- The exit status is 0 or 1, and stdout is empty or one JSON object on one line: an error object
  with a known code, a version answer, or the result of an ADD.  Other verbs are silent.
- The call takes no more than 64 MiB: the peak of resident memory during the call may exceed what
  was resident just before it by that much, in a process that has served calls of every kind and so
  has loaded everything.  Plugins that are called are other processes, and not counted.
- Nothing is made outside the folders that are for it (`watch.MAY_BE_WRITTEN`), not even a folder.
- The host is as it was: the network, all files that can be written, descriptors, children.  An ADD
  that succeeds may change it, and then the DEL of the same call restores it.  An ADD that says that
  its undo has failed, for instance because the IPAM plugin refuses to release, may leave a record,
  and then another ADD of the device and its DEL restore the host.
"""

import io
import json
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, Final

from attrs import evolve, frozen

from amdcni_shim.__main__ import main
from amdcni_shim.edge import CODES
from tests.fuzz import inputs, watch
from tests.fuzz.inputs import Input

LARGEST_GROWTH_BYTES: Final = 64 * 1024 * 1024

_VERSIONS: Final = frozenset(inputs.VERSIONS)
_CODES: Final = frozenset({*range(1, 9), 11, 50, 51, *CODES.values()})
"""Those of CNI SPEC 1.1 §5 and of docs/reference/errors.md."""
_INTERNAL: Final = 999
"""A plugin of the CNI project may return this code; from ours it is a fault."""
_RESULT_KEYS: Final = frozenset({"cniVersion", "interfaces", "ips", "ip4", "ip6", "routes", "dns"})
_VERSION_ANSWER: Final = {"cniVersion": "1.1.0", "supportedVersions": list(inputs.VERSIONS)}
_DEVICE_KEYS: Final[tuple[str, ...]] = (
    "deviceID",
    "pciBusID",
    "device",
    "hwaddr",
    "kernelpath",
    "runtimeConfig",
)
_SILENT: Final = ("DEL", "CHECK", "GC", "STATUS")

HOLDER: Final = evolve(
    inputs.called("ADD", mover="native"),
    environ={**inputs.ENVIRON, "CNI_CONTAINERID": "holder"},
)
"""The ADD that lends the first NIC for an input that says `HELD`."""


class Broken(Exception):
    """An input has broken the law."""


@frozen
class Answer:
    """The outcome of a call."""

    status: int
    out: str
    err: str
    growth_bytes: int = 0


def serve(environ: Mapping[str, str], stdin: bytes) -> Answer:
    """Return the answer to a call that is made in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = watch.forget_peak()
    with redirect_stdout(out):  # Whatever is printed goes to the runtime.
        status = main(environ, io.BytesIO(stdin), out, err)
    return Answer(status, out.getvalue(), err.getvalue(), watch.read_peak() - before)


def judge(environ: Mapping[str, str], stdin: bytes, answer: Answer) -> None:
    """Raise Broken unless the answer obeys the exec protocol."""
    if "Traceback" in answer.err:
        raise Broken(f"a traceback on stderr: {answer.err}")
    if answer.growth_bytes > LARGEST_GROWTH_BYTES:
        raise Broken(f"the call took {answer.growth_bytes >> 20} MiB")
    verb = environ.get("CNI_COMMAND")
    if answer.status == 0 and verb in _SILENT:
        if (answer.status, answer.out) != (0, ""):
            raise Broken(f"{verb} has status {answer.status} and says {answer.out!r}")
    elif verb == "VERSION":
        if (answer.status, _object(answer.out)) != (0, _VERSION_ANSWER):
            raise Broken(f"{verb} has status {answer.status} and says {answer.out!r}")
    else:
        _judge_object(verb, stdin, answer)


def _judge_object(verb: str | None, stdin: bytes, answer: Answer) -> None:
    said = _object(answer.out)
    if answer.status == 0:
        version = (Input({}, stdin).json or {}).get("cniVersion") or "0.1.0"
        if verb != "ADD" or said.get("cniVersion") != version or not set(said) <= _RESULT_KEYS:
            raise Broken(f"{verb} has succeeded with {answer.out!r}")
        return
    known = {"cniVersion", "code", "msg", "details"}
    if answer.status != 1 or not set(said) <= known or said.get("cniVersion") not in _VERSIONS:
        raise Broken(f"status {answer.status}, and no error object: {answer.out!r}")
    code, message, details = said.get("code"), said.get("msg"), said.get("details", "")
    if not (isinstance(message, str) and message and isinstance(details, str)):
        raise Broken(f"an error object without a message: {answer.out!r}")
    if message.startswith("internal error") or code not in {*_CODES, _INTERNAL}:
        raise Broken(f"a fault of our own: {answer.out!r}")


def _object(out: str) -> dict[str, Any]:
    if not out.isascii() or not out.endswith("\n") or len(out.splitlines()) != 1:
        raise Broken(f"stdout is not one line of ASCII: {out!r}")
    try:
        value = json.loads(out)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Broken(f"stdout is not one JSON object: {out!r}")
    return value


@frozen
class Edge:
    """The edge on a node that was as in `baseline` before the first call."""

    baseline: watch.Baseline

    def try_bytes(self, data: bytes) -> None:
        """Raise for an input that breaks the law."""
        self.try_call(inputs.parse(data))

    def try_call(self, call: Input) -> None:
        """Raise for a call that breaks the law."""
        stdin = call.configuration
        if call.held:
            _must_succeed(HOLDER, "ADD")
        answer = serve(call.environ, stdin)
        judge(call.environ, stdin, answer)
        if call.environ.get("CNI_COMMAND") == "ADD":
            if answer.status == 0:
                _must_succeed(call, "DEL")
            elif "while undoing" in json.loads(answer.out).get("details", ""):
                self._take_up(call)
        if call.held:
            _must_succeed(HOLDER, "DEL")
        self.baseline.require(_log_file_of(call))

    def _take_up(self, call: Input) -> None:
        """Let another ADD finish the undo if this one left files; the network must be as it was."""
        try:
            self.baseline.require(_log_file_of(call))
        except watch.FilesChanged:
            for verb in ("ADD", "DEL"):
                _must_succeed(_plain(call), verb)


def _plain(call: Input) -> Input:
    """Return an ADD of the same device, with the same state folder, for another container."""
    given = call.json or {}
    kept = {key: given[key] for key in (*_DEVICE_KEYS, "name", "dataDir") if key in given}
    config: dict[str, Any] = {"cniVersion": "1.1.0", "mover": "native", **kept}
    return evolve(HOLDER, stdin=json.dumps(config).encode())


def _log_file_of(call: Input) -> str | None:
    """Return the log file that the configuration names, with links resolved."""
    try:
        return str(os.path.realpath((call.json or {})["logFile"]))
    except (KeyError, TypeError, ValueError, OSError):
        return None


def _must_succeed(call: Input, verb: str) -> None:
    answer = serve({**call.environ, "CNI_COMMAND": verb}, call.configuration)
    if answer.status != 0:
        raise Broken(f"{verb} does not succeed: {answer.out}{answer.err}")


def made() -> Edge:
    """Return the edge on this node, with some landmarks, after calls that load everything."""
    os.mkfifo("/run/fifo")
    os.mkfifo("/run/amd-host-device-fifo")
    os.symlink("/tmp", "/run/amd-host-device-link")
    with open("/tmp/notes", "w") as notes:
        notes.write("somebody's\n")
    edge = Edge(watch.Baseline.taken())
    for call in (HOLDER, inputs.called(ipam=inputs.STATIC), inputs.called(logLevel="debug")):
        edge.try_call(call)
    return edge
