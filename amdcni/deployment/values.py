"""The values of settings: each with a grammar of its own, as Kubernetes has it."""

import re
from decimal import Decimal
from typing import Final, Self

import attrs

from amdcni.core.errors import InvalidName

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN: Final = rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*"
_WORD: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY: Final = rf"(?:{_SUBDOMAIN.replace('$', '/')}/)?{_WORD}"

# distribution/reference: an optional registry, the path, and a tag, a digest or both.
_REGISTRY: Final = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/"
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE: Final = (
    rf"(?:{_REGISTRY})?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def _fitting(text: str, grammar: str, what: str, example: str) -> str:
    if re.fullmatch(grammar, text) is None:
        raise InvalidName(f"{text!r} is not {what}, such as {example}")
    return text


def parse_image(text: str) -> str:
    """The name of an image, as in a pod.

    Raises: InvalidName.
    """
    return _fitting(text, _IMAGE, "the name of an image", "amdcni:1.0")


def parse_label_name(text: str) -> str:
    """A DNS label, as the name of a namespace.

    Raises: InvalidName.
    """
    return _fitting(text, _LABEL, "a name in lower case without dots", "amdcni")


def parse_object_name(text: str) -> str:
    """A DNS subdomain, as the names of nodes and of most other objects.

    Raises: InvalidName.
    """
    return _fitting(text, _SUBDOMAIN, "the name of an object", "node-1.example")


def parse_resource_name(text: str) -> str:
    """An extended resource, which always has a domain.

    Raises: InvalidName.
    """
    grammar = rf"{_SUBDOMAIN.replace('$', '/')}/{_WORD}"
    return _fitting(text, grammar, "the name of a device plugin's resource", "amd.com/nic")


def parse_folder(text: str) -> str:
    """An absolute path without anything to resolve: it is the same in every mount namespace.

    Raises: InvalidName.
    """
    parts = r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.+-]+)+"
    return _fitting(text, parts, "an absolute path of plain names", "/opt/cni/bin")


def parse_yes(text: str) -> bool:
    """`true` or `false`.

    Raises: InvalidName.
    """
    return _fitting(text, "true|false", "true or false", "true") == "true"


def parse_share(text: str) -> int | str:
    """How many of the nodes: a number, or a percentage of them.

    Raises: InvalidName.
    """
    what = "a number of nodes or a percentage of them"
    _fitting(text, "[1-9][0-9]{0,5}|(?:[1-9][0-9]?|100)%", what, "1 or 10%")
    return text if text.endswith("%") else int(text)


def parse_pull_policy(text: str) -> str:
    """When the kubelet pulls the image.

    Raises: InvalidName.
    """
    return _fitting(text, "Always|IfNotPresent|Never", "a pull policy", "IfNotPresent or Never")


@attrs.frozen(order=True)
class Amount:
    """So much of a CPU or of memory, as written; two of one kind can be compared."""

    amount: int
    """In thousandths of a CPU, or in bytes."""

    text: str = attrs.field(order=False)

    @classmethod
    def parse_cpu(cls, text: str) -> Self:
        """CPUs, such as `0.5`, or thousandths of one, such as `500m`.

        Raises: InvalidName.
        """
        grammar = r"[1-9][0-9]{0,6}m|[0-9]{1,4}(?:\.[0-9]{1,3})?"
        _fitting(text, grammar, "an amount of CPU", "50m")
        number = Decimal(text.removesuffix("m"))
        return cls(int(number if text.endswith("m") else number * 1000), text)

    @classmethod
    def parse_memory(cls, text: str) -> Self:
        """Bytes, or with a unit, such as `256Mi`.

        Raises: InvalidName.
        """
        _fitting(text, r"[1-9][0-9]{0,15}(?:[kMGT]|[KMGT]i)?", "an amount of memory", "256Mi")
        unit = text.lstrip("0123456789")
        step = 1024 if unit.endswith("i") else 1000
        power = " kmgt".index(unit[0].lower()) if unit else 0
        return cls(int(text.removesuffix(unit)) * step**power, text)


@attrs.frozen
class Toleration:
    """Which taints of nodes are tolerated: without a key, all."""

    key: str | None = None
    value: str | None = None
    effect: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `key`, `key=value`, `key:Effect` or `key=value:Effect`, as `kubectl taint` does.

        Raises: InvalidName.
        """
        effects = "NoSchedule|PreferNoSchedule|NoExecute"
        grammar = rf"(?P<key>{_KEY})(?:=(?P<value>(?:{_WORD})?))?(?::(?P<effect>{effects}))?"
        _fitting(text, grammar, "a taint to tolerate", "dedicated=nics:NoSchedule, or all")
        match = re.fullmatch(grammar, text)
        assert match is not None
        return cls(match["key"], match["value"], match["effect"])


ALL: Final = "all"
"""What is written for tolerating every taint."""


def parse_tolerations(text: str) -> tuple[Toleration, ...]:
    """Tolerations separated by commas; `all` tolerates everything, `none` nothing.

    Raises: InvalidName.
    """
    if text in (ALL, "none"):
        return (Toleration(),) if text == ALL else ()
    return tuple(map(Toleration.parse, text.split(",")))


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Labels as `key=value`, separated by commas; nothing for none.

    Raises: InvalidName.
    """
    grammar = rf"{_KEY}=(?:{_WORD})?"
    given = text.split(",") if text else []
    pairs = [_fitting(pair, grammar, "a label", "example.com/nics=yes") for pair in given]
    labels = dict(pair.split("=", 1) for pair in pairs)
    if len(labels) != len(pairs):
        raise InvalidName(f"{text!r} has a label twice")
    return tuple(labels.items())


def parse_nodes(text: str) -> tuple[str, ...]:
    """Names of nodes, separated by commas or spaces; each once.

    Raises: InvalidName if one is wrong or there is none.
    """
    names = tuple(dict.fromkeys(filter(None, re.split("[, ]+", text.strip(", ")))))
    if not names:
        raise InvalidName("no node is named; give their names, separated by commas")
    return tuple(map(parse_object_name, names))
