"""Devices as pods have them."""

import attrs
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.host import Address, AddressFlag, Netdev, Netns
from amdcni.core.spec import Interface, Ip, Result
from amdcni.testing.strategies.addressing import address_lists
from amdcni.testing.strategies.node import hosts_with
from amdcni.testing.strategies.record import attachments_of
from amdcni.testing.strategies.values import words


@attrs.frozen
class Lending:
    """A record of a complete attachment, its pod, and the netdev as it is there."""

    record: Attachment
    pod: Netns
    netdev: Netdev


_lent = attachments_of(
    phases=st.just(Phase.ATTACHED),
    with_netdev=True,
    configs=st.builds(
        lambda mark: {"name": "fabric", "type": "amd-host-device", "mark": mark}, words
    ),
    results=st.none(),
)
_pods = hosts_with(0, 2)
_booleans = st.booleans()
_small = st.integers(0, 8)


def _usable(address: Address) -> Address:
    """The address as it is after duplicate address detection, and without lifetimes."""
    settled = address.flags & ~(AddressFlag.TENTATIVE | AddressFlag.DADFAILED)
    return attrs.evolve(address, flags=settled, preferred_s=None, valid_s=None)


@st.composite
def _lendings(draw: DrawFn) -> Lending:
    record = draw(_lent)
    captured, ifname = record.captured, record.id.ifname
    assert captured is not None
    pod = draw(_pods)
    strangers = tuple(
        n
        for n in pod.netdevs
        if ifname not in (n.ifname, *n.altnames)
        and (n.parent is None or n.parent != captured.parent)
    )
    assume(strangers)  # The pod's loopback may have a name that the NIC gets.
    netdev = Netdev(
        ifindex=max(n.ifindex for n in strangers) + 1,
        ifname=ifname,
        mac=captured.mac,
        permanent_mac=captured.permanent_mac,
        kind=captured.kind,
        link_type=captured.link_type,
        parent=captured.parent,
        port_name=captured.port_name,
        port_id=captured.port_id,
        up=True,
        carrier=captured.carrier or draw(_booleans),
        addresses=tuple(map(_usable, draw(address_lists))),
    )
    position = 1 + draw(_small) % len(strangers)
    netdevs = (*strangers[:position], netdev, *strangers[position:])
    pointing = 0 if draw(_booleans) else None
    result = Result(
        (Interface(ifname, captured.mac, sandbox=pod.path),),
        tuple(Ip(address.interface, interface=pointing) for address in netdev.addresses),
    )
    record = attrs.evolve(
        record,
        netns=NetnsRef(pod.path, pod.id),
        pod_ifindex=netdev.ifindex,
        result=result,
    )
    return Lending(record, attrs.evolve(pod, netdevs=netdevs), netdev)


lendings: SearchStrategy[Lending] = _lendings()
"""Records of netdevs that are in their pods, up and with all that their results promise."""
