"""Moves the RDMA devices of a netdev into a pod and back, one at a time on the whole node."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final, assert_never

from amdcni.core.attachment import Attachment
from amdcni.core.errors import Failures, KernelRefused, RdmaLost, RestoreIncomplete
from amdcni.core.rdma import RdmaDevice, find_rdma, is_elsewhere
from amdcni.core.steps.execution import Outcome
from amdcni.core.steps.rdma import MoveRdma, RdmaStep, ReturnRdma, VerifyRdma
from amdcni.effects.pod_netns import entered
from amdcni.ports import Machine, Namespace

_MOVE_WAIT_S: Final = 30.0


def perform(step: RdmaStep, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; that finds nothing out."""
    match step:
        case MoveRdma(record):
            _move(node, record)
        case ReturnRdma(record):
            _return(node, record)
        case VerifyRdma(record):
            _verify(node, record)
        case _:
            assert_never(step)
    return so_far


@contextmanager
def _alone(node: Machine) -> Iterator[None]:
    """Exclude other calls that move an RDMA device.

    A move takes the device from all clients of the subsystem and gives it to them again, and asks
    each network namespace; so one at a time is moved on a node.  The lock of a device is taken
    before this one, and no other while it is held.
    """
    with node.lock("rdma", wait_s=_MOVE_WAIT_S):
        yield


def _move(node: Machine, record: Attachment) -> None:
    """Move what is not in the pod yet: another plugin of a chain may have moved it."""
    with entered(node, record) as target, _alone(node):
        here, there = node.rdma().devices, target.rdma_devices()
        for device in record.rdma:
            found = find_rdma(device, here)
            if found is not None and find_rdma(device, there) is None:
                files = _files_of(node, found)
                node.own.move_rdma(found, target)
                _compare_files(node, record, found, files)
            elif found is None and find_rdma(device, there) is None:
                raise RdmaLost(
                    f"the RDMA device {device.name} of {record.key} is neither on the host nor "
                    f"in {record.netns.path!r}; is its driver loaded?"
                )


def _compare_files(
    node: Machine, record: Attachment, device: RdmaDevice, before: tuple[str, ...]
) -> None:
    """Report if the move has given the device other files: a container was given those `before`."""
    now = _files_of(node, device)
    if now != before:
        facts = {**record.facts, "rdma": device.name}
        node.report("rdma-renumbered", **facts, was=" ".join(before), now=" ".join(now))


def _files_of(node: Machine, device: RdmaDevice) -> tuple[str, ...]:
    return tuple(file.name for file in node.rdma_files() if file.rdma == device.name)


def _return(node: Machine, record: Attachment) -> None:
    """Bring home what is in the pod; of several, each even if another cannot come."""
    if not _missing(record, node.rdma().devices):
        return
    with _pod(node, record) as source:
        if source is None:
            return
        failures = Failures()
        with _alone(node):
            for device in _in(record, source):
                with failures:
                    source.move_rdma(device, node.own)
        failures.raise_first()
    _name(node, record)


@contextmanager
def _pod(node: Machine, record: Attachment) -> Iterator[Namespace | None]:
    """The pod's network namespace; None if it has gone."""
    pod = node.find_pod(record.netns)
    if pod is None:
        yield None
        return
    with node.enter(pod.path) as source:
        yield source if source is not None and source.id.is_same(pod.id) else None


def _missing(record: Attachment, host: Collection[RdmaDevice]) -> list[RdmaDevice]:
    """The devices of the record that are not among those of the host."""
    return [device for device in record.rdma if find_rdma(device, host) is None]


def _in(record: Attachment, source: Namespace) -> list[RdmaDevice]:
    """The devices of the record that are in a namespace, as they are called there."""
    there = source.rdma_devices()
    found = (find_rdma(device, there) for device in record.rdma)
    return [device for device in found if device is not None]


def _verify(node: Machine, record: Attachment) -> None:
    """Raise RestoreIncomplete if one of the devices exists and is not on the host.

    It is in the pod, or where somebody has moved it from there.  One that does not exist any more,
    since its driver was unloaded, say, is reported.
    """
    # Read before the host is: meanwhile, a device may come home.
    files, host = node.rdma_files(), node.rdma().devices
    missing = _missing(record, host)
    away = [device.name for device in missing if is_elsewhere(device, files, host)]
    if away:
        raise RestoreIncomplete(
            f"{record.key}: the RDMA device {', '.join(away)} is still in another network namespace"
        )
    for device in missing:
        node.report("rdma-lost", **record.facts, rdma=device.name)
    _name(node, record)


def _name(node: Machine, record: Attachment) -> None:
    """Give the devices on the host the names that they had, unless others have them by now."""
    here = node.rdma().devices
    for device in record.rdma:
        found = find_rdma(device, here)
        if found is not None and found.name != device.name:
            try:
                node.own.rename_rdma(found, device.name)
            except KernelRefused:
                facts = {**record.facts, "was": device.name, "now": found.name}
                node.report("rdma-name-taken", **facts)
