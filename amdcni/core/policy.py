"""The node's policy: what its administrator lets the authors of definitions lend, and write where.

The first rule that fits a NIC decides; `otherwise` decides if none fits.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

import attrs

from amdcni.core.errors import PolicyDenies
from amdcni.core.host import Netdev, SysfsDevice
from amdcni.core.names import FilePath, PluginName
from amdcni.core.request import DeviceSelector

POLICY_PATH: Final = FilePath("/etc/amdcni/policy.json")


class Verdict(StrEnum):
    """What becomes of a NIC that a rule fits."""

    ALLOW = "allow"
    DENY = "deny"


class Naming(StrEnum):
    """How a definition may name the device: by any key, or only if the pod was allocated it."""

    ANY = "any"
    ALLOCATED = "allocated"


Patterns = tuple[str, ...]
"""Patterns as of a shell, with `*`, `?` and `[...]`; one of them has to fit."""


@attrs.frozen
class Conditions:
    """What a NIC has to be for a rule to fit: all that is given, at least one thing.

    `address` is the PCI address or the name of the auxiliary device, `vendor` and `device` are IDs
    such as `0x1dd8`, and `ifname` is the name on the host.  Capital letters in `address`, `vendor`
    and `device` mean the small ones, which is what the kernel writes.
    """

    address: Patterns = ()
    driver: Patterns = ()
    vendor: Patterns = ()
    device: Patterns = ()
    ifname: Patterns = ()

    def __str__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in attrs.fields(Conditions))
        return ", ".join(f"{name} {' or '.join(texts)}" for name, texts in given if texts)


@attrs.frozen
class Rule:
    """A rule: what it does to NICs that fit, and perhaps what it is for, in the words of root."""

    verdict: Verdict
    conditions: Conditions
    why: str | None = None


@attrs.frozen
class Lending:
    """Which NICs may be lent; the first rule that fits decides."""

    rules: tuple[Rule, ...]
    otherwise: Verdict


@attrs.frozen
class Policy:
    """What the administrator has said; the default is that of a node without a policy.

    `folders` are further ones below which records and log files may be written.  None means every
    NIC for `lending`, and every IPAM plugin for `ipam`.  With a `fault` the policy cannot be used,
    and nothing may be lent.
    """

    folders: tuple[FilePath, ...] = ()
    naming: Naming = Naming.ANY
    lending: Lending | None = None
    ipam: tuple[PluginName, ...] | None = None
    fault: str | None = None


@attrs.frozen
class Traits:
    """What rules look at; None for what a netdev on no bus does not have."""

    address: str | None = None
    driver: str | None = None
    vendor: str | None = None
    device: str | None = None
    ifname: str | None = None
    altnames: tuple[str, ...] = ()


def traits_of(netdev: Netdev | None, device: SysfsDevice | None) -> Traits:
    """What rules look at of a netdev and its bus device."""
    return Traits(
        address=None if device is None else str(device.bus_device),
        driver=None if device is None else device.driver,
        vendor=None if device is None else device.hardware.vendor,
        device=None if device is None else device.hardware.product,
        ifname=None if netdev is None else netdev.ifname,
        altnames=() if netdev is None else netdev.altnames,
    )


@attrs.frozen
class Denial:
    """Why the policy lends a NIC to nobody, in words; `short` is for a table of NICs."""

    says: str
    short: str

    def __str__(self) -> str:
        return self.says


def denial_of(policy: Policy, chain: Sequence[Traits]) -> Denial | None:
    """Why the policy lends the first of `chain` to nobody; None if it may be lent.

    The others in `chain` are what the first rests on, such as the NIC of a VLAN: a rule that denies
    one of these denies what rests on it, and a rule that allows one of these says nothing.
    """
    if policy.fault is not None:
        return Denial(unusable(policy.fault), "denied: the policy cannot be used")
    if policy.lending is None:
        return None
    own, *below = chain
    denial = _judged(policy.lending, own)
    for each in below:
        denial = denial or _denied_below(policy.lending, each)
    return denial


def unusable(fault: str) -> str:
    """The sentence on a policy that cannot be used."""
    return f"{POLICY_PATH} cannot be used, so nothing is lent: {fault}"


def _judged(lending: Lending, traits: Traits) -> Denial | None:
    for number, rule in enumerate(lending.rules, start=1):
        if fits(rule, traits):
            denied = rule.verdict is Verdict.DENY
            return Denial(_words(number, rule), f"denied by rule {number}") if denied else None
    if lending.otherwise is Verdict.DENY:
        return Denial(f"no rule of {POLICY_PATH} allows it", "denied: no rule allows it")
    return None


def _denied_below(lending: Lending, traits: Traits) -> Denial | None:
    """Why a rule denies what another netdev rests on; that no rule fits it says nothing."""
    for number, rule in enumerate(lending.rules, start=1):
        if fits(rule, traits):
            if rule.verdict is Verdict.ALLOW:
                return None
            why = f"it rests on {traits.ifname or traits.address}"
            return Denial(f"{why}, and {_words(number, rule)}", f"denied by rule {number}: {why}")
    return None


def _words(number: int, rule: Rule) -> str:
    why = "" if rule.why is None else f" ({rule.why})"
    return f"rule {number} of {POLICY_PATH} denies {rule.conditions}{why}"


def fits(rule: Rule, traits: Traits) -> bool:
    """Whether the rule is about a NIC.

    A rule that denies a name looks at the alternative names too; one that allows does not, since
    anybody who had the NIC may have added some.
    """
    deny = rule.verdict is Verdict.DENY
    wanted = rule.conditions
    names = (traits.ifname, *traits.altnames) if deny else (traits.ifname,)
    return all(
        not patterns or any(_matches(text, patterns) for text in texts)
        for patterns, texts in (
            (_lower(wanted.address), (traits.address and traits.address.lower(),)),
            (wanted.driver, (traits.driver,)),
            (_lower(wanted.vendor), (traits.vendor,)),
            (_lower(wanted.device), (traits.device,)),
            (wanted.ifname, names),
        )
    )


def _lower(patterns: Patterns) -> Patterns:
    return tuple(pattern.lower() for pattern in patterns)


def _matches(text: str | None, patterns: Patterns) -> bool:
    return text is not None and any(fnmatchcase(text, pattern) for pattern in patterns)


# ---- what a definition names -------------------------------------------------------------------


def require_naming(
    policy: Policy, selector: DeviceSelector, allocated: Iterable[str] | None, uid: str | None
) -> None:
    """Raise PolicyDenies unless the policy lets a definition name the device like this.

    `allocated` are the devices that the kubelet has allocated to the pod whose UID is `uid`; None
    if its checkpoint cannot be read.
    """
    if policy.naming is Naming.ANY:
        return
    require_keys(policy, selector)
    if uid is None:
        raise PolicyDenies(
            f"the runtime did not say which pod this is (K8S_POD_UID): {_NAMING_RULE}"
        )
    if allocated is None:
        raise PolicyDenies(f"the kubelet's checkpoint cannot be read: {_NAMING_RULE}")
    require_allocated(policy, selector, allocated, uid)


def require_keys(policy: Policy, selector: DeviceSelector) -> None:
    """Raise PolicyDenies if the policy lets no definition name a device by such keys."""
    named = selector.netdev_keys
    if named and policy.naming is Naming.ALLOCATED:
        keys = " and ".join(named)
        raise PolicyDenies(f"a definition may not name a device by {keys}: {_NAMING_RULE}")


def require_allocated(
    policy: Policy, selector: DeviceSelector, allocated: Iterable[str], uid: str
) -> None:
    """Raise PolicyDenies if the policy wants the device to be one of `allocated`, and it is not."""
    if policy.naming is Naming.ALLOCATED and str(selector.bus_device) not in allocated:
        what = selector.bus_device
        raise PolicyDenies(f"{what} is not allocated to the pod with the UID {uid}: {_NAMING_RULE}")


_NAMING_RULE: Final = f'{POLICY_PATH} says "naming": "allocated"'


def allows_ipam(policy: Policy, ipam: PluginName | None) -> bool:
    """Whether the policy lets a definition name this IPAM plugin, or none."""
    if policy.ipam is None:
        return ipam not in _NO_IPAM_PLUGINS
    return ipam is None or ipam in policy.ipam


_NO_IPAM_PLUGINS: Final = frozenset(
    {
        *("bandwidth", "bridge", "dummy", "firewall", "ipvlan", "loopback", "macvlan", "portmap"),
        *("ptp", "sbr", "tap", "tuning", "vlan", "vrf", "win-bridge", "win-overlay"),
        *("calico", "cilium-cni", "flannel", "ib-sriov", "multus", "multus-shim", "ovs", "rdma"),
        *("ovn-k8s-cni-overlay", "sriov", "weave-net", "kube-router", "danm", "genie"),
    }
)
"""Plugins that attach or change something, and read the whole configuration of the definition.

They are refused in place of an IPAM plugin unless the policy lists them.
"""


def require_ipam(policy: Policy, ipam: PluginName | None) -> None:
    """Raise PolicyDenies unless the policy lets a definition name this IPAM plugin."""
    if not allows_ipam(policy, ipam):
        if policy.ipam is None:
            raise PolicyDenies(
                f"{ipam} is no IPAM plugin; if it is on this node, "
                f'list it in "ipam" in {POLICY_PATH}'
            )
        allowed = ", ".join(policy.ipam) or "none"
        raise PolicyDenies(
            f'the IPAM plugin {ipam} may not be used: "ipam" in {POLICY_PATH} allows {allowed}'
        )
