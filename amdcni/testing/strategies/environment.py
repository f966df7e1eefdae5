"""Environments of valid calls, and what they say."""

from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.names import ContainerId, IfName
from amdcni.core.request import FALLBACK_PLUGIN_DIRS, Invocation
from amdcni.core.spec import AttachmentId, Verb
from amdcni.testing.strategies.names import attachment_ids, netns_paths, paths
from amdcni.testing.strategies.values import words

cni_args: SearchStrategy[str] = st.lists(
    st.tuples(
        st.sampled_from(["IP", "MAC", "K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_UID"]), words
    ),
    max_size=3,
).map(lambda pairs: ";".join(f"{key}={value}" for key, value in pairs))
"""Values of CNI_ARGS whose keys are all known."""


_plugin_dirs = st.lists(paths, max_size=3)
_some_plugin_dirs = st.lists(paths, min_size=1, max_size=3)


@st.composite
def _environments(draw: DrawFn, verb: Verb) -> dict[str, str]:
    environ: dict[str, str] = {"CNI_COMMAND": verb.value, draw(words): draw(words)}
    if draw(st.booleans()):
        environ |= dict.fromkeys(["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"], "")
    dirs = draw(_some_plugin_dirs if verb is Verb.GC else _plugin_dirs)
    if draw(st.booleans()) or dirs:
        environ["CNI_PATH"] = ":".join(dirs)
    if verb in (Verb.ADD, Verb.DEL, Verb.CHECK):
        attachment = draw(attachment_ids)
        environ["CNI_CONTAINERID"] = attachment.container_id
        environ["CNI_IFNAME"] = attachment.ifname
        environ["CNI_ARGS"] = draw(cni_args)
        if verb is not Verb.DEL or draw(st.booleans()):
            environ["CNI_NETNS"] = draw(netns_paths)
    return environ


def environments_for(verb: Verb) -> SearchStrategy[dict[str, str]]:
    """Environments of valid calls of `verb`, with variables that are not CNI's, too."""
    return _environments(verb)


verbs: SearchStrategy[Verb] = st.sampled_from(Verb)
"""Every CNI_COMMAND."""

environments: SearchStrategy[dict[str, str]] = verbs.flatmap(environments_for)
"""Environments of valid calls of every verb."""


def _invocation(environ: Mapping[str, str]) -> Invocation:
    verb = Verb(environ["CNI_COMMAND"])
    attachment = None
    if verb in (Verb.ADD, Verb.DEL, Verb.CHECK):
        container_id = ContainerId(environ["CNI_CONTAINERID"])
        attachment = AttachmentId(container_id, IfName(environ["CNI_IFNAME"]))
    dirs: list[str] = []
    for path in [*environ.get("CNI_PATH", "").split(":"), *FALLBACK_PLUGIN_DIRS]:
        if path and path not in dirs:
            dirs.append(path)
    return Invocation(verb, attachment, environ.get("CNI_NETNS") or None, tuple(dirs), environ)


def invocations_for(verb: Verb) -> SearchStrategy[Invocation]:
    """What valid environments of `verb` say."""
    return environments_for(verb).map(_invocation)


def attachment_of(invocation: Invocation) -> AttachmentId:
    """The attachment that a call of ADD, DEL or CHECK is about."""
    assert invocation.attachment is not None
    return invocation.attachment
