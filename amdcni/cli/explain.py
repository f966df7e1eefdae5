"""`amdcni explain`: what happens to a pod's networks, from its annotation to each plugin call."""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

import attrs

from amdcni.cli.printing import for_programs, print_value
from amdcni.core.attachment import Attachment
from amdcni.core.codec import decode_object
from amdcni.core.errors import AmdcniError, InvalidManifest, PolicyDenies
from amdcni.core.formats.misspelt import Misspelt, misspelt_keys
from amdcni.core.kubernetes import (
    Allocation,
    Delegate,
    NetworkAttachmentDefinition,
    Pod,
    Sandbox,
    allocation_from_checkpoint,
    allocation_from_environment,
    allocation_from_pod_resources,
    calls_to_add,
    delegates_of,
    parse_definition,
    parse_pod,
    selected,
    to_go_json,
)
from amdcni.core.kubernetes.installation import configurations_in
from amdcni.core.kubernetes.objects import TEMPLATES, parse_pod_template
from amdcni.core.kubernetes.review import (
    LENDER,
    NO_RESOURCE,
    clash_of,
    clash_of_plans,
    denials_of,
    lacks_device,
    request_of,
)
from amdcni.core.names import parse_container_id
from amdcni.core.plans.attach import record_in
from amdcni.core.policy import POLICY_PATH, Naming, Policy, require_allocated
from amdcni.core.request import AddRequest, plugin_dirs_of
from amdcni.core.spec import Json, PluginCall, short_id
from amdcni.core.steps import Plan
from amdcni.effects.policy import find_policy
from amdcni.effects.survey import read_conf_dir
from amdcni.manifests import MAX_FILE_BYTES, read_file, read_manifests

if TYPE_CHECKING:
    from rich.console import Console

_PLACEHOLDERS: Final = ("CONTAINER_ID", "/run/netns/POD", "POD_UID")


@attrs.frozen
class FollowedCall:
    """One call of a plugin; `plan` is what it would do, `refused` why it would be refused.

    `request` is its parsed input, `misspelt` are keys of that which would be ignored and were
    probably written wrong.  `stale` lists what it would return to the host first, and `done`
    says that it has been carried out already, and would only repeat its answer.  `unsaved` lists
    what would not come back with the NIC.
    """

    call: PluginCall
    environ: Mapping[str, str]
    request: AddRequest | None = None
    misspelt: tuple[Misspelt, ...] = ()
    plan: Plan | None = None
    stale: tuple[Attachment, ...] = ()
    unsaved: tuple[str, ...] = ()
    done: bool = False
    refused: str | None = None

    @property
    def stdin(self) -> str:
        """What the plugin gets on standard input."""
        return to_go_json(self.call.config, sort_keys=True)


@attrs.frozen
class Attached:
    """One network of the pod, with the calls that attach it."""

    delegate: Delegate
    calls: tuple[FollowedCall, ...]


@attrs.frozen
class Rules:
    """What the policy of the node is, and what it is about here.

    A `policy` that this user may not read is None, and so is an `allocation` that may lack some of
    the pod's devices.
    """

    policy: Policy | None
    pod: Pod
    allocation: Allocation | None

    def require(self, request: AddRequest) -> None:
        """Raise what an ADD would raise because of its configuration, as far as it is known."""
        if self.policy is None:
            return
        denials = denials_of(request, self.policy)
        if denials:
            raise PolicyDenies(denials[0])
        if self.allocation is not None and self.pod.uid is not None:
            allocated = {device for ids in self.allocation.values() for device in ids}
            require_allocated(self.policy, request.device.selector, allocated, self.pod.uid)


