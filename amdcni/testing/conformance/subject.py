"""The plugin that is judged: its executable, its configuration, and the plugins before it."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from amdcni.core.codec import decode_object
from amdcni.core.errors import AmdcniError
from amdcni.core.kubernetes import parse_definition
from amdcni.core.names import parse_plugin_name
from amdcni.core.spec import Json
from amdcni.core.versions import NEWEST, SUPPORTED, CniVersion
from amdcni.effects.plugins import find_plugin
from amdcni.manifests import read_manifests
from amdcni.testing.cni import DEFAULT_CNI_PATH
from amdcni.testing.conformance.well_known import CONFIGURATIONS, IFNAMES
from amdcni.testing.namespaces import StrPath

DEFAULT_IFNAME = "net1"
DEFAULT_TIMEOUT_S = 60.0
_COVERED = ("/run", "/sys", "/var/lib/cni")


class CannotJudge(Exception):
    """The suite cannot begin: the message says what is wrong with its arguments, or missing."""


@frozen
class Subject:
    """A plugin under test.

    `config` is its own part of the network configuration, `before` those of the plugins that come
    before it in its list.  `dirs` become CNI_PATH, and `ifname` CNI_IFNAME.  A call that takes
    longer than `timeout_s` is killed.
    """

    executable: Path
    config: Json
    before: tuple[Json, ...] = ()
    dirs: tuple[str, ...] = DEFAULT_CNI_PATH
    ifname: str = DEFAULT_IFNAME
    timeout_s: float = DEFAULT_TIMEOUT_S

    @property
    def name(self) -> str:
        """The plugin's type."""
        return self.executable.name

    @property
    def is_ipam(self) -> bool:
        """Whether it hands out addresses to other plugins and makes no interface of its own."""
        return _ipam_of(self.config).get("type") == self.name

    @property
    def delegates_ipam(self) -> bool:
        """Whether its configuration names an IPAM plugin for it to call."""
        return not self.is_ipam and "type" in _ipam_of(self.config)

    @property
    def makes_the_interface(self) -> bool:
        """Whether its ADD makes CNI_IFNAME: it is neither a chained plugin nor an IPAM plugin."""
        return not self.before and not self.is_ipam and self.ifname != "lo"

    @property
    def executables_before(self) -> tuple[Path, ...]:
        """The plugins that come before it in its list."""
        return tuple(_find(str(other["type"]), self.dirs) for other in self.before)

    def version_among(self, supported: tuple[str, ...]) -> CniVersion:
        """Return the version to speak: that of the configuration, or else the newest common one."""
        if "cniVersion" in self.config:
            return CniVersion(self.config["cniVersion"])
        return next((v for v in reversed(SUPPORTED) if v in supported), NEWEST)

    def config_in(self, version: CniVersion, number: int = 1) -> dict[str, Any]:
        """Return the configuration for the `number`-th container, in a version; see `for_nic`."""
        return {**for_nic(self.config, number), "cniVersion": version}


