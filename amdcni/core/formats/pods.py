"""The keys of a configuration that say what a netdev has in the pod; for the mover `native`."""

from typing import Any, Final

import attrs

from amdcni.core.codec.converter import (
    choose,
    faults_of,
    given_keys,
    keys_of,
    spell,
    structure,
    wrong,
)
from amdcni.core.codec.networks import CONFIGURATION
from amdcni.core.errors import InvalidConfiguration
from amdcni.core.names import MacAddress
from amdcni.core.request import AddrGenMode
from amdcni.core.spec import Dns, Json

_LARGEST_MTU: Final = 2**31 - 1


@attrs.frozen
class _RuntimeConfig:
    mac: MacAddress | None = None


@attrs.frozen
class PodKeys:
    """What a configuration asks for; an `mtu` of 0 asks for nothing, as for other plugins."""

    mtu: int | None = None
    mac: MacAddress | None = None
    runtime_config: _RuntimeConfig | None = None
    dns: Dns | None = None
    addr_gen_mode: AddrGenMode = AddrGenMode.KEEP
    copy_sysctls: bool = False

    @property
    def wanted_mac(self) -> MacAddress | None:
        """A pod's own choice takes precedence over the network's."""
        wished = None if self.runtime_config is None else self.runtime_config.mac
        return wished or self.mac


choose(AddrGenMode)
spell(
    PodKeys,
    runtime_config="runtimeConfig",
    addr_gen_mode="addrGenMode",
    copy_sysctls="copySysctls",
)

_OURS: Final = ("addrGenMode", "copySysctls")
"""Keys that mean something to no other plugin, so that one in vain is a mistake."""

POD_RUNTIME_KEYS: Final = tuple(keys_of(_RuntimeConfig))
"""The keys of these within `runtimeConfig`."""


def pod_keys_of(raw: Json) -> PodKeys:
    """What `raw` asks for; raises InvalidConfiguration with every fault."""
    faults = pod_faults(raw)
    if faults:
        raise InvalidConfiguration(wrong(CONFIGURATION, faults))
    return structure(_given(raw), PodKeys, InvalidConfiguration, CONFIGURATION)


def dns_of(raw: Json) -> Dns | None:
    """The configuration's own resolver settings; raises InvalidConfiguration."""
    return pod_keys_of(raw).dns


def pod_faults(raw: Json) -> list[str]:
    """Every fault of these keys, each with its JSON path."""
    mtu = raw.get("mtu")
    outside = type(mtu) is int and not 0 <= mtu <= _LARGEST_MTU
    faults = [f"$.mtu is {mtu}, which no netdev can have"] if outside else []
    return [*faults_of(_given(raw), PodKeys), *faults]


def in_vain(raw: Json) -> list[str]:
    """The keys of `raw` that only the mover `native` can obey, as faults."""
    given = given_keys(raw, PodKeys)
    return [
        f"$.{key} needs the mover native: host-device has the netdev up before it could be set"
        for key in _OURS
        if key in given
    ]


def _given(raw: Json) -> dict[str, Any]:
    given = given_keys(raw, PodKeys)
    if isinstance(given.get("runtimeConfig"), dict):
        given["runtimeConfig"] = given_keys(given["runtimeConfig"], _RuntimeConfig)
    return given
