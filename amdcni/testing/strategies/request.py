"""Requests of every verb, as `amdcni.core.formats.parse_request` makes them."""

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.request import (
    AddRequest,
    CheckRequest,
    DelRequest,
    GcRequest,
    Network,
    Request,
    StatusRequest,
)
from amdcni.core.spec import AttachmentId, Verb
from amdcni.testing.strategies.configuration import meanings, meanings_in
from amdcni.testing.strategies.environment import attachment_of, invocations_for
from amdcni.testing.strategies.names import attachment_ids, versions_since

add_requests: SearchStrategy[AddRequest] = st.builds(
    lambda invocation, meaning: AddRequest(
        invocation,
        meaning.network,
        meaning.device,
        attachment_of(invocation),
        invocation.netns,
        meaning.prev_result,
    ),
    invocations_for(Verb.ADD),
    meanings,
)
"""ADD."""

del_requests: SearchStrategy[DelRequest] = st.builds(
    lambda invocation, meaning: DelRequest(
        invocation,
        meaning.network,
        attachment_of(invocation),
        invocation.netns,
        meaning.device.selector,
        meaning.device.ipam,
        meaning.device.mover,
    ),
    invocations_for(Verb.DEL),
    meanings,
)
"""DEL with a device in the configuration."""

check_requests: SearchStrategy[CheckRequest] = st.builds(
    lambda invocation, meaning: CheckRequest(
        invocation,
        meaning.network,
        meaning.device,
        attachment_of(invocation),
        invocation.netns,
        meaning.prev_result,
    ),
    invocations_for(Verb.CHECK),
    meanings_in(versions_since("0.4.0"), with_prev_result=True),
)
"""CHECK."""


def _with_valid(network: Network, valid: frozenset[AttachmentId] | None) -> Network:
    if valid is None:
        return network
    listed = [{"containerID": a.container_id, "ifname": a.ifname} for a in sorted(valid)]
    return attrs.evolve(network, raw={**network.raw, "cni.dev/valid-attachments": listed})


gc_requests: SearchStrategy[GcRequest] = st.builds(
    lambda invocation, meaning, valid: GcRequest(
        invocation, _with_valid(meaning.network, valid), valid, meaning.device.ipam
    ),
    invocations_for(Verb.GC),
    meanings_in(versions_since("1.1.0")),
    st.none() | st.frozensets(attachment_ids, max_size=2),
)
"""GC, with and without a list of what is valid."""

status_requests: SearchStrategy[StatusRequest] = st.builds(
    lambda invocation, meaning: StatusRequest(
        invocation, meaning.network, meaning.device.ipam, meaning.device.mover
    ),
    invocations_for(Verb.STATUS),
    meanings_in(versions_since("1.1.0")),
)
"""STATUS."""

requests: SearchStrategy[Request] = st.one_of(
    add_requests, del_requests, check_requests, gc_requests, status_requests
)
"""Requests of every verb."""
