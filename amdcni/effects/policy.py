"""Reads the node's policy, which only root can have written."""

import os
from typing import Final

from amdcni.core.codec.text import MAX_INPUT_BYTES
from amdcni.core.errors import AmdcniError
from amdcni.core.names import FilePath
from amdcni.core.places import Place
from amdcni.core.policy import POLICY_PATH, Policy
from amdcni.effects import trust

_MOST_CHECKPOINT_BYTES: Final = 64 * 1024 * 1024


def read_policy(path: str = POLICY_PATH) -> Policy:
    """The policy at `path`; without a file there is none, and what cannot be used is a `fault`."""
    try:
        if not _is_there(path):
            return Policy()
        fault = trust.fault_of_folder(Place("/", FilePath(os.path.dirname(path))))
        if fault is not None:
            return Policy(fault=fault)
        # Most nodes have no policy, and a call should not load what reads one in vain.
        from amdcni.core.formats.policies import parse_policy

        with os.fdopen(trust.open_to_read(path), "rb") as file:
            return parse_policy(file.read(MAX_INPUT_BYTES + 1))
    except OSError as error:
        return Policy(fault=error.strerror or str(error))
    except AmdcniError as failure:
        return Policy(fault=failure.message)


def _is_there(path: str) -> bool:
    """Whether there is a policy, even one that a link or file in place of its folder hides.

    Raises: OSError, since what cannot be found out must not be taken for the lack of a policy.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return os.path.islink(os.path.dirname(path))
    return True


def find_policy(path: str = POLICY_PATH) -> Policy | None:
    """The policy at `path`; None if this user may not read it, although root may."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except PermissionError:
        return None
    except OSError:
        pass
    return read_policy(path)


def read_allocated(uid: str) -> frozenset[str] | None:
    """The devices that the kubelet's checkpoint says a pod has; None if it cannot be read."""
    from amdcni.core.codec import decode_object
    from amdcni.core.kubernetes.allocation import CHECKPOINT, devices_allocated_to

    try:
        with os.fdopen(trust.open_to_read(CHECKPOINT), "rb") as file:
            data = file.read(_MOST_CHECKPOINT_BYTES + 1)
        checkpoint = decode_object(
            data, "the kubelet's checkpoint", max_bytes=_MOST_CHECKPOINT_BYTES
        )
        return devices_allocated_to(checkpoint, uid)
    except (OSError, AmdcniError):
        return None
