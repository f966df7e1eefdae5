"""What nobody should give a plugin, and what it may get anyway."""

import json
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.testing.strategies.configuration import KNOWN_KEYS, configurations
from amdcni.testing.strategies.environment import environments
from amdcni.testing.strategies.values import hostile_values

PLACES: Final = (
    *("/var/lib/cni/amd-host-device", "/run/amd-host-device", "/var/log/amd-host-device"),
    *("/var/lib/cni/networks", "/run/cni/networks"),
)
"""Where root may write for a configuration."""

VARIABLES: Final = (
    *("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS"),
    *("CNI_IFNAME", "CNI_ARGS", "CNI_PATH"),
)
"""The variables of a call (CNI SPEC 1.1 §2, "Parameters")."""

# An environment has no NUL, and what is not UTF-8 in it comes as lone surrogates (PEP 383).
_any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_undecodable = st.binary(min_size=1, max_size=8).map(
    lambda octets: octets.replace(b"\0", b"\xff").decode("utf-8", "surrogateescape")
)

hostile_variables: SearchStrategy[str] = st.one_of(
    st.sampled_from(
        [
            *("", " ", "\n", ".", "..", "/", "a/b", "a:b", "a b", "pod\n", "-pod", "é" * 8),
            *(
                "x" * 16,
                "x" * 300,
                "ADD\n",
                "add",
                "FROBNICATE",
                "VERSION ",
                "net1;",
                ";",
                "=",
                "a=",
            ),
            *("K=1;K=2", "IgnoreUnknown", "IgnoreUnknown=maybe", "IP=10.0.0.1", ":", "::", "bin"),
            *("/proc/self/ns/net", "/proc/1/ns/net", "/dev/null", "/proc/self/fd/0", "\u202e"),
        ]
    ),
    _any_text,
    _undecodable,
)
"""Values of variables that nobody would intend; an environment can hold each of them."""


@st.composite
def _hostile_environments(draw: DrawFn) -> dict[str, str]:
    environ = dict(draw(environments))
    for name in draw(st.lists(st.sampled_from(VARIABLES), min_size=1, unique=True)):
        if draw(st.booleans()):
            environ[name] = draw(hostile_variables)
        else:
            environ.pop(name, None)
    return environ


hostile_environments: SearchStrategy[Mapping[str, str]] = _hostile_environments()
"""Environments of a call with some variables wrong or missing; some are right by chance."""


def _spoiled(config: dict[str, Any], key: str, value: Any) -> bytes:
    return json.dumps({**config, key: value}).encode()


def _misled(config: dict[str, Any], key: str, path: str) -> bytes:
    """A configuration that would make root write somewhere, or let an IPAM plugin do so."""
    ipam = {"type": "host-local", key: path}
    return json.dumps({**config, **({"ipam": ipam} if key in _IPAM_KEYS else {key: path})}).encode()


_IPAM_KEYS: Final = ("DataDir", "log_file", "daemonSocketPath")
_misleading_paths = st.sampled_from(
    [
        *("/etc", "/etc/cron.d/x", "/var/lib/cni", "/proc/self/root/etc", "/dev/null", "//run/x"),
        *(f"{base}{way}" for base in PLACES for way in ("/../x", "//x", "/./x", "/locks", "/.x")),
        *(f"{base}/a.b.1.json" for base in PLACES),
        *(f"{base}{'/a' * 2000}" for base in PLACES),
    ]
)


def _cut(config: dict[str, Any], at: int) -> bytes:
    text = json.dumps(config).encode()
    return text[: at % len(text)]


def _twice(config: dict[str, Any]) -> bytes:
    """An object that has every key twice, which JSON allows and nobody expects."""
    members = json.dumps(config)[1:-1]
    return f"{{{members}, {members}}}".encode() if members else b"{}"


hostile_inputs: SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(str.encode),
    st.sampled_from(
        [
            *(b"", b"null", b"[]", b'"', b"{", b"{}{}", b"\xef\xbb\xbf{}", b"NaN", b"1e999"),
            *(b"[" * 5000, b'{"a":' * 5000, b'{"name": "\\ud800"}', b"9" * 5000, b"{}\0"),
        ]
    ),
    st.builds(_spoiled, configurations, st.sampled_from(sorted(KNOWN_KEYS)), hostile_values),
    st.builds(
        _misled,
        configurations,
        st.sampled_from(["dataDir", "logFile", *_IPAM_KEYS]),
        _misleading_paths,
    ),
    st.builds(_cut, configurations, st.integers(0, 10_000)),
    configurations.map(_twice),
)
"""What may come on standard input instead of a configuration; some of it is one by chance."""
