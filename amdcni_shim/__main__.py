"""The CNI exec protocol: environment and stdin in, one JSON object or nothing out, and a status.

Whatever happens, a runtime gets what CNI SPEC 1.1 §5 promises: on failure one error object on
stdout and exit status 1.  Logs go to stderr.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Final

from amdcni.core.versions import NEWEST, plugin_info
from amdcni_shim.client import MAX_STDIN_BYTES

if TYPE_CHECKING:
    from amdcni.core.request import Invocation

Heard = Callable[[str, Mapping[str, object]], None]

ABOUT: Final = (
    "amd-host-device: CNI plugin that lends a NIC with its addresses to a pod; "
    f"speaks CNI up to {NEWEST}\n"
    "A container runtime calls it with CNI_COMMAND set.  People use the command amdcni.\n"
)


def main(
    environ: Mapping[str, str],
    stdin: IO[bytes],
    stdout: IO[str],
    stderr: IO[str],
    opened: Mapping[str, int | None] = MappingProxyType({}),
    heard: Heard = lambda *_: None,
) -> int:
    """Serve one call; return the exit status.

    `opened` are descriptors of what is at the paths of network namespaces, None for nothing, if
    that was found in another mount namespace.  `heard` is called with each event that is reported,
    and its facts; and if the call fails, with `failed`, whatever is logged.
    """
    command = environ.get("CNI_COMMAND")
    if command is None:
        stderr.write(ABOUT)
    if command == "VERSION":
        _answer(plugin_info(), stdout)
        return 0
    data = b""
    try:
        from amdcni.core.request import parse_environment

        invocation = parse_environment(environ)
        data = stdin.read(MAX_STDIN_BYTES)
        answer = _serve(invocation, data, stderr, opened, heard)
    except Exception as failure:
        from amdcni_shim.edge import error_answer

        heard("failed", {"error": type(failure).__name__, "reason": str(failure)})
        _answer(error_answer(failure, data), stdout)
        return 1
    if answer is not None:
        _answer(answer, stdout)
    return 0


def _serve(
    invocation: "Invocation",
    data: bytes,
    stderr: IO[str],
    opened: Mapping[str, int | None],
    heard: Heard,
) -> dict[str, Any] | None:
    from amdcni import verbs
    from amdcni.core import codec, formats
    from amdcni.core.request import DelRequest, LogLevel
    from amdcni.effects.node import LinuxNode
    from amdcni.effects.places import settle
    from amdcni.effects.policy import read_policy
    from amdcni.log import make_log

    request = formats.parse_call(invocation, data)
    network, policy = request.network, read_policy()
    request, places = settle(request, policy)
    held_as = {} if invocation.attachment is None else {"attachment": str(invocation.attachment)}
    said = {"verb": invocation.verb.value, "network": network.name, **held_as}
    said |= {} if invocation.pod is None else {"pod": invocation.pod}
    log = make_log(network.log.level, places.log_file, stderr, **said)

    def report(event: str, **facts: object) -> None:
        log(LogLevel.WARNING, event, **facts)
        heard(event, facts)

    environ, dirs = invocation.environ, invocation.plugin_dirs
    if policy.fault is not None:
        report("policy-unusable", reason=policy.fault)
    try:
        folder = places.data_dir.path
        with LinuxNode(folder, dirs, environ, report, policy=policy, opened=opened) as node:
            result = verbs.serve(request, node)
    except Exception as failure:
        if not (isinstance(request, DelRequest) and failure is request.fault):
            log(LogLevel.ERROR, "failed", error=type(failure).__name__, reason=str(failure))
        raise
    log(LogLevel.INFO, "done")
    return None if result is None else codec.result_to_json(result, network.version)


def _answer(value: Mapping[str, Any], stdout: IO[str]) -> None:
    stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
    stdout.flush()


def serve_alone(data: bytes | None) -> None:
    """Serve the call that this process was started for, without the agent, and end the process.

    `data` is standard input, or None if it has not been read.
    """
    if os.environ.get("CNI_COMMAND") not in (None, "VERSION"):
        from amdcni_shim import process

        process.fail_when_asked_to_end()
        process.start_for_one_call()
    try:
        if data is None and sys.stdin is not None:
            stdin: IO[bytes] = sys.stdin.buffer
        else:
            stdin = io.BytesIO(data or b"")
        status = main(os.environ, stdin, sys.stdout, sys.stderr or io.StringIO())
    except OSError:
        # The runtime has gone without reading its answer.
        status = 1
    # All is written and closed; tearing down a hundred modules would cost a tenth of the call.
    os._exit(status)


if __name__ == "__main__":
    serve_alone(None)
