"""Calling a CNI plugin's executable once, as a runtime does (CNI SPEC 1.1 §2)."""

import json
import os
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from attrs import frozen

from amdcni.core.codec import encode
from amdcni.core.errors import PluginBroken
from amdcni.core.spec import Json, PluginCall
from amdcni.effects.plugins import answer_of, find_plugin
from amdcni.testing.namespaces import (
    PATIENCE_S,
    PLAIN_ENVIRONMENT,
    Namespace,
    StrPath,
    finish,
    kill,
)

_SHOWN_CHARACTERS = 1000

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
        """The JSON value on standard output, or None if there is none, as when it is empty."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            return None

    @property
    def error_code(self) -> int | None:
        """The code of the CNI error object on standard output, or None if there is none."""
        answer = self.answer
        code = answer.get("code") if isinstance(answer, dict) else None
        return code if isinstance(code, int) else None

    def expect_result(self) -> dict[str, Any]:
        """Return the result of an ADD, which has to have succeeded.

        Raises:
            AssertionError: it failed, or printed anything but one JSON object.
        """
        if not self.succeeded:
            raise AssertionError(f"the plugin failed where it had to succeed: {self}")
        return self._object("a result")

    def expect_error(self, code: int | None = None, *words: str) -> dict[str, Any]:
        """Return the error object, which has to have this code, if any, and all these words.

        Raises:
            AssertionError: the plugin succeeded, or its error is another one, or no CNI error
                (CNI SPEC 1.1 §5, "Error").
        """
        if self.succeeded:
            raise AssertionError(f"the plugin succeeded where it had to fail: {self}")
        error = self._object("a CNI error object")
        faults = list(faults_of_error(error))
        if unknown := sorted(set(error) - {"cniVersion", "code", "msg", "details"}):
            faults.append(f"it has the unknown keys {', '.join(unknown)}")
        if code is not None and error.get("code") != code:
            faults.append(f"its code is {error.get('code')!r}, not {code}")
        said = f"{error.get('msg', '')} {error.get('details', '')}"
        faults += [f"it does not say {word!r}" for word in words if word not in said]
        if faults:
            raise AssertionError(f"the error is not as it should be: {'; '.join(faults)}: {self}")
        return error

    def expect_silence(self) -> None:
        """Require success and nothing on standard output, as for DEL and CHECK.

        Raises:
            AssertionError: it failed, or printed something.
        """
        if not self.succeeded:
            raise AssertionError(f"the plugin failed where it had to succeed: {self}")
        if self.stdout:
            raise AssertionError(f"the plugin printed something where it had to be silent: {self}")

    def __str__(self) -> str:
        shown = [f"exit status {self.exit_status}"]
        for name, text in (
            ("stdout", self.stdout.decode(errors="backslashreplace")),
            ("stderr", self.stderr),
        ):
            if words := text.split():
                shown.append(f"{name} {_shortened(' '.join(words))}")
        return ", ".join(shown)

    def _object(self, what: str) -> dict[str, Any]:
        answer = self.answer
        if not isinstance(answer, dict):
            raise AssertionError(
                f"standard output has to be one JSON object, {what}, and nothing else: {self}"
            )
        return answer


def faults_of_error(error: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the shape of an error object (CNI SPEC 1.1 §5, "Error")."""
    code = error.get("code")
    if not isinstance(code, int) or isinstance(code, bool) or code <= 0:
        yield f"its code is {code!r}, not a number above 0"
    if not isinstance(error.get("msg"), str):
        yield f"its msg is {error.get('msg')!r}, not a string"
    if not isinstance(error.get("details", ""), str):
        yield f"its details are {error['details']!r}, not a string"
    if not isinstance(error.get("cniVersion", ""), str):
        yield f"its cniVersion is {error['cniVersion']!r}, not a string"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


@frozen
class Call:
    """A plugin at work."""

    process: "subprocess.Popen[bytes]"

    def wait(self, timeout_s: float = PATIENCE_S) -> Outcome:
        """Return the outcome when there is one.

        Raises:
            subprocess.TimeoutExpired: the plugin did not end in time, and was killed.
        """
        stdout, stderr = finish(self.process, timeout_s)
        return Outcome(self.process.returncode, stdout, stderr.decode(errors="replace"))

    def send_signal(self, number: int) -> None:
        """Send a signal to the plugin, unless it has ended; its children do not get it."""
        self.process.send_signal(number)

    def kill(self) -> Outcome:
        """Kill the plugin and its children with SIGKILL, and return what there is of an outcome."""
        kill(self.process)
        return self.wait()


class CallOptions(TypedDict, total=False):
    """The options of a plugin call, beyond command, plugin and configuration.

    `container_id`, `netns`, `ifname`, `args` and `path` become `CNI_` variables; None sets none.
    `env` is the runtime's own environment, and `unset` names what is removed from all of it.  For
    `uid` and `privileged` see `Namespace.start`.  `through` is a command that runs the plugin, such
    as `strace`; the plugin's path is appended to it.
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
    through: Sequence[StrPath]


def start_plugin(
    where: Namespace,
    command: str,
    plugin: StrPath,
    config: Mapping[str, object] | bytes,
    **options: Unpack[CallOptions],
) -> Call:
    """Start a plugin in a namespace, with a configuration that is JSON or verbatim bytes.

    A relative path of the plugin is one from the current folder of the test.
    """
    return Call(
        where.start(
            [*options.get("through", ()), _absolute(plugin)],
            stdin=config if isinstance(config, bytes) else json.dumps(config).encode(),
            env=environment_of(command, options),
            uid=options.get("uid"),
            privileged=options.get("privileged", True),
        )
    )


def _absolute(plugin: StrPath) -> StrPath:
    """The path from wherever the program is started; a plain name is for PATH, as in a shell."""
    if isinstance(plugin, str) and "/" not in plugin:
        return plugin
    return os.path.abspath(plugin)


def executor(
    where: Namespace, dirs: Sequence[StrPath], *, timeout_s: float = PATIENCE_S
) -> Callable[[PluginCall], Json]:
    """Return what executes calls of plugins in a namespace, for `amdcni.runtime.Runtime`.

    Plugins are looked for in `dirs` of this machine, and get these as CNI_PATH.
    """
    folders = tuple(map(str, dirs))

    def execute(call: PluginCall) -> Json:
        path = find_plugin(call.plugin, folders)
        environ = {**PLAIN_ENVIRONMENT, **call.variables(folders)}
        started = Call(where.start([path], stdin=encode(call.config).encode(), env=environ))
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
