"""Executes other CNI plugins (CNI SPEC 1.1 §4): the delegate that moves netdevs, and IPAM."""

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs

from amdcni.core import codec
from amdcni.core.errors import (
    AmdcniError,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    UndecodableInput,
)
from amdcni.core.names import PluginName
from amdcni.core.spec import Json, PluginCall, Verb
from amdcni.core.versions import NEWEST, SUPPORTED

TIME_LIMIT_S: Final = 90.0
"""How long a plugin may work; the kubelet gives a whole sandbox two minutes."""

_GRACE_S: Final = 2.0
_WRONG_VERSION: Final = 1
_SHOWN_CHARACTERS: Final = 600
_STDERR: Final = 2
_PACKAGED: Final = ("host-device", "static", "host-local", "dhcp")
"""The plugins executed here that are in the package of the CNI project."""
_MOVER: Final = "host-device"
"""The plugin of the mover that moves NICs by one."""


def find_plugin(name: PluginName, dirs: Iterable[str]) -> str:
    """The path of the first executable called `name`; raises PluginNotFound.

    Relative folders are skipped: where root happens to be must not matter.
    """
    looked = [folder for folder in dirs if os.path.isabs(folder)]
    for folder in looked:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    package = " (package containernetworking-plugins)" if name in _PACKAGED else ""
    without = ', or do without it: "mover": "native"' if name == _MOVER else ""
    if not looked:
        raise PluginNotFound(
            f"the CNI plugin {name!r} cannot be found: CNI_PATH (the runtime's binDir) names no "
            "absolute folder"
        )
    raise PluginNotFound(
        f"the CNI plugin {name!r} is not in any of {', '.join(looked)}; install it there{package}, "
        f"or correct CNI_PATH (the runtime's binDir){without}"
    )


class Plugins:
    """The plugins of a node: found in `dirs`, run in `environ`.

    A called plugin gets `dirs` as CNI_PATH: it finds its IPAM plugin where it was found itself.
    """

    def __init__(self, dirs: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self._dirs = dirs
        self._environ = environ

    def find(self, name: PluginName) -> str:
        """The path of the plugin's executable; raises PluginNotFound."""
        return find_plugin(name, self._dirs)

    def versions_of(self, name: PluginName, time_limit_s: float = TIME_LIMIT_S) -> tuple[str, ...]:
        """What the plugin answers to VERSION; raises PluginNotFound, PluginBroken."""
        call = PluginCall(name, Verb.VERSION, {"cniVersion": NEWEST}, None, "", "")
        answer = self.execute(call, (), time_limit_s)
        try:
            return codec.parse_plugin_info(answer).supported
        except UndecodableInput as fault:
            raise PluginBroken(f"the CNI plugin {name!r}: {fault.message}") from None

    def call(
        self, call: PluginCall, inherited: tuple[int, ...], limit_s: float | None = None
    ) -> Json:
        """Execute the plugin and return its answer, an empty object if there is none.

        A plugin that does not speak the configuration's cniVersion is asked which it does, and
        called again in the newest common one.  The answer is in the version that it names.
        Each of these may take `limit_s` seconds, or `TIME_LIMIT_S`.

        Raises: PluginNotFound, PluginFailed with its error object, PluginBroken.
        """
        time_limit_s = TIME_LIMIT_S if limit_s is None else limit_s
        try:
            return self.execute(call, inherited, time_limit_s)
        except PluginFailed as failure:
            if failure.code != _WRONG_VERSION:
                raise
            spoken = self.versions_of(call.plugin, time_limit_s)
            common = [version for version in SUPPORTED if version in spoken]
            if not common or call.config.get("cniVersion") in common:
                raise
        try:
            config = codec.in_version(call.config, common[-1])
        except AmdcniError as fault:
            raise PluginBroken(
                f"the CNI plugin {call.plugin!r} has to be called in version {common[-1]}, to "
                f"which the configuration cannot be converted: {fault.message}"
            ) from None
        return self.execute(attrs.evolve(call, config=config), inherited, time_limit_s)

    def execute(
        self,
        call: PluginCall,
        inherited: tuple[int, ...] = (),
        time_limit_s: float = TIME_LIMIT_S,
    ) -> Json:
        """Execute the plugin once, exactly as asked, and return its answer; raises as `call` does.

        `inherited` are file descriptors for the plugin.  What it writes to stderr goes to that of
        this process (CNI SPEC 1.1 §4).
        """
        path = self.find(call.plugin)
        try:
            process = subprocess.Popen(
                [path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self._environ, **call.variables(self._dirs)},
                pass_fds=inherited,
                start_new_session=True,
            )
        except OSError as error:
            raise PluginBroken(f"{path} cannot be executed: {error.strerror}") from None
        try:
            out, err = process.communicate(codec.encode(call.config).encode(), timeout=time_limit_s)
        except BaseException as failure:
            _pass_on(_end(process))
            if isinstance(failure, subprocess.TimeoutExpired):
                raise PluginBroken(
                    f"{path} did not end {call.verb} within {time_limit_s:g} s and was killed"
                ) from None
            raise
        _pass_on(err)
        return answer_of(path, call, process.returncode, out, err)


def _pass_on(err: bytes) -> None:
    """Write to stderr; the call still succeeds if nobody reads it."""
    with suppress(OSError):
        os.write(_STDERR, err)


def _end(process: "subprocess.Popen[bytes]") -> bytes:
    """Ask the plugin and all that it started to end, then kill them; leaves no zombie.

    What the plugin started is killed even if the plugin itself ends when asked.  Returns what it
    wrote to stderr.
    """
    err = b""
    for ask in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, ask)
        with suppress(subprocess.TimeoutExpired):
            err = process.communicate(timeout=_GRACE_S)[1] or err
    return err


def answer_of(path: str, call: PluginCall, status: int, out: bytes, err: bytes) -> dict[str, Any]:
    """The answer of a plugin that has ended; an empty object for silence.

    Raises: PluginFailed with its error object, PluginBroken.
    """
    if status == 0 and not out.strip():
        return {}
    try:
        raw = codec.decode_object(out, f"the output of {path}")
    except UndecodableInput as fault:
        raise PluginBroken(
            f"{path} gave no usable answer to {call.verb} (exit status {status}): {fault.message}",
            details=_tail(err) or _tail(out),
        ) from None
    if status == 0:
        return raw
    error = codec.parse_error(raw)
    if error is None:
        raise PluginBroken(
            f"{path} failed with exit status {status} and no CNI error object",
            details=_tail(err) or _tail(out),
        )
    raise PluginFailed(call.plugin, error.code, error.msg, error.details)


def _tail(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()[-_SHOWN_CHARACTERS:]