@attrs.frozen
class Explanation:
    """A pod, the devices allocated to it, where that is known from, and its networks."""

    pod: Pod
    allocation: Allocation
    source: str
    sandbox: Sandbox
    networks: tuple[Attached, ...]

    @property
    def left(self) -> dict[str, list[str]]:
        """The devices that are allocated but attached to no network."""
        taken = {network.delegate.device for network in self.networks}
        left = {
            resource: [device for device in devices if device not in taken]
            for resource, devices in self.allocation.items()
        }
        return {resource: devices for resource, devices in left.items() if devices}


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Explain a pod; 1 if a call would be refused."""
    explanation = explain(options, os.environ)
    if for_programs(options):
        print_value(as_json(explanation), options, stdout)
    else:
        print_flow(explanation, stdout)
    calls = [followed for network in explanation.networks for followed in network.calls]
    return 1 if any(followed.refused for followed in calls) else 0


def explain(options: argparse.Namespace, environ: Mapping[str, str]) -> Explanation:
    """Follow the pod in the files through the flow.

    Raises: InvalidManifest.
    """
    pod, definitions = _objects(options.files, options.networks_dir)
    allocation, source = _allocation(options, pod, definitions, environ)
    delegates = delegates_of(pod, definitions, allocation)
    pod = pod if pod.uid else attrs.evolve(pod, uid=_PLACEHOLDERS[2])
    rules = Rules(find_policy(), pod, allocation if _is_whole(options) else None)
    sandbox = Sandbox(parse_container_id(options.container_id), options.netns)
    dirs = tuple(options.cni_path.split(":"))
    networks: list[Attached] = []
    earlier: list[FollowedCall] = []
    for delegate in delegates:
        first = len(earlier)
        for call in calls_to_add(delegate, pod, sandbox):
            followed = FollowedCall(call, call.variables(dirs))
            earlier.append(_followed(followed, earlier, rules, plan=options.plan))
        networks.append(Attached(delegate, tuple(earlier[first:])))
    return Explanation(pod, allocation, source, sandbox, tuple(networks))


def _objects(paths: list[str], networks_dir: str) -> tuple[Pod, list[NetworkAttachmentDefinition]]:
    pods, definitions = [], []
    networks = configurations_in(read_conf_dir(networks_dir))
    for path, manifest in read_manifests(paths):
        try:
            match manifest.get("kind"):
                case "Pod":
                    pods.append(parse_pod(manifest))
                case "NetworkAttachmentDefinition":
                    definitions.append(parse_definition(manifest, networks))
                case str(kind) if kind in TEMPLATES:
                    pods.append(parse_pod_template(manifest))
                case kind:
                    raise InvalidManifest(
                        f"{kind!r} is neither a Pod, nor something with a template of pods, nor a "
                        "NetworkAttachmentDefinition"
                    )
        except InvalidManifest as fault:
            raise InvalidManifest(f"{path}: {fault.message}") from None
    if len(pods) != 1:
        raise InvalidManifest(f"there are {len(pods)} pods in {', '.join(paths)}, not one")
    return pods[0], definitions


def _allocation(
    options: argparse.Namespace,
    pod: Pod,
    definitions: list[NetworkAttachmentDefinition],
    environ: Mapping[str, str],
) -> tuple[Allocation, str]:
    """The devices of the pod, and in words where they are known from."""
    resources = [definition.resource for definition in selected(pod, definitions)]
    wanted = dict.fromkeys(resource for resource in resources if resource is not None)
    if options.device:
        return _given(options.device, list(wanted), _without_resource(pod, definitions)), "--device"
    for path, read, source in (
        (options.checkpoint, allocation_from_checkpoint, "the kubelet's checkpoint"),
        (options.pod_resources, allocation_from_pod_resources, "PodResources"),
    ):
        if path:
            allocation = read(_decoded(read_file(path), path), pod)
            if wanted and not allocation:
                raise InvalidManifest(
                    f"{source}, {path}, lists no device of {pod}: is it this pod's?"
                )
            return allocation, f"{source}, {path}"
    announced = allocation_from_environment(environ, wanted)
    if wanted and not announced:
        raise InvalidManifest(
            f"no device of {', '.join(wanted)} is known: give --device ID, --checkpoint or "
            "--pod-resources FILE, or the variables PCIDEVICE_*"
        )
    return announced, "the variables PCIDEVICE_*"


def _is_whole(options: argparse.Namespace) -> bool:
    """Whether the source lists all devices of the pod; of variables, only some are read."""
    return bool(options.device or options.checkpoint or options.pod_resources)


def _without_resource(pod: Pod, definitions: list[NetworkAttachmentDefinition]) -> list[str]:
    """The selected definitions with our plugin to which Multus adds no device."""
    return [
        f"{definition}: {NO_RESOURCE}"
        for definition in selected(pod, definitions)
        if lacks_device(definition)
    ]


def _given(devices: list[str], resources: list[str], lacking: list[str]) -> Allocation:
    found: dict[str, tuple[str, ...]] = {}
    for text in devices:
        resource, equals, device = text.rpartition("=")
        if not equals:
            if lacking:
                raise InvalidManifest(f"--device {text}: no network takes it: {lacking[0]}")
            if len(resources) != 1:
                known = ", ".join(resources) or "none"
                raise InvalidManifest(
                    f"--device {text}: say RESOURCE={text}; the pod's definitions name {known}"
                )
            resource = resources[0]
        found[resource] = (*found.get(resource, ()), device)
    return found


def _decoded(data: bytes, path: str) -> Json:
    try:
        return decode_object(data, path, max_bytes=MAX_FILE_BYTES)
    except AmdcniError as fault:
        raise InvalidManifest(fault.message) from None


def _followed(
    followed: FollowedCall, earlier: Sequence[FollowedCall], rules: Rules, *, plan: bool
) -> FollowedCall:
    """The call with why it would be refused, and if `plan`, with what it would do on this node.

    `earlier` are the calls before it, which are assumed to succeed.
    """
    if followed.call.plugin != LENDER:
        return followed
    try:
        request = request_of(followed.environ, followed.call.config)
        misspelt = misspelt_keys(followed.call.config)
        followed = attrs.evolve(followed, request=request, misspelt=misspelt)
        rules.require(request)
        clash = clash_of(request, [each.request for each in earlier if each.request is not None])
        if clash is not None:
            return attrs.evolve(followed, refused=clash)
        return _planned(followed, request, earlier, rules) if plan else followed
    except AmdcniError as failure:
        return attrs.evolve(followed, refused=failure.message)


def _planned(
    followed: FollowedCall,
    request: AddRequest,
    earlier: Sequence[FollowedCall],
    rules: Rules,
) -> FollowedCall:
    """The call with what it would do on this node; nothing is changed."""
    from amdcni.cli.node import on_this_node_silently
    from amdcni.effects.places import settle
    from amdcni.verbs.preview import preview

    if rules.policy is None:
        raise PolicyDenies(f"only root may read {POLICY_PATH}; run amdcni explain as root")
    _, places = settle(request, rules.policy)
    # How the device may be named has been judged, by the allocation that is explained here.
    policy = attrs.evolve(rules.policy, naming=Naming.ANY)
    dirs = plugin_dirs_of(followed.environ)
    with on_this_node_silently(places.data_dir.path, dirs, policy=policy) as node:
        seen = preview(request, node)
    if seen.plan is None:
        return attrs.evolve(followed, done=True)
    before = [
        (each.request, record_in(each.plan)) for each in earlier if each.request and each.plan
    ]
    clash = clash_of_plans(record_in(seen.plan), before)
    if clash is not None:
        return attrs.evolve(followed, refused=clash)
    return attrs.evolve(followed, plan=seen.plan, stale=seen.stale, unsaved=seen.unsaved)


# ---- for programs


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation for programs."""
    pod = explanation.pod
    return {
        "pod": {"namespace": pod.id.namespace, "name": pod.id.name, "uid": pod.uid},
        "requests": dict(pod.requests),
        "allocation": {name: list(ids) for name, ids in explanation.allocation.items()},
        "allocation_source": explanation.source,
        "not_attached": explanation.left,
        "networks": [_network_as_json(network) for network in explanation.networks],
    }


