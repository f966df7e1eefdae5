"""RDMA devices, and ADDs of NICs that have some."""

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.rdma import Rdma, RdmaMode, Seen
from amdcni.testing.strategies.handover import Handover, handovers, native_handovers
from amdcni.testing.strategies.record import rdma_device_lists

_booleans = st.booleans()


@st.composite
def _rdma_handovers(draw: DrawFn, handovers: SearchStrategy[Handover]) -> Handover:
    handover = draw(handovers)
    netdev, snapshot = handover.netdev, handover.snapshot
    device = snapshot.candidates.device
    assert netdev is not None
    parent = None if device is None else str(device.bus_device)
    alone = device is not None and len(device.ifnames) == 1
    others = [n.ifindex for n in snapshot.host.netdevs if n.ifindex != netdev.ifindex]
    seen = []
    for number, each in enumerate(draw(rdma_device_lists(1, 4))):
        if number > 0 and draw(_booleans):
            ports = draw(st.sets(st.sampled_from(others), min_size=1, max_size=2))
            seen.append(Seen(attrs.evolve(each, parent=None), frozenset(ports)))
        else:
            shown = not alone or draw(_booleans)
            ports = {netdev.ifindex} if shown else set()
            seen.append(Seen(attrs.evolve(each, parent=parent), frozenset(ports)))
    rdma = Rdma(RdmaMode.EXCLUSIVE, tuple(seen))
    return attrs.evolve(handover, snapshot=attrs.evolve(snapshot, rdma=rdma))


rdma_handovers: SearchStrategy[Handover] = _rdma_handovers(handovers)
"""ADDs that can work, of a NIC with RDMA devices, on a host that has others, too."""

native_rdma_handovers: SearchStrategy[Handover] = _rdma_handovers(native_handovers)
"""The same by the mover `native`."""
