"""Which NICs a test lends by which mover: a pair of them takes seconds in the machine."""

from typing import Final

import pytest

from tests.vm.nics import E1000E, VIRTIO, VMXNET3, Slot


def shown(value: object) -> str:
    """Show a case in the name of a test."""
    return value.model if isinstance(value, Slot) else str(value)


each_model: Final = pytest.mark.parametrize(
    ("slot", "mover"),
    [(E1000E, "native"), (VIRTIO, "native"), (VMXNET3, "delegate")],
    ids=shown,
)
"""Each model by one of the movers: how it is moved does not depend on the model."""
