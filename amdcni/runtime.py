"""A container runtime as far as CNI goes: executes the plugins of networks, and remembers.

    runtime = Runtime(Plugins(("/opt/cni/bin",), os.environ).execute, Cache("/var/lib/cni"))
    result = runtime.add(network, Wanted(AttachmentId(container_id, ifname), netns))

Everything is done as libcni does it; `amdcni.core.libcni` says what that is.
"""

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import attrs

from amdcni.core import libcni
from amdcni.core.cache import cache_to_json, file_name, parse_cache
from amdcni.core.codec import encode
from amdcni.core.errors import (
    AmdcniError,
    Failures,
    StateFailure,
    UndecodableInput,
    UnknownAttachment,
)
from amdcni.core.libcni import Cached, Conversation, Wanted, conduct
from amdcni.core.names import NetworkName
from amdcni.core.spec import AttachmentId, Json, PluginCall, PluginList, Result

T = TypeVar("T")


class Cache:
    """The attachments that a runtime knows of, in the folder `<folder>/results` as libcni's."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder, "results")

    def find(self, network: NetworkName, id: AttachmentId) -> Cached | None:
        """What is known of the attachment.

        Raises: UndecodableInput for a damaged file, StateFailure for one that cannot be read.
        """
        return self._read(self._folder / file_name(network, id))

    def all(self) -> tuple[Cached, ...]:
        """Everything that is known; a damaged file is skipped."""
        found = []
        for path in sorted(self._folder.glob("*")):
            try:
                found.append(self._read(path))
            except UndecodableInput:
                continue
        return tuple(cached for cached in found if cached is not None)

    def save(self, cached: Cached) -> None:
        """Remember the attachment; raises StateFailure."""
        path = self._folder / file_name(cached.network.name, cached.attachment.id)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_text(encode(cache_to_json(cached)))
            os.rename(temporary, path)
        except OSError as error:
            raise StateFailure(f"cannot write {str(path)!r}: {error.strerror}") from None

    def forget(self, network: NetworkName, id: AttachmentId) -> None:
        """Forget the attachment; raises StateFailure."""
        path = self._folder / file_name(network, id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StateFailure(f"cannot remove {str(path)!r}: {error.strerror}") from None

    def _read(self, path: Path) -> Cached | None:
        try:
            return parse_cache(path.read_bytes())
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            raise StateFailure(f"cannot read {str(path)!r}: {error.strerror}") from None


@attrs.frozen
class Exchange:
    """One call of a plugin, with its answer or its failure, and how long it took."""

    call: PluginCall
    answer: Json | None
    failure: AmdcniError | None
    seconds: float


class Runtime:
    """Carries out the verbs; `transcript` lists every call of a plugin in order.

    `execute` executes one call and returns the answer, or raises an AmdcniError; that of
    `amdcni.effects.plugins.Plugins` does so on this node, with a time limit.
    """

    def __init__(self, execute: Callable[[PluginCall], Json], cache: Cache) -> None:
        self.transcript: list[Exchange] = []
        self._plain_execute = execute
        self._cache = cache

    def add(self, network: PluginList, attachment: Wanted) -> Result:
        """Attach, and remember it once the last plugin has succeeded.

        After a failure a runtime calls `delete`, whatever was attached.
        """
        result = self._conduct(libcni.add(network, attachment))
        self._cache.save(Cached(network, attachment, result))
        return result

    def delete(self, network: PluginList, attachment: Wanted) -> None:
        """Detach, as often as asked, and forget it; a damaged cache is treated as absent."""
        try:
            cached = self._cache.find(network.name, attachment.id)
        except UndecodableInput:
            cached = None
        result = None if cached is None else cached.result
        self._conduct(libcni.delete(network, attachment, result))
        self._cache.forget(network.name, attachment.id)

    def check(self, network: PluginList, attachment: Wanted) -> None:
        """Have the plugins check that all is as ADD said; raises UnknownAttachment without one."""
        cached = self._cache.find(network.name, attachment.id)
        if cached is None:
            raise UnknownAttachment(f"{attachment.id.in_short} is not attached to {network.name!r}")
        self._conduct(libcni.check(network, attachment, cached.result))

    def gc(self, network: PluginList, valid: Collection[AttachmentId] | None) -> None:
        """Detach and forget what is not `valid`, and have the plugins do the same.

        A failure does not stop the rest; the first one is raised at the end.
        """
        failures = Failures()
        for cached in libcni.stale(network, valid, self._cache.all()):
            with failures:
                self.delete(network, cached.attachment)
        with failures:
            self._conduct(libcni.gc(network, valid))
        failures.raise_first()

    def status(self, network: PluginList) -> None:
        """Ask the plugins whether they could carry out an ADD."""
        self._conduct(libcni.status(network))

    def _conduct(self, conversation: Conversation[T]) -> T:
        return conduct(conversation, self._execute)

    def _execute(self, call: PluginCall) -> Json:
        begun = time.monotonic()
        answer: Json | None = None
        failure: AmdcniError | None = None
        try:
            answer = self._plain_execute(call)
            return answer
        except AmdcniError as raised:
            failure = raised
            raise
        finally:
            taken = time.monotonic() - begun
            self.transcript.append(Exchange(call, answer, failure, taken))
