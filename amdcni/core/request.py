"""What a runtime asks for: one type per verb, everything validated before anything is touched.

`parse_environment` needs no JSON and comes first, so that a wrong environment costs nothing.
`amdcni.core.codec` makes the requests from it and the bytes of stdin.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from amdcni.core.errors import (
    AmdcniError,
    InvalidConfiguration,
    InvalidEnvironment,
    InvalidName,
)
from amdcni.core.names import (
    BusDevice,
    FilePath,
    IfName,
    MacAddress,
    NetdevName,
    NetworkName,
    PluginName,
    parse_container_id,
    parse_ifname,
)
from amdcni.core.spec import AttachmentId, Json, Result, Verb
from amdcni.core.versions import CniVersion

DEFAULT_DATA_DIR: Final = FilePath("/var/lib/cni/amd-host-device")

FALLBACK_PLUGIN_DIRS: Final = (
    "/opt/cni/bin",
    "/var/lib/cni/bin",
    "/usr/libexec/cni",
    "/usr/lib/cni",
)
"""Where plugins are looked for after CNI_PATH."""


@attrs.frozen
class Invocation:
    """The environment of a call (CNI SPEC 1.1 §2, "Parameters"), checked for its verb.

    `attachment` is None for verbs that are not about an attachment.  `netns` is a path, and None if
    absent or empty.  `plugin_dirs` is CNI_PATH followed by the fallbacks.  `environ` is the whole
    environment as it was, for the plugins that are called in turn.
    """

    verb: Verb
    attachment: AttachmentId | None
    netns: str | None
    plugin_dirs: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def pod_uid(self) -> str | None:
        """The UID of the pod, if the runtime says it in CNI_ARGS (`K8S_POD_UID`)."""
        return pod_uid_in(self.environ.get("CNI_ARGS", ""))

    @property
    def pod(self) -> str | None:
        """The pod's namespace and name, if the runtime says them in CNI_ARGS."""
        return pod_named_in(self.environ.get("CNI_ARGS", ""))


class Mover(StrEnum):
    """Who moves the netdev into the pod (configuration key `mover`)."""

    DELEGATE = "delegate"
    NATIVE = "native"


class AddrGenMode(StrEnum):
    """How the kernel makes an IPv6 link-local address in the pod (configuration key `addrGenMode`).

    KEEP: as on the host.  KERNEL: as for every new netdev of the pod.
    """

    KEEP = "keep"
    KERNEL = "kernel"


