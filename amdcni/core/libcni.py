"""What a container runtime asks the plugins of a network, by the rules of libcni, as conversations.

A conversation yields one `PluginCall` after the other, gets the answer to each, and returns what
the verb gives.  Its caller executes them, whether here, in a namespace or in memory; see `conduct`.

CNI SPEC 1.1 §3; github.com/containernetworking/cni, libcni/api.go.
"""

from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any, Final, TypeVar

import attrs

from amdcni.core.codec import result_from_json, result_to_json
from amdcni.core.errors import (
    AmdcniError,
    Failures,
    InvalidConfiguration,
    PluginBroken,
    UnsupportedVersion,
)
from amdcni.core.names import PluginName, parse_plugin_name
from amdcni.core.spec import AttachmentId, Json, PluginCall, PluginList, Result, Verb
from amdcni.core.versions import (
    CHECK_SINCE,
    GC_AND_STATUS_SINCE,
    SUPPORTED,
    CniVersion,
    at_least,
)

T = TypeVar("T")

Conversation = Generator[PluginCall, Json, T]


@attrs.frozen
class Wanted:
    """An attachment as a runtime wants it, or has it.

    `args` become CNI_ARGS, and `capability_args` the runtimeConfig of plugins that declare the
    capability.
    """

    id: AttachmentId
    netns: str
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Json = attrs.field(factory=dict)


@attrs.frozen
class Cached:
    """What a runtime keeps of an attachment until its DEL; `result` is that of the last plugin."""

    network: PluginList
    attachment: Wanted
    result: Result


# ---- the verbs


def add(network: PluginList, attachment: Wanted) -> Conversation[Result]:
    """Attach: every plugin in its order, each with the result of the one before."""
    version, result = version_of(network), None
    for plugin in network.plugins:
        answer = yield _call(Verb.ADD, network, plugin, attachment, result)
        result = result_from_json(
            {"cniVersion": version, **answer}, PluginBroken, f"the result of {_name(plugin)}"
        )
    return result or Result()


def delete(network: PluginList, attachment: Wanted, result: Result | None) -> Conversation[None]:
    """Detach: every plugin in the reverse order; the first that fails ends it.

    `result` is what ADD gave, None if that is no longer known.
    """
    known = result if at_least(version_of(network), CHECK_SINCE) else None
    for plugin in reversed(network.plugins):
        yield _call(Verb.DEL, network, plugin, attachment, known)


def check(network: PluginList, attachment: Wanted, result: Result) -> Conversation[None]:
    """Have every plugin check whether everything is as `result` says.

    Raises: UnsupportedVersion if that of the network is from before CHECK.
    """
    version = version_of(network)
    if not at_least(version, CHECK_SINCE):
        raise UnsupportedVersion(f"a network of cniVersion {version} has no CHECK")
    if not network.disable_check:
        for plugin in network.plugins:
            yield _call(Verb.CHECK, network, plugin, attachment, result)


def stale(
    network: PluginList, valid: Collection[AttachmentId] | None, known: Collection[Cached]
) -> tuple[Cached, ...]:
    """What a GC detaches before it asks the plugins: those of the network that are not `valid`.

    None means that nothing is valid.
    """
    return tuple(
        cached
        for cached in known
        if cached.network.name == network.name
        and cached.attachment.id not in (valid or ())
        and not network.disable_gc
    )


def gc(network: PluginList, valid: Collection[AttachmentId] | None) -> Conversation[None]:
    """Send every plugin the list of what is valid, or none if that is None; after `stale` has gone.

    A plugin that fails does not stop the others; the first failure is raised in the end, with notes
    of the others.  If the version has no GC, no plugin is called.
    """
    if network.disable_gc or not at_least(version_of(network), GC_AND_STATUS_SINCE):
        return
    kept = [{"containerID": id.container_id, "ifname": id.ifname} for id in sorted(valid or ())]
    listed = {} if valid is None else dict.fromkeys(_VALID, kept)
    failures = Failures()
    for plugin in network.plugins:
        call = _call(Verb.GC, network, plugin, None, None)
        with failures:
            yield attrs.evolve(call, config={**call.config, **listed})
    failures.raise_first()


def status(network: PluginList) -> Conversation[None]:
    """Ask every plugin whether it could carry out an ADD; none if the version has no STATUS."""
    if at_least(version_of(network), GC_AND_STATUS_SINCE):
        for plugin in network.plugins:
            yield _call(Verb.STATUS, network, plugin, None, None)


def conduct(conversation: Conversation[T], execute: Callable[[PluginCall], Json]) -> T:
    """What the conversation returns when `execute` answers its calls.

    What `execute` raises ends the conversation, unless it can go on without an answer.
    """
    try:
        call = next(conversation)
        while True:
            try:
                answer = execute(call)
            except AmdcniError as failure:
                call = conversation.throw(failure)
            else:
                call = conversation.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        conversation.close()


# ---- what a plugin gets


def version_of(network: PluginList) -> CniVersion:
    """The version in which the plugins are called: the newest that the network offers."""
    offered = {network.version, *network.versions}
    return next(version for version in reversed(SUPPORTED) if version in offered)


_VALID: Final = ("cni.dev/valid-attachments", "cni.dev/attachments")
"""The second is that of a draft of CNI 1.1, which some plugins still use."""


def _call(
    verb: Verb,
    network: PluginList,
    plugin: Json,
    attachment: Wanted | None,
    previous: Result | None,
) -> PluginCall:
    version = version_of(network)
    config: dict[str, Any] = {**plugin, "name": network.name, "cniVersion": version}
    if previous is not None:
        config["prevResult"] = result_to_json(previous, version)
    if attachment is not None:
        given = dict(_runtime_config(plugin, attachment.capability_args))
        if given:
            config["runtimeConfig"] = given
    args = () if attachment is None else attachment.args
    return PluginCall(
        plugin=_name(plugin),
        verb=verb,
        config=config,
        attachment=None if attachment is None else attachment.id,
        netns="" if attachment is None else attachment.netns,
        args=";".join(f"{key}={value}" for key, value in args),
    )


def _runtime_config(plugin: Json, capability_args: Json) -> Iterator[tuple[str, Any]]:
    """The arguments of those capabilities that the plugin declares."""
    declared = plugin.get("capabilities") or {}
    if not isinstance(declared, dict):
        raise InvalidConfiguration(
            f"capabilities of {_name(plugin)} is {declared!r}, not an object"
        )
    for capability, supported in declared.items():
        if supported is True and capability in capability_args:
            yield capability, capability_args[capability]


def _name(plugin: Json) -> PluginName:
    name = plugin.get("type")
    return parse_plugin_name(name if isinstance(name, str) else "")
