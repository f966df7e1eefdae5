"""Calling a CNI plugin's executable once, as a runtime does (CNI SPEC 1.1 §2)."""

import json
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from attrs import frozen

from amdcni.core.codec import encode
from amdcni.core.errors import PluginBroken
from amdcni.core.spec import Json
from amdcni.core.steps import PluginCall
from amdcni.effects.delegate import answer_of, find_plugin
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT, Namespace, StrPath, finish, kill

DEFAULT_CNI_PATH = ("/opt/cni/bin", "/usr/lib/cni")


class HasNetns(Protocol):
    """Something that is in a network namespace with a path, as a pod is."""

    @property
    def netns(self) -> str:
        """The path for `CNI_NETNS`."""


@frozen
class Outcome:
    """What a plugin answered."""

    exit_status: int
    stdout: bytes
    stderr: str

    @property
    def succeeded(self) -> bool:
        """Whether the exit status says so."""
        return self.exit_status == 0

    @property
    def answer(self) -> Any:
        """The JSON value that standard output is, or None if it is not one, as when it is empty."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            return None

    @property
    def error_code(self) -> int | None:
        """The code of the CNI error object on standard output, or None if there is no such."""
        answer = self.answer
        code = answer.get("code") if isinstance(answer, dict) else None
        return code if isinstance(code, int) else None


@frozen
class Call:
    """A plugin at work."""

    process: "subprocess.Popen[bytes]"

    def wait(self, timeout_s: float = 60) -> Outcome:
        """Return the outcome when there is one.

        Raises:
            subprocess.TimeoutExpired: and the plugin is killed.
        """
        stdout, stderr = finish(self.process, timeout_s)
        return Outcome(self.process.returncode, stdout, stderr.decode(errors="replace"))

    def kill(self) -> Outcome:
        """Kill the plugin with its children, by SIGKILL, and return what there is of an outcome."""
        kill(self.process)
        return self.wait()


class CallOptions(TypedDict, total=False):
    """What a call of a plugin may say besides command, plugin and configuration.

    `container_id`, `netns`, `ifname`, `args` and `path` become `CNI_` variables; None sets none.
    `env` is the runtime's own environment, and `unset` names what is taken out of all of it.  For
    `uid` and `privileged` see `Namespace.start`.
    """

    container_id: str | None
    netns: str | HasNetns | None
    ifname: str | None
    args: str | None
    path: Sequence[StrPath]
    env: Mapping[str, str]
    unset: Collection[str]
    uid: int | None
    privileged: bool


def start_plugin(
    where: Namespace,
    command: str,
    plugin: StrPath,
    config: Mapping[str, object] | bytes,
    **options: Unpack[CallOptions],
) -> Call:
    """Start a plugin in a namespace, with a configuration that is JSON or verbatim bytes."""
    return Call(
        where.start(
            [plugin],
            stdin=config if isinstance(config, bytes) else json.dumps(config).encode(),
            env=environment_of(command, options),
            uid=options.get("uid"),
            privileged=options.get("privileged", True),
        )
    )


def executor(
    where: Namespace, dirs: Sequence[StrPath], *, timeout_s: float = 60
) -> Callable[[PluginCall], Json]:
    """What executes calls of plugins in a namespace, for `amdcni.runtime.Runtime`.

    Plugins are looked for in `dirs` of this computer, and get these as CNI_PATH.
    """
    folders = tuple(map(str, dirs))

    def execute(call: PluginCall) -> Json:
        path = find_plugin(call.plugin, folders)
        started = start_plugin(
            where,
            call.verb.value,
            path,
            encode(call.config).encode(),
            container_id=call.attachment.container_id if call.attachment else "",
            ifname=call.attachment.ifname if call.attachment else "",
            netns=call.netns,
            args=call.args,
            path=folders,
        )
        try:
            outcome = started.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise PluginBroken(
                f"{path} did not end {call.verb} within {timeout_s:g} s and was killed"
            ) from None
        stderr = outcome.stderr.encode()
        return answer_of(path, call, outcome.exit_status, outcome.stdout, stderr)

    return execute


def environment_of(command: str, options: CallOptions) -> dict[str, str]:
    """Return the environment that a plugin gets."""
    netns = options.get("netns")
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": options.get("container_id", "container-1"),
        "CNI_NETNS": netns if netns is None or isinstance(netns, str) else netns.netns,
        "CNI_IFNAME": options.get("ifname", "net1"),
        "CNI_ARGS": options.get("args"),
        "CNI_PATH": ":".join(map(str, options.get("path", DEFAULT_CNI_PATH))),
    }
    given = {name: value for name, value in variables.items() if value is not None}
    everything = {**options.get("env", PLAIN_ENVIRONMENT), **given}
    unset = options.get("unset", ())
    return {name: value for name, value in everything.items() if name not in unset}
