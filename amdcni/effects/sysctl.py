"""Per-netdev sysctls of the network namespace that this thread is in."""

from pathlib import Path

from amdcni.core.errors import KernelRefused


def allow_ipv6(ifname: str) -> None:
    """Let the netdev have IPv6 addresses; a kernel without IPv6 has nothing to allow."""
    path = Path(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6")
    try:
        if path.read_text().strip() != "0":
            path.write_text("0")
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelRefused(f"cannot let {ifname} have IPv6 addresses: {error}") from None
