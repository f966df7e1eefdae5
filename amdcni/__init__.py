"""Lend NICs to Kubernetes pods and return everything to the host.

`amdcni.core` is the pure part: CNI types of every version, requests, decisions and plans.
`amdcni.effects` does the I/O, `amdcni.verbs` are the verbs, `amdcni.testing` is the test kit.

What other software needs most is here as well, such as `amdcni.Result` and `amdcni.Runtime`: these
names are stable, and a module is imported when one of its names is first used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from amdcni.core.codec import (
        decode_object,
        encode,
        error_to_json,
        parse_error,
        parse_plugin_info,
        parse_plugin_list,
        plugin_list_to_json,
        prev_result_of,
        result_from_json,
        result_to_json,
        spell,
        structure,
    )
    from amdcni.core.errors import (
        AmdcniError,
        CheckFailed,
        DamagedRecord,
        DeviceAmbiguous,
        DeviceBusy,
        DeviceHeld,
        DeviceNotFound,
        DeviceProtected,
        Failures,
        IfnameTaken,
        InstallFailed,
        InvalidConfiguration,
        InvalidEnvironment,
        InvalidManifest,
        InvalidName,
        InvalidSettings,
        KernelRefused,
        NetdevLost,
        NotAvailable,
        PluginBroken,
        PluginFailed,
        PluginNotFound,
        PolicyDenies,
        RdmaImmovable,
        RdmaLost,
        RestoreIncomplete,
        StateFailure,
        StateTooNew,
        TryAgainLater,
        UndecodableInput,
        UnknownAttachment,
        UnsupportedField,
        UnsupportedVersion,
    )
    from amdcni.core.libcni import (
        Wanted,
    )
    from amdcni.core.names import (
        AuxiliaryDevice,
        BusDevice,
        ContainerId,
        FilePath,
        IfName,
        IpamName,
        MacAddress,
        NetdevName,
        NetworkName,
        PciAddress,
        PluginName,
        parse_bus_device,
        parse_container_id,
        parse_file_path,
        parse_ifname,
        parse_ipam_name,
        parse_mac,
        parse_netdev_name,
        parse_network_name,
        parse_plugin_name,
    )
    from amdcni.core.request import (
        Invocation,
        parse_environment,
    )
    from amdcni.core.spec import (
        AttachmentId,
        Dns,
        ErrorObject,
        Interface,
        Ip,
        Json,
        PluginCall,
        PluginInfo,
        PluginList,
        Result,
        Route,
        Verb,
    )
    from amdcni.core.versions import (
        NEWEST,
        OLDEST,
        SUPPORTED,
        CniVersion,
        at_least,
        parse_version,
        plugin_info,
    )
    from amdcni.runtime import (
        Cache,
        Runtime,
    )
    from amdcni_shim.edge import (
        error_object,
        version_said,
    )

__version__ = "0.2.0"
"""The version of the whole project; everything else that has a version takes it from here."""

__all__ = [
    "NEWEST",
    "OLDEST",
    "SUPPORTED",
    "AmdcniError",
    "AttachmentId",
    "AuxiliaryDevice",
    "BusDevice",
    "Cache",
    "CheckFailed",
    "CniVersion",
    "ContainerId",
    "DamagedRecord",
    "DeviceAmbiguous",
    "DeviceBusy",
    "DeviceHeld",
    "DeviceNotFound",
    "DeviceProtected",
    "Dns",
    "ErrorObject",
    "Failures",
    "FilePath",
    "IfName",
    "IfnameTaken",
    "InstallFailed",
    "Interface",
    "InvalidConfiguration",
    "InvalidEnvironment",
    "InvalidManifest",
    "InvalidName",
    "InvalidSettings",
    "Invocation",
    "Ip",
    "IpamName",
    "Json",
    "KernelRefused",
    "MacAddress",
    "NetdevLost",
    "NetdevName",
    "NetworkName",
    "NotAvailable",
    "PciAddress",
    "PluginBroken",
    "PluginCall",
    "PluginFailed",
    "PluginInfo",
    "PluginList",
    "PluginName",
    "PluginNotFound",
    "PolicyDenies",
    "RdmaImmovable",
    "RdmaLost",
    "RestoreIncomplete",
    "Result",
    "Route",
    "Runtime",
    "StateFailure",
    "StateTooNew",
    "TryAgainLater",
    "UndecodableInput",
    "UnknownAttachment",
    "UnsupportedField",
    "UnsupportedVersion",
    "Verb",
    "Wanted",
    "__version__",
    "at_least",
    "decode_object",
    "encode",
    "error_object",
    "error_to_json",
    "parse_bus_device",
    "parse_container_id",
    "parse_environment",
    "parse_error",
    "parse_file_path",
    "parse_ifname",
    "parse_ipam_name",
    "parse_mac",
    "parse_netdev_name",
    "parse_network_name",
    "parse_plugin_info",
    "parse_plugin_list",
    "parse_plugin_name",
    "parse_version",
    "plugin_info",
    "plugin_list_to_json",
    "prev_result_of",
    "result_from_json",
    "result_to_json",
    "spell",
    "structure",
    "version_said",
]

_MODULES = (
    "amdcni.core.errors",
    "amdcni.core.names",
    "amdcni.core.spec",
    "amdcni.core.versions",
    "amdcni.core.codec",
    "amdcni_shim.edge",
    "amdcni.core.request",
    "amdcni.core.libcni",
    "amdcni.runtime",
)
"""Where the names are; those that need least come first."""


def __getattr__(name: str) -> object:
    if name in __all__:
        from importlib import import_module

        for module in map(import_module, _MODULES):
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
