"""The Kubernetes objects that the flow is about: pods, and definitions of networks."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import attrs

from amdcni.core.codec import decode_object, given_keys, structure
from amdcni.core.errors import InvalidManifest, UndecodableInput
from amdcni.core.kubernetes.selections import NETWORKS, NetworkSelection, parse_selections
from amdcni.core.spec import Json

RESOURCE_NAME: Final = "k8s.v1.cni.cncf.io/resourceName"
DEFAULT_NAMESPACE: Final = "default"

T = TypeVar("T")


@attrs.frozen(order=True)
class ObjectName:
    """The name of a namespaced object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@attrs.frozen
class Pod:
    """A pod, as far as its networks are concerned.

    `uid` is None before the API server has given one.  `requests` counts the devices of extended
    resources, such as `amd.com/nic`, over all containers.
    """

    id: ObjectName
    uid: str | None = None
    networks: tuple[NetworkSelection, ...] = ()
    requests: Mapping[str, int] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return f"pod {self.id}"


@attrs.frozen
class NetworkAttachmentDefinition:
    """How to attach to a network: `config` as a CNI configuration or list, which has a name.

    `resource` is the one whose devices it attaches, None if it takes no device.
    """

    id: ObjectName
    resource: str | None
    config: Json

    @property
    def is_list(self) -> bool:
        """Whether it is a list of plugins; whatever has a `type` is a single one to Multus."""
        return not self.config.get("type")

    @property
    def plugins(self) -> tuple[Json, ...]:
        """The configurations of its plugins; that of a single one is the whole."""
        return tuple(self.config["plugins"]) if self.is_list else (self.config,)

    def __str__(self) -> str:
        return f"NetworkAttachmentDefinition {self.id}"


@attrs.frozen
class _Metadata:
    name: str
    namespace: str = DEFAULT_NAMESPACE
    uid: str | None = None
    annotations: Json = attrs.field(factory=dict)


@attrs.frozen
class _Resources:
    requests: Json = attrs.field(factory=dict)
    limits: Json = attrs.field(factory=dict)


@attrs.frozen
class _Container:
    resources: _Resources = _Resources()


@attrs.frozen
class _PodSpec:
    containers: tuple[_Container, ...] = ()


@attrs.frozen
class _DefinitionSpec:
    config: str = ""


def parse_pod(manifest: Json) -> Pod:
    """The pod of a manifest, as written by hand or as the API server gives it.

    Raises: InvalidManifest.
    """
    metadata, id = _identify(manifest, "Pod")
    what = f"pod {id}"
    annotation = metadata.annotations.get(NETWORKS)
    networks: tuple[NetworkSelection, ...] = ()
    if annotation:
        networks = parse_selections(annotation, id.namespace, f"{what}: annotation {NETWORKS}")
    spec = _part(manifest, "spec", _PodSpec, what)
    return Pod(id, metadata.uid, networks, _requests(spec, what))


TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        (
            *("DaemonSet", "Deployment", "Job", "ReplicaSet"),
            *("ReplicationController", "StatefulSet"),
        ),
        ("spec", "template"),
    ),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "PodTemplate": ("template",),
}
"""The kinds whose objects contain a template of pods, and where."""


def parse_pod_template(manifest: Json) -> Pod:
    """A pod as an object of a kind in `TEMPLATES` makes it, under the name of that object.

    Raises: InvalidManifest.
    """
    kind = str(manifest.get("kind"))
    _, id = _identify(manifest, kind)
    template: Any = manifest
    for key in TEMPLATES[kind]:
        template = template.get(key) if isinstance(template, dict) else None
    if not isinstance(template, dict):
        raise InvalidManifest(f"{kind} {id}: $.{'.'.join(TEMPLATES[kind])} is missing")
    given = template.get("metadata")
    own = {**(given if isinstance(given, dict) else {}), "namespace": id.namespace, "name": id.name}
    own.pop("uid", None)
    return parse_pod({**template, "kind": "Pod", "metadata": own})


def parse_definition(
    manifest: Json, configurations: Mapping[str, Json] | None = None
) -> NetworkAttachmentDefinition:
    """The NetworkAttachmentDefinition of a manifest.

    One without `config` refers to the node's configuration of the same name: `configurations` are
    those of the node, by name.

    Raises: InvalidManifest.
    """
    metadata, id = _identify(manifest, "NetworkAttachmentDefinition")
    what = f"NetworkAttachmentDefinition {id}"
    resource = metadata.annotations.get(RESOURCE_NAME) or None
    text = _part(manifest, "spec", _DefinitionSpec, what).config
    if text:
        config = _decode(text, f"{what}: spec.config")
    elif configurations and id.name in configurations:
        config = dict(configurations[id.name])
    else:
        raise InvalidManifest(
            f"{what}: spec.config is absent, and the node has no configuration named {id.name!r}"
        )
    if not config.get("name"):
        config["name"] = id.name
    plugins = [config] if config.get("type") else config.get("plugins")
    _refuse_no_plugins(plugins, f"{what}: spec.config")
    return NetworkAttachmentDefinition(id, resource, config)


def _refuse_no_plugins(plugins: Any, what: str) -> None:
    if not isinstance(plugins, list) or not plugins:
        raise InvalidManifest(f"{what} has neither a type nor a list of plugins")
    for index, plugin in enumerate(plugins):
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not kind:
            raise InvalidManifest(f"{what}: $.plugins[{index}] has no type")


def _identify(manifest: Json, kind: str) -> tuple[_Metadata, ObjectName]:
    if manifest.get("kind") != kind:
        raise InvalidManifest(f"the manifest is of kind {manifest.get('kind')!r}, not {kind}")
    metadata = _part(manifest, "metadata", _Metadata, f"the manifest of a {kind}")
    id = ObjectName(metadata.namespace, metadata.name)
    for name, value in metadata.annotations.items():
        if not isinstance(value, str):
            raise InvalidManifest(
                f"{'pod' if kind == 'Pod' else kind} {id}: annotation {name} is {value!r}, "
                "not a string; in YAML, a value with a comma or of digits alone has to be quoted"
            )
    return metadata, id


def _part(manifest: Json, key: str, cls: type[T], what: str) -> T:
    part = manifest.get(key)
    raw = given_keys(part, cls) if isinstance(part, dict) else part
    return structure({} if raw is None else raw, cls, InvalidManifest, what, f"$.{key}")


def _decode(text: str, what: str) -> dict[str, Any]:
    try:
        return decode_object(text.encode(errors="surrogatepass"), what)
    except UndecodableInput as fault:
        raise InvalidManifest(fault.message) from None


def _requests(spec: _PodSpec, what: str) -> dict[str, int]:
    """How many devices of each extended resource, which has a domain in its name, are requested."""
    total: dict[str, int] = {}
    for index, container in enumerate(spec.containers):
        resources = container.resources
        for name, quantity in {**resources.limits, **resources.requests}.items():
            if "/" in name:
                at = f"{what}: $.spec.containers[{index}].resources: {name}"
                total[name] = total.get(name, 0) + _count(quantity, at)
    return total


def _count(quantity: object, what: str) -> int:
    text = str(quantity)
    if not (text.isascii() and text.isdigit()):
        raise InvalidManifest(f"{what} is {quantity!r}, not a number of devices")
    return int(text)