class LogLevel(StrEnum):
    """Configuration key `logLevel`, from the most to the least talkative."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@attrs.frozen
class LogSettings:
    """Where log lines go besides stderr, and which: `logLevel`, `logFile`."""

    level: LogLevel = LogLevel.WARNING
    file: FilePath | None = None


@attrs.frozen
class Network:
    """What every verb needs of a configuration."""

    raw: Json
    name: NetworkName
    version: CniVersion
    data_dir: FilePath = DEFAULT_DATA_DIR
    log: LogSettings = LogSettings()


@attrs.frozen
class DeviceSelector:
    """Which netdev is meant; it has to fit everything that is given, which is at least one thing.

    `ifname` is any of its names.
    """

    bus_device: BusDevice | None = None
    ifname: NetdevName | IfName | None = None
    hwaddr: MacAddress | None = None
    kernelpath: FilePath | None = None

    @property
    def netdev_keys(self) -> tuple[str, ...]:
        """The keys of the configuration that name a netdev, and not only a device on a bus."""
        given = [field.name for field in attrs.fields(DeviceSelector) if getattr(self, field.name)]
        keys = [{"ifname": "device"}.get(name, name) for name in given]
        return tuple(key for key in keys if key != "bus_device")

    def __str__(self) -> str:
        given = (self.bus_device, self.ifname, self.hwaddr, self.kernelpath)
        parts = [str(part) for part in given if part is not None]
        return " with ".join(part if part.isprintable() else ascii(part) for part in parts)


@attrs.frozen
class Device:
    """What ADD and CHECK need of a configuration in addition to the network.

    `ipam` is the configuration's own IPAM plugin; None means the addresses of the host.
    `copy_routes` gives the pod the host's routes through the netdev too.  `mtu` and `mac` are those
    that the netdev gets in the pod instead of its own.  `addr_gen_mode` and `copy_sysctls` say
    which sysctls of the host it has there; a netdev that is moved by the delegate gets none.
    `move_rdma` is whether its RDMA devices follow it.
    """

    selector: DeviceSelector
    ipam: PluginName | None = None
    mover: Mover = Mover.DELEGATE
    copy_routes: bool = False
    mtu: int | None = None
    mac: MacAddress | None = None
    addr_gen_mode: AddrGenMode = AddrGenMode.KEEP
    copy_sysctls: bool = False
    move_rdma: bool = True


@attrs.frozen
class AddRequest:
    """ADD: hand `device` to the attachment; `prev_result` is that of the plugins before this."""

    invocation: Invocation
    network: Network
    device: Device
    attachment: AttachmentId
    netns: str
    prev_result: Result | None = None


@attrs.frozen
class DelRequest:
    """DEL: return to the host what the attachment holds; `selector` is a hint and may be missing.

    `ipam` and `mover` count only if there is no record to say them.  `fault` is what makes the
    configuration unusable, while the request has what could be read of it; it is the answer if the
    attachment holds nothing.
    """

    invocation: Invocation
    network: Network
    attachment: AttachmentId
    netns: str | None = None
    selector: DeviceSelector | None = None
    ipam: PluginName | None = None
    mover: Mover = Mover.DELEGATE
    fault: AmdcniError | None = None


@attrs.frozen
class CheckRequest:
    """CHECK: find out whether the attachment is as `prev_result` says."""

    invocation: Invocation
    network: Network
    device: Device
    attachment: AttachmentId
    netns: str
    prev_result: Result


@attrs.frozen
class GcRequest:
    """GC: release the network's attachments that are not in `valid`; None releases nothing."""

    invocation: Invocation
    network: Network
    valid: frozenset[AttachmentId] | None = None
    ipam: PluginName | None = None


@attrs.frozen
class StatusRequest:
    """STATUS: find out whether an ADD of this network could work now."""

    invocation: Invocation
    network: Network
    ipam: PluginName | None = None
    mover: Mover = Mover.DELEGATE


Request = AddRequest | DelRequest | CheckRequest | GcRequest | StatusRequest

_REQUIRED: Final = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
    Verb.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.GC: ("CNI_PATH",),
    Verb.STATUS: (),
    Verb.VERSION: (),
}
"""CNI SPEC 1.1 §2; CNI_PATH is required only where the text requires it, as there are fallbacks."""


