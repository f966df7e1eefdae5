"""NICs that are reset: their driver makes the netdev anew, on the host and bare."""

from amdcni.testing import Namespace, Nic, Node

MADE_ANEW = "eth9"
"""What a netdev is called that was made anew, until somebody renames it."""

QUEUES_OF_A_NEW_NETDEV = ("rx-0/rps_cpus=0", "rx-0/rps_flow_cnt=0", "gro_flush_timeout=0")


def reset(node: Node, nic: Nic, where: Namespace, name: str = MADE_ANEW) -> None:
    """Let the NIC, which is in the netns `where`, be as it is after a reset.

    A netdev whose number is free on the host gets that one: a veth has no permanent address.
    """
    (link,) = (n for n in where.ip_json("link show") if n.get("link_index") == nic.peer_ifindex)
    ifname, altnames = link["ifname"], link.get("altnames", [])
    where.ip_batch(
        [
            f"link set {ifname} down",
            *(f"link property del dev {ifname} altname {altname}" for altname in altnames),
            f'link set {ifname} alias ""',
            f"link set {ifname} address {nic.mac} mtu 1500 txqueuelen 1000 group default"
            " gso_max_size 65536 gso_max_segs 65535 gro_max_size 65536",
            f"link set {ifname} netns {node.netns} name {name}",
        ]
    )
    node.queues(name, *QUEUES_OF_A_NEW_NETDEV)
    node.refresh()
