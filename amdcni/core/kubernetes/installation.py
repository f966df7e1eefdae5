"""The CNI configurations of a node, of which the first should be Multus."""

from collections.abc import Mapping
from typing import Final

import attrs

from amdcni.core.spec import Json

CONF_DIR: Final = "/etc/cni/net.d"
"""Where the runtime looks for configurations, of which it takes the first."""

BIN_DIR: Final = "/opt/cni/bin"
"""Where Multus looks for plugins, unless its configuration has another `binDir`."""

NETWORKS_DIR: Final = "/etc/cni/multus/net.d"
"""Where Multus looks for the configuration of a definition that has none, unless its own
configuration has another `confDir`.
"""

EXTENSIONS: Final = (".conf", ".conflist", ".json")
"""What runtimes take for configurations (libcni/conf.go, ConfFiles)."""


@attrs.frozen
class ConfFile:
    """A CNI configuration of the node: what it says, or why it could not be read."""

    name: str
    config: Json | None = None
    fault: str | None = None
    denied: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        """The types of its plugins."""
        return tuple(str(plugin.get("type")) for plugin in _plugins_in(self.config or {}))

    @property
    def is_multus(self) -> bool:
        """Whether it executes Multus, or the part of it that asks its daemon."""
        return any(name in _MULTUS for name in self.types)


_MULTUS: Final = ("multus", "multus-shim")


@attrs.frozen
class ConfDir:
    """The folder of the node's CNI configurations, its files in the order of their names."""

    path: str
    files: tuple[ConfFile, ...] = ()
    fault: str | None = None
    denied: bool = False


def find_bin_dir(folder: ConfDir) -> str | None:
    """The folders in which the Multus of this node looks for plugins, separated by colons.

    None if the runtime finds no Multus there.
    """
    if not any(file.is_multus for file in folder.files[:1]):
        return None
    return _find_setting(folder, "binDir") or BIN_DIR


def networks_dir_of(folder: ConfDir) -> str:
    """The folder in which the Multus of this node looks for configurations of networks."""
    return _find_setting(folder, "confDir") or NETWORKS_DIR


def _find_setting(folder: ConfDir, key: str) -> str | None:
    for file in folder.files[:1]:
        for plugin in _plugins_in(file.config or {}):
            if plugin.get("type") in _MULTUS and isinstance(plugin.get(key), str):
                return str(plugin[key])
    return None


def configurations_in(folder: ConfDir) -> dict[str, Json]:
    """The configurations of a folder by their names, for definitions that refer to one of them."""
    return {
        file.config["name"]: file.config
        for file in folder.files
        if file.config is not None and isinstance(file.config.get("name"), str)
    }


def _plugins_in(config: Json) -> list[Mapping[str, object]]:
    listed = config.get("plugins")
    plugins = listed if isinstance(listed, list) else [config]
    return [plugin for plugin in plugins if isinstance(plugin, dict)]
