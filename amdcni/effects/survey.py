"""Facts about how a node is set up; reading them needs no lock and changes nothing."""

import os
from collections.abc import Iterable, Mapping
from typing import Final

from amdcni.core.codec import MAX_INPUT_BYTES, decode_object
from amdcni.core.diagnosis import Folder, Plugin
from amdcni.core.errors import AmdcniError, PluginNotFound, UndecodableInput
from amdcni.core.kubernetes.installation import EXTENSIONS, ConfDir, ConfFile
from amdcni.core.names import PluginName
from amdcni.effects.plugins import Plugins

_TIME_LIMIT_S: Final = 10.0


def read_conf_dir(path: str) -> ConfDir:
    """The CNI configurations in a folder, as a runtime finds them."""
    try:
        names = sorted(name for name in os.listdir(path) if name.endswith(EXTENSIONS))
    except OSError as error:
        return ConfDir(path, fault=f"{path}: {error.strerror}", denied=_is_denial(error))
    return ConfDir(path, tuple(_read_conf_file(path, name) for name in names))


def _read_conf_file(folder: str, name: str) -> ConfFile:
    try:
        with open(f"{folder}/{name}", "rb") as file:
            data = file.read(MAX_INPUT_BYTES + 1)
        return ConfFile(name, decode_object(data, "it"))
    except OSError as error:
        return ConfFile(name, fault=error.strerror, denied=_is_denial(error))
    except UndecodableInput as fault:
        return ConfFile(name, fault=fault.message)


def read_folder(path: str) -> Folder:
    """What can be seen of a folder without writing to it."""
    path = nearest = os.path.abspath(path)
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)
    is_folder = os.path.isdir(nearest)
    writable = os.access(nearest, os.R_OK | os.W_OK | os.X_OK)
    try:
        space = os.statvfs(nearest)
    except OSError:
        return Folder(path, nearest, is_folder, writable)
    return Folder(
        path,
        nearest,
        is_folder,
        writable,
        free_bytes=space.f_bavail * space.f_frsize,
        free_files=space.f_favail if space.f_files else None,
    )


def ask_plugin(name: PluginName, dirs: tuple[str, ...], environ: Mapping[str, str]) -> Plugin:
    """What is found of a plugin in `dirs`, and what it answers to VERSION."""
    plugins = Plugins(dirs, environ)
    try:
        path = plugins.find(name)
    except PluginNotFound:
        return Plugin(name, dirs, hidden=tuple(_hidden(dirs)))
    try:
        return Plugin(name, dirs, path, plugins.versions_of(name, _TIME_LIMIT_S))
    except AmdcniError as failure:
        return Plugin(name, dirs, path, fault=failure.message)


def _hidden(dirs: Iterable[str]) -> list[str]:
    return [path for path in dirs if _exists(path) and not os.access(path, os.X_OK)]


def _exists(path: str) -> bool:
    """Whether it is there, or may be as far as this user can see."""
    try:
        os.stat(path)
    except OSError as error:
        return _is_denial(error)
    return True


def _is_denial(error: OSError) -> bool:
    return isinstance(error, PermissionError)