def _network_as_json(network: Attached) -> dict[str, Any]:
    delegate = network.delegate
    return {
        "definition": str(delegate.definition.id),
        "resource": delegate.definition.resource,
        "device": delegate.device,
        "ifname": delegate.ifname,
        "configuration": dict(delegate.configuration),
        "calls": [_call_as_json(followed) for followed in network.calls],
    }


def _call_as_json(followed: FollowedCall) -> dict[str, Any]:
    steps = () if followed.plan is None else followed.plan.steps
    return {
        "plugin": followed.call.plugin,
        "environment": dict(followed.environ),
        "stdin": dict(followed.call.config),
        "unknown_keys": [{"key": each.key, "meant": each.meant} for each in followed.misspelt],
        "gives_back_first": [f"{record.key} of {record.id}" for record in followed.stale],
        "plan": [
            {"step": each.step.describe(), "undo": [undo.describe() for undo in each.undo]}
            for each in steps
        ],
        "not_saved": list(followed.unsaved),
        "done": followed.done,
        "refused": followed.refused,
    }


# ---- for people


def print_flow(explanation: Explanation, stdout: IO[str]) -> None:
    """Print the four phases of the integration flow with this pod's values."""
    from rich.console import Console

    console = Console(file=stdout, highlight=False, soft_wrap=True)
    _print_allocation(explanation, console)
    _print_initiation(explanation, console)
    _print_orchestration(explanation, console)
    _print_execution(explanation, console)


