"""What distributions of Kubernetes have in common, and where they differ."""

from enum import StrEnum
from typing import Final, assert_never

import attrs


class Platform(StrEnum):
    """The distribution of Kubernetes, as far as it matters here."""

    PLAIN = "plain"
    RKE2 = "rke2"
    GKE = "gke"
    OPENSHIFT = "openshift"
    TALOS = "talos"


@attrs.frozen
class Traits:
    """How a platform differs from a plain one."""

    bin_dir: str = "/opt/cni/bin"
    """Where its Multus looks for plugins, on the host."""

    selinux: bool = False
    """Whether its nodes usually enforce SELinux: then only some labels may write to the binDir."""

    needs_quota: bool = False
    """Whether a namespace needs a quota of its own for pods of a critical priority."""

    needs_constraints: bool = False
    """Whether it admits privileged pods only by a SecurityContextConstraints of their account."""


_PLAIN: Final = Traits()


def traits_of(platform: Platform) -> Traits:
    """How a platform differs from a plain one."""
    match platform:
        case Platform.PLAIN | Platform.TALOS:
            return _PLAIN
        case Platform.RKE2:
            return Traits(selinux=True)
        case Platform.GKE:
            # Container-Optimized OS mounts everything else that is writable without "exec".
            return Traits(bin_dir="/home/kubernetes/bin", needs_quota=True)
        case Platform.OPENSHIFT:
            # On RHCOS /opt/cni is a symbolic link that leads nowhere.
            return Traits(bin_dir="/var/lib/cni/bin", selinux=True, needs_constraints=True)
        case _:
            assert_never(platform)
