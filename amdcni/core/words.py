"""Plans in words, for the person who wants to know what a call is going to do."""

from typing import assert_never

from amdcni.core.capture import Captured, counted, summary
from amdcni.core.steps import (
    BringHome,
    ConfigureInPod,
    ConfirmRecord,
    CopyRoutes,
    DelegateAdd,
    ForgetRecord,
    InspectPod,
    IpamAdd,
    KeepOtherHops,
    MoveIntoPod,
    PluginCall,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    SaveRecord,
    Step,
    VerifyHome,
)


def step_in_words(step: Step) -> str:
    """What a step does, with what it does it to, as one sentence without a full stop."""
    match step:
        case SaveRecord(record):
            return f"write the record of {record.key}: {record.phase}, {_held(record.captured)}"
        case ConfirmRecord(record):
            return f"write the record of {record.key} again: attached, with the result"
        case ForgetRecord(key):
            return f"remove the record of {key}"
        case DelegateAdd(call, _, _):
            return f"{_executed(call)}, which moves the NIC into the pod and configures it"
        case InspectPod(record):
            return f"look whether {record.id.ifname} is in {record.netns.path}, and is this NIC"
        case MoveIntoPod(record, netdev):
            return f"move {netdev.ifname} into {record.netns.path} as {record.id.ifname}, and up"
        case IpamAdd(_, call):
            return f"{_executed(call)}, which gives addresses"
        case ConfigureInPod(record):
            return f"set the addresses and routes of {record.id.ifname} in the pod"
        case CopyRoutes(record, captured):
            routes = counted(len(captured.routes), "route")
            return f"set {routes} of the host at {record.id.ifname}, too"
        case KeepOtherHops(_, captured):
            return f"keep multipath routes through {captured.ifname} alive by their other hops"
        case ReleasePlugins(record):
            return f"tell the plugins that {record.id} ends"
        case ReleaseIpam(record):
            return f"let the IPAM plugin take back the addresses of {record.id}"
        case BringHome(_, captured):
            return f"bring the NIC back to the host as {captured.ifname}"
        case RestoreConfiguration(_, captured):
            return f"give {captured.ifname} back {', '.join(summary(captured))}"
        case VerifyHome(_, captured):
            return f"compare {captured.ifname} with the record"
        case _:
            assert_never(step)


def _executed(call: PluginCall) -> str:
    return f"execute {call.plugin} with {call.verb}"


def _held(captured: Captured | None) -> str:
    if captured is None:
        return "a device without a netdev"
    return f"{captured.ifname} with {', '.join(summary(captured))}"