def _heading(console: "Console", text: str) -> None:
    console.print(f"\n{text}", style="bold", markup=False)


def _print_allocation(explanation: Explanation, console: "Console") -> None:
    pod, allocation = explanation.pod, explanation.allocation
    _heading(console, "1. Resource allocation: scheduler, device plugin")
    for resource in sorted({*pod.requests, *allocation}):
        devices = ", ".join(allocation.get(resource, ())) or "none"
        requested = pod.requests.get(resource, 0)
        console.print(f"   {pod} requests {requested} of {resource}; allocated: {devices}")
    if not (pod.requests or allocation):
        console.print(f"   {pod} requests no devices, and has none.")
    console.print(f"   According to {explanation.source}.", style="dim", markup=False)
    for resource, left in explanation.left.items():
        console.print(f"   No network takes {', '.join(left)} of {resource}.")


def _print_initiation(explanation: Explanation, console: "Console") -> None:
    sandbox = explanation.sandbox
    _heading(console, "2. Network setup initiation: kubelet, container runtime, Multus")
    console.print(
        f"   The runtime makes the network namespace {sandbox.netns} of the sandbox "
        f"{short_id(sandbox.container_id)},\n   and calls Multus, which attaches the cluster "
        "network as eth0 first."
    )
    said = (sandbox.container_id, sandbox.netns, explanation.pod.uid)
    unknown = [text for text in said if text in _PLACEHOLDERS]
    if unknown:
        console.print(f"   (Not known yet: {', '.join(unknown)}.)", style="dim")


def _print_orchestration(explanation: Explanation, console: "Console") -> None:
    _heading(console, "3. Multus orchestration: annotation, definition, device, configuration")
    if not explanation.networks:
        console.print("   The pod has no annotation that selects a network.")
    for network in explanation.networks:
        delegate = network.delegate
        taken = f", with {delegate.device} of {delegate.definition.resource}"
        console.print(
            f"   {delegate.ifname}: {delegate.definition}{taken if delegate.device else ''}"
        )


def _print_execution(explanation: Explanation, console: "Console") -> None:
    _heading(console, "4. CNI execution: each network, each plugin")
    for network in explanation.networks:
        delegate = network.delegate
        _heading(console, f"   {delegate.ifname}")
        console.print("   CNI configuration:")
        console.print(_indented(json.dumps(delegate.configuration, indent=2)), markup=False)
        for followed in network.calls:
            console.print(f"   Multus executes {followed.call.plugin} with the environment")
            for name, value in followed.environ.items():
                console.print(f"     {name}={value}", markup=False)
            console.print("   and on standard input")
            console.print(f"     {followed.stdin}", markup=False)
            for line in _plan_lines(followed):
                console.print(f"   {line}", markup=False)


def _indented(text: str) -> str:
    return "\n".join(f"     {line}" for line in text.splitlines())


def _plan_lines(followed: FollowedCall) -> Iterator[str]:
    yield from map(str, followed.misspelt)
    if followed.refused is not None:
        yield f"It would be refused: {followed.refused}"
    if followed.done:
        yield "On this node it has been done already: it would give the same result again."
    if followed.plan is not None:
        yield "On this node it would"
        for record in followed.stale:
            whose = f"{record.key} of {record.lent_to}"
            yield f"  - first return {whose}, which no call will return any more, and then"
        for number, planned in enumerate(followed.plan.steps, start=1):
            yield f"  {number}. {planned.step.describe()}"
            for undo in planned.undo:
                yield f"     if it fails: {undo.describe()}"
        for what in followed.unsaved:
            yield f"This would not come back: {what}"