def plugin_dirs_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The folders in which plugins are looked for: those of CNI_PATH, and then ours."""
    given = [path for path in environ.get("CNI_PATH", "").split(":") if path]
    return tuple(dict.fromkeys([*given, *FALLBACK_PLUGIN_DIRS]))


def parse_environment(environ: Mapping[str, str]) -> Invocation:
    """The call that the CNI_* variables describe.

    Raises: InvalidEnvironment, naming every variable that is missing or malformed.
    """
    verb = _parse_verb(environ.get("CNI_COMMAND", ""))
    missing = [name for name in _REQUIRED[verb] if not environ.get(name)]
    if missing:
        raise InvalidEnvironment(
            f"{verb} needs the environment variable{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}"
        )
    attachment = None
    if "CNI_IFNAME" in _REQUIRED[verb]:
        attachment = _parse_attachment(environ["CNI_CONTAINERID"], environ["CNI_IFNAME"])
        if verb is not Verb.DEL:
            _refuse_unknown_args(environ.get("CNI_ARGS", ""))
    return Invocation(
        verb=verb,
        attachment=attachment,
        netns=environ.get("CNI_NETNS") or None,
        plugin_dirs=plugin_dirs_of(environ),
        environ=environ,
    )


def _parse_verb(text: str) -> Verb:
    try:
        return Verb(text)
    except ValueError:
        raise InvalidEnvironment(f"CNI_COMMAND is {text!r}, not one of {', '.join(Verb)}") from None


def _parse_attachment(container_id: str, ifname: str) -> AttachmentId:
    faults = []
    for variable, parse, text in (
        ("CNI_CONTAINERID", parse_container_id, container_id),
        ("CNI_IFNAME", parse_ifname, ifname),
    ):
        try:
            parse(text)
        except InvalidName as fault:
            faults.append(f"{variable}: {fault.message}")
    if faults:
        raise InvalidEnvironment("; ".join(faults))
    return AttachmentId(parse_container_id(container_id), parse_ifname(ifname))


def pod_named_in(args: str) -> str | None:
    """The pod that CNI_ARGS name, as `namespace/name`; None if they name none."""
    pairs = _pairs_in(args)
    namespace, name = pairs.get("K8S_POD_NAMESPACE"), pairs.get("K8S_POD_NAME")
    return f"{namespace}/{name}" if namespace and name else None


def pod_uid_in(args: str) -> str | None:
    """The UID of the pod that CNI_ARGS name; None if they do not say it."""
    return _pairs_in(args).get("K8S_POD_UID") or None


def _pairs_in(args: str) -> dict[str, str]:
    return {key: value for key, _, value in (part.partition("=") for part in args.split(";"))}


_KNOWN_ARGS: Final = frozenset(
    {
        "IgnoreUnknown",
        "IP",
        "GATEWAY",
        "MAC",
        "K8S_POD_NAMESPACE",
        "K8S_POD_NAME",
        "K8S_POD_INFRA_CONTAINER_ID",
        "K8S_POD_UID",
    }
)


def _refuse_unknown_args(text: str) -> None:
    """CNI_ARGS is `key=value;key=value`; a key may come twice, and then the last one counts."""
    pairs = [part.partition("=") for part in text.split(";") if part]
    malformed = [key for key, equals, _ in pairs if not (key and equals)]
    if malformed:
        raise InvalidEnvironment(f"CNI_ARGS: {malformed[0]!r} is not key=value")
    args = {key: value for key, _, value in pairs}
    unknown = [key for key in args if key not in _KNOWN_ARGS]
    if unknown and args.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        raise InvalidEnvironment(
            f"CNI_ARGS has unknown keys: {', '.join(unknown)}; IgnoreUnknown=true lets them pass"
        )


DEVICE_KEYS: Final = ("deviceID", "pciBusID", "runtimeConfig.deviceID")
OTHER_KEYS: Final = ("device", "hwaddr", "kernelpath")


def selector_of(
    ids: Mapping[str, BusDevice],
    *,
    ifname: NetdevName | IfName | None = None,
    hwaddr: MacAddress | None = None,
    kernelpath: FilePath | None = None,
) -> DeviceSelector:
    """The selector for the keys that a configuration has; `ids` is by name of `DEVICE_KEYS`.

    Raises: InvalidConfiguration if the IDs disagree, or if nothing at all is given.
    """
    if len(set(ids.values())) > 1:
        listed = ", ".join(f"{key} is {value}" for key, value in ids.items())
        raise InvalidConfiguration(f"the configuration names several devices: {listed}")
    selector = DeviceSelector(next(iter(ids.values()), None), ifname, hwaddr, kernelpath)
    if selector == DeviceSelector():
        accepted = ", ".join([*DEVICE_KEYS, *OTHER_KEYS])
        raise InvalidConfiguration(
            f"the configuration names no device; give one of {accepted} "
            "(Multus adds deviceID when the NAD has the annotation k8s.v1.cni.cncf.io/resourceName)"
        )
    return selector
