"""The one cattrs converter: JSON values to typed ones and back, every fault with its path.

The modules of this package say with `spell` how JSON spells the attributes of their types.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs
from cattrs.converters import BaseConverter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)

from amdcni.core.codec.text import shown
from amdcni.core.errors import AmdcniError, UnsupportedVersion
from amdcni.core.host import IpAddress, IpInterface, IpNetwork, Values
from amdcni.core.names import (
    AuxiliaryDevice,
    BusDevice,
    ContainerId,
    DeviceKey,
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
from amdcni.core.spec import AttachmentId, Json
from amdcni.core.versions import CniVersion, parse_version

T = TypeVar("T")


def _exactly(kind: type, name: str) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"is {shown(value)}, not {name}")
        return value

    return structure


def _values(value: Any, _: Any) -> Any:
    for name, inner in _exactly(dict, "an object")(value, dict).items():
        if type(inner) not in (int, str):
            raise TypeError(f"{name!r} is {shown(inner)}, not a number or a string")
    return value


def _from_text(parse: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError(f"is {shown(value)}, not a string")
        return parse(value)

    return structure


_GRAMMARS: Final[dict[Any, Callable[[str], Any]]] = {
    ContainerId: parse_container_id,
    NetworkName: parse_network_name,
    IfName: parse_ifname,
    NetdevName: parse_netdev_name,
    MacAddress: parse_mac,
    PluginName: parse_plugin_name,
    IpamName: parse_ipam_name,
    FilePath: parse_file_path,
    CniVersion: parse_version,
    BusDevice: parse_bus_device,
    DeviceKey: DeviceKey.parse,
    IpInterface: ipaddress.ip_interface,
    IpAddress: ipaddress.ip_address,
    IpNetwork: ipaddress.ip_network,
    ipaddress.IPv4Address: ipaddress.IPv4Address,
}
"""Types whose JSON form is a string, each with its parser."""

_MOST_FAULTS: Final = 20
"""How many faulty members of one list are reported; nobody reads about more."""

_WRITTEN_BY_STR: Final = (
    PciAddress,
    AuxiliaryDevice,
    DeviceKey,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)


_SPELLINGS: Final[dict[type, Mapping[str, str | None]]] = {}
"""How JSON spells an attribute, where that differs from its name; filled by `spell` at import."""


def spell(cls: type, **keys: str | None) -> None:
    """Say how JSON spells attributes of `cls`; the others keep their names.

    An attribute whose key is None is not in JSON at all.
    """
    _SPELLINGS[cls] = keys


def _members_of(cls: type) -> "list[tuple[str, attrs.Attribute[Any]]]":
    """The JSON keys of `cls` with the attributes that they stand for."""
    spellings = _SPELLINGS.get(cls, {})
    keys = ((spellings.get(field.name, field.name), field) for field in attrs.fields(cls))
    return [(key, field) for key, field in keys if key is not None]


def keys_of(cls: type) -> list[str]:
    """The JSON keys of `cls`."""
    return [key for key, _ in _members_of(cls)]


def given_keys(raw: Json, cls: type) -> dict[str, Any]:
    """The keys of `cls` in `raw` that say something: null and "" mean absent to runtimes."""
    return {key: raw[key] for key in keys_of(cls) if raw.get(key) not in (None, "")}


def _make_converter() -> BaseConverter:
    converter = BaseConverter()
    converter.register_structure_hook(str, _exactly(str, "a string"))
    converter.register_structure_hook(int, _exactly(int, "a whole number"))
    converter.register_structure_hook(bool, _exactly(bool, "true or false"))
    # Of several hooks for a type, the last one counts.
    converter.register_structure_hook_func(_is_mapping, _mapping_of(converter))
    converter.register_structure_hook_func(_is(Json), _exactly(dict, "an object"))
    converter.register_structure_hook_func(_is(Values), _values)
    for mapping in (Json, Values):
        converter.register_unstructure_hook_func(_is(mapping), lambda value: value)
    converter.register_structure_hook_factory(attrs.has, _reader_by(converter))
    converter.register_unstructure_hook_factory(attrs.has, _writer_by(converter))
    for kind, parse in _GRAMMARS.items():
        converter.register_structure_hook_func(_is(kind), _from_text(parse))
        converter.register_structure_hook_func(_is(kind | None), _optional(_from_text(parse)))
    for kind in _WRITTEN_BY_STR:
        converter.register_unstructure_hook(kind, str)
    converter.register_structure_hook_func(_is_tuple, _tuple_of(converter))
    # Of a union, cattrs writes what the value is, which is a tuple without the kind of its members.
    converter.register_unstructure_hook_func(
        lambda kind: kind is tuple or _is_tuple(kind),
        lambda value: [converter.unstructure(each) for each in value],
    )
    return converter


def _reader_by(converter: BaseConverter) -> Callable[[Any], Callable[[Any, Any], Any]]:
    """What gives the hook that reads a class.

    cattrs would generate and compile a function for each class; a call reads few values of many
    classes, and compiling would cost it more than all else about them.
    """
    object_first = _exactly(dict, "an object")

    def reader_of(cls: Any) -> Callable[[Any, Any], Any]:
        members = [
            (key, field, converter.get_structure_hook(field.type))
            for key, field in _members_of(cls)
        ]

        def read(value: Any, kind: Any) -> Any:
            given: dict[str, Any] = {}
            faults: list[Exception] = []
            object_first(value, kind)
            for key, field, read_member in members:
                try:
                    if key in value:
                        given[str(field.alias)] = read_member(value[key], field.type)
                    elif field.default is attrs.NOTHING:
                        raise KeyError(key)
                except Exception as fault:
                    fault.add_note(AttributeValidationNote(key, field.name, field.type))
                    faults.append(fault)
            if faults:
                raise ClassValidationError("wrong members", faults, cls)
            return cls(**given)

        return read

    return reader_of


def _writer_by(converter: BaseConverter) -> Callable[[Any], Callable[[Any], Any]]:
    """What gives the hook that writes a class without the members that have their default."""

    def writer_of(cls: Any) -> Callable[[Any], Any]:
        members = [
            (key, field.name, _default_of(field), converter.get_unstructure_hook(field.type))
            for key, field in _members_of(cls)
        ]

        def write(value: Any) -> dict[str, Any]:
            written = {}
            for key, name, default, write_member in members:
                member = getattr(value, name)
                if member != default:
                    written[key] = write_member(member)
            return written

        return write

    return writer_of


def _default_of(field: "attrs.Attribute[Any]") -> Any:
    """The default of an attribute, all of whose factories make equal values."""
    made_by = getattr(field.default, "factory", None)
    return field.default if made_by is None else made_by()


def _one_of(choice: type[StrEnum]) -> Callable[[str], StrEnum]:
    def parse(text: str) -> StrEnum:
        if text not in list(choice):
            raise ValueError(f"{text!r} is none of {', '.join(choice)}")
        return choice(text)

    return parse


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _tuple_of(converter: BaseConverter) -> Callable[[Any, Any], Any]:
    """Only a list becomes a tuple: cattrs would take the characters of a string one by one.

    It stops when there are too many faults: each takes a hundred times the memory of what is wrong.
    """
    list_first = _exactly(list, "a list")

    def read(value: Any, kind: Any) -> Any:
        members = enumerate(list_first(value, kind))
        return tuple(each for _, each in _read_all(members, get_args(kind)[0], kind, converter))

    return read


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (Mapping, dict)


def _mapping_of(converter: BaseConverter) -> Callable[[Any, Any], Any]:
    """Only an object becomes a mapping, whose keys are strings."""
    object_first = _exactly(dict, "an object")

    def read(value: Any, kind: Any) -> Any:
        members = object_first(value, kind).items()
        return dict(_read_all(members, get_args(kind)[1], kind, converter))

    return read


def _read_all(
    members: Iterable[tuple[Any, Any]], inner: Any, kind: Any, converter: BaseConverter
) -> list[tuple[Any, Any]]:
    """Each member read as an `inner`, with its place; a fault has a note of that."""
    read_member, found = converter.get_structure_hook(inner), []
    faults: list[Exception] = []
    for place, member in members:
        try:
            if len(faults) == _MOST_FAULTS:
                raise ValueError("is not checked, nor is what follows")
            found.append((place, read_member(member, inner)))
        except Exception as fault:
            fault.add_note(IterableValidationNote(f"at {place}", place, inner))
            faults.append(fault)
        if len(faults) > _MOST_FAULTS:
            break
    if faults:
        raise IterableValidationError("wrong members", faults, kind)
    return found


def _optional(structure: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """To cattrs, `A | B | None` is one union of three, in which it finds no `A | B`."""
    return lambda value, kind: None if value is None else structure(value, kind)


def _is(kind: Any) -> Callable[[Any], bool]:
    return lambda candidate: candidate is kind or candidate == kind


_CONVERTER: Final = _make_converter()


def choose(*choices: type[StrEnum]) -> None:
    """Say that JSON has one of the values of each of `choices` as a string."""
    for choice in choices:
        _CONVERTER.register_structure_hook(choice, _from_text(_one_of(choice)))


def structure(raw: object, cls: type[T], failure: type[AmdcniError], what: str, at: str = "$") -> T:
    """`raw` as a `cls`; raises a `failure` that lists every fault with its JSON path.

    `what` names the input in the message, and `at` is the path of `raw` in it.
    """
    try:
        return _CONVERTER.structure(raw, cls)
    except BaseValidationError as group:
        raise failure(wrong(what, _faults(group, at))) from None
    except TypeError as fault:  # It is not an object at all.
        raise failure(wrong(what, [f"{at} {fault}"])) from None


def faults_of(raw: object, cls: type) -> list[str]:
    """Every fault that keeps `raw` from being a `cls`, each with its JSON path."""
    try:
        _CONVERTER.structure(raw, cls)
    except BaseValidationError as group:
        return list(_faults(group, "$"))
    return []


def wrong(what: str, faults: Iterable[str]) -> str:
    """The message that lists the faults of `what`."""
    return f"{what} is wrong: " + "; ".join(sorted(faults))


def unstructure(value: object) -> dict[str, Any]:
    """`value` as a JSON object, without the members that have their default."""
    plain: dict[str, Any] = _CONVERTER.unstructure(value)
    return plain


def _faults(group: BaseValidationError, path: str) -> Iterable[str]:
    spellings = _SPELLINGS.get(group.cl, {})
    for fault in group.exceptions:
        note: Any = fault.__notes__[-1]
        if isinstance(note, AttributeValidationNote):
            at = f"{path}.{spellings.get(note.name, note.name)}"
        else:
            at = f"{path}[{note.index}]"
        if isinstance(fault, BaseValidationError):
            yield from _faults(fault, at)
        elif isinstance(fault, UnsupportedVersion):
            raise UnsupportedVersion(fault.message) from None
        elif isinstance(fault, KeyError):
            yield f"{at} is missing"
        else:
            text = str(fault)
            yield f"{at} {text}" if text.startswith("is ") else f"{at}: {text}"


spell(AttachmentId, container_id="containerID")
