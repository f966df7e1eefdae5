"""What a lent NIC is like now, compared with what the host gets back."""

from collections.abc import Iterator

from amdcni.core.aspects import link
from amdcni.core.aspects.change import Around
from amdcni.core.attachment import Attachment
from amdcni.core.capture import due, is_required
from amdcni.core.identity import find_home, find_in_pod
from amdcni.ports import Node


def differences_now(record: Attachment, node: Node) -> Iterator[str]:
    """What restoring would change now, in words; nothing if the netdev is in neither place.

    In its pod, only the netdev itself is compared: addresses, routes and sysctls are the pod's own,
    and the alias is the name on the host, which the move writes there.
    """
    captured, host = record.captured, node.host()
    if captured is None or record.boot_id != node.clock().boot_id:
        return
    pod = node.find_pod(record.netns)
    device = node.find_device(record.key.bus_device)
    inside, home = find_in_pod(record, pod), find_home(record, host.netdevs, device, pod)
    around = Around(captured.ifname, elapsed_s=record.elapsed_s(node.clock().now_s))
    if inside is not None:
        changes = link.due(captured, inside, None, around)
        yield from (each.describe() for each in changes if each.name != "alias")
    elif home is not None:
        others = tuple(each for each in host.netdevs if each.ifindex != home.ifindex)
        around = Around(captured.ifname, others, elapsed_s=around.elapsed_s)
        if home.ifname != captured.ifname:
            yield f"its name is {home.ifname}, was {captured.ifname}"
        lacking = due(captured, home, node.details(home), around)
        yield from (each.describe() for each in lacking if is_required(each))