def read_subject(
    plugin: StrPath,
    config: StrPath | None = None,
    path: str | None = None,
    ifname: str | None = None,
    timeout_s: float | None = None,
) -> Subject:
    """Return the plugin with the configuration of a file: an object, or a list with `plugins`.

    The file may also be a NetworkAttachmentDefinition, as JSON or YAML, which holds one of these.

    In a list the plugin is the first whose `type` is the executable's name, or else the first that
    has it as `ipam.type`.  Without a file, a well-known plugin gets what `CONFIGURATIONS` has for
    it, and any other no more than `name` and `type`.  `path` is CNI_PATH.

    Raises:
        CannotJudge: the executable or the file is not as it has to be, or a plugin is missing.
    """
    executable = Path(plugin).absolute()
    if not executable.is_file() or not os.access(executable, os.X_OK):
        raise CannotJudge(f"{executable} is not an executable file; name the plugin's executable")
    dirs = DEFAULT_CNI_PATH if path is None else tuple(map(os.path.abspath, path.split(":")))
    for needed in (executable, Path(tempfile.gettempdir())):
        _refuse_covered(needed.resolve())
    name = executable.name
    raw = CONFIGURATIONS.get(name, {}) if config is None else _read_object(Path(config))
    plugins = raw.get("plugins", [raw])
    if not isinstance(plugins, list) or not all(isinstance(entry, dict) for entry in plugins):
        raise CannotJudge(f"{config}: plugins has to be a list of objects")
    common = {key: raw[key] for key in ("name", "cniVersion") if key in raw}
    least = {"name": "conformance", "type": name}
    configs = [{**least, **plugin, **common} for plugin in plugins]
    place = 0 if "plugins" not in raw else _place_of(name, configs, config)
    subject = Subject(
        executable,
        configs[place],
        dirs=dirs,
        ifname=IFNAMES.get(name, DEFAULT_IFNAME) if ifname is None else ifname,
        timeout_s=DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s,
    )
    version = subject.config.get("cniVersion", NEWEST)
    if version not in SUPPORTED:
        raise CannotJudge(f"{config}: cniVersion is {version!r}, not one of {', '.join(SUPPORTED)}")
    before = () if subject.is_ipam else tuple(configs[:place])
    for other in before:
        _find(str(other["type"]), dirs)
    return evolve(subject, before=before)


def _refuse_covered(path: Path) -> None:
    for folder in _COVERED:
        if path.is_relative_to(folder):
            remedy = "set TMPDIR to another folder" if path.is_dir() else "copy it elsewhere"
            raise CannotJudge(f"{path} is in {folder}, but the node has its own {folder}: {remedy}")


def _find(plugin: str, dirs: tuple[str, ...]) -> Path:
    try:
        return Path(find_plugin(parse_plugin_name(plugin), dirs))
    except AmdcniError as failure:
        raise CannotJudge(f"a plugin before this one: {failure}") from None


def for_nic(value: Any, number: int) -> Any:
    """Return a JSON value with the name and PCI address of the first NIC replaced by another's.

    So the second container gets `eth2` where the configuration says `eth1`.
    """
    match value:
        case dict():
            return {key: for_nic(entry, number) for key, entry in value.items()}
        case list():
            return [for_nic(entry, number) for entry in value]
        case _:
            return {ifname_of(1): ifname_of(number), bdf_of(1): bdf_of(number)}.get(value, value)


def ifname_of(number: int) -> str:
    """Return the name of the node's `number`-th NIC, counted from 1."""
    return f"eth{number}"


def bdf_of(number: int) -> str:
    """Return the PCI address of the node's `number`-th NIC."""
    return f"0000:c{number}:00.0"


def _ipam_of(config: Json) -> Mapping[str, Any]:
    ipam = config.get("ipam")
    return ipam if isinstance(ipam, dict) else {}


def _read_object(path: Path) -> dict[str, Any]:
    """The configuration in a file, or that of the NetworkAttachmentDefinition in it."""
    try:
        if path.suffix in (".yaml", ".yml"):
            manifests = [manifest for _, manifest in read_manifests([str(path)])]
        else:
            manifests = [decode_object(path.read_bytes(), str(path))]
            if "kind" not in manifests[0]:
                return manifests[0]
        kind = "NetworkAttachmentDefinition"
        definitions = [parse_definition(each) for each in manifests if each.get("kind") == kind]
    except OSError as error:
        raise CannotJudge(f"{path} cannot be read: {error.strerror}") from None
    except AmdcniError as failure:
        raise CannotJudge(failure.message) from None
    if len(definitions) != 1:
        raise CannotJudge(f"{path} has {len(definitions)} {kind}s, not one")
    return dict(definitions[0].config)


def _place_of(name: str, configs: list[dict[str, Any]], config: StrPath | None) -> int:
    types = [each["type"] for each in configs]
    if name in types:
        return types.index(name)
    delegates = [_ipam_of(each).get("type") for each in configs]
    if name in delegates:
        return delegates.index(name)
    known = ", ".join(map(repr, types)) or "nothing"
    raise CannotJudge(f"{config} has no plugin of type {name!r}; it has {known}")
