"""Where the agent of each node serves its metrics, as one setting for all nodes says it."""

import re
from typing import Any, Final, Self

import attrs

from amdcni.core.errors import InvalidName
from amdcni_agent.address import OFF, Address

_OF_THE_NODE: Final = re.compile(r"(?P<v4>node)?(?(v4)|\[node\]):(?P<port>[1-9][0-9]{0,4})")
_MAX_PORT: Final = 65535


@attrs.frozen
class Metrics:
    """Where metrics and health are served: at an address, at the node's own one, or nowhere.

    The node's own address is only known in the pod, from the variable `NODE_IP`.
    """

    where: Address | str | None

    port: int
    """0 if nowhere."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address with a port, `node:9464`, for IPv6 `[node]:9464`, or `off`.

        Raises: InvalidName.
        """
        if text == OFF:
            return cls(None, 0)
        match = _OF_THE_NODE.fullmatch(text)
        if match is not None and int(match["port"]) <= _MAX_PORT:
            return cls(text, int(match["port"]))
        try:
            address = Address.parse(text)
        except InvalidName:
            address = None
        if address is None or address.port == 0:
            raise InvalidName(
                f"{text!r} is not where metrics can be served, such as 127.0.0.1:9464, node:9464 "
                f"or {OFF}"
            )
        return cls(address, address.port)

    def __str__(self) -> str:
        return OFF if self.where is None else str(self.where)

    @property
    def needs_node_ip(self) -> bool:
        """Whether `argument` refers to the variable `NODE_IP`."""
        return isinstance(self.where, str)

    @property
    def argument(self) -> str:
        """The value of the agent's option `--metrics`, in a pod."""
        return str(self).replace("node", "$(NODE_IP)")

    @property
    def can_be_scraped_from_outside(self) -> bool:
        """Whether it can be reached from elsewhere than the node."""
        return self.needs_node_ip or (
            isinstance(self.where, Address) and not self.where.host.is_loopback
        )

    def probe(self, path: str) -> dict[str, Any]:
        """What the kubelet, which has the node's network, has to ask."""
        request: dict[str, Any] = {"path": path, "port": self.port}
        if isinstance(self.where, Address):
            # An agent that listens everywhere also does so here.
            loopback = "::1" if self.where.host.version == 6 else "127.0.0.1"
            host = loopback if self.where.host.is_unspecified else str(self.where.host)
            request["host"] = host
        return {"httpGet": request}
