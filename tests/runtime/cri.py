"""The Container Runtime Interface as its client, the kubelet, speaks it."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from attrs import field, frozen
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

from tests.patience import PATIENCE_S

_PROTO = Path(__file__).with_name("cri.proto")
_PACKAGE = "runtime.v1"


class Refused(Exception):
    """What the runtime answers to a call that fails."""


@frozen
class Pending:
    """A call at work."""

    method: str
    call: Any = field(repr=False)

    def wait(self) -> dict[str, Any]:
        """Return the answer when there is one.

        Raises:
            Refused: it is a failure, or the runtime has ended.
        """
        try:
            answer = self.call.result()
        except grpc.RpcError as error:
            raise Refused(f"{self.method}: {error.code().name}: {error.details()}") from None
        found: dict[str, Any] = json_format.MessageToDict(answer, preserving_proto_field_name=True)
        return found

    def has_ended(self) -> bool:
        """Return whether there is an answer, or there will be none."""
        return bool(self.call.done())


@frozen
class Cri:
    """A connection to the runtime that listens at the path of a socket."""

    channel: Any = field(repr=False)

    @classmethod
    def at(cls, socket: Path) -> "Cri":
        """Return a connection, which is made at the first call."""
        # The default one is the path, which a server of Go refuses as the name of a host.
        options = [("grpc.default_authority", "localhost")]
        return cls(grpc.insecure_channel(f"unix://{socket}", options))

    def start(self, method: str, **request: object) -> Pending:
        """Start a call; the request is as in JSON, with the names of `cri.proto`."""
        call = self.channel.unary_unary(
            f"/{_PACKAGE}.RuntimeService/{method}",
            request_serializer=_message(f"{method}Request").SerializeToString,
            response_deserializer=_message(f"{method}Response").FromString,
        )
        message = json_format.ParseDict(request, _message(f"{method}Request")())
        return Pending(method, call.future(message, timeout=PATIENCE_S))

    def call(self, method: str, **request: object) -> dict[str, Any]:
        """Return the answer to a call.

        Raises:
            Refused: it is a failure.
        """
        return self.start(method, **request).wait()

    def close(self) -> None:
        """End the connection and what is at work on it."""
        self.channel.close()


def _message(name: str) -> Any:
    return GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> DescriptorPool:
    """Return the messages of `cri.proto`, compiled."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "cri.pb")
        words = [f"--proto_path={_PROTO.parent}", f"--descriptor_set_out={out}", str(_PROTO)]
        assert protoc.main(["protoc", *words]) == 0
        compiled = FileDescriptorSet.FromString(out.read_bytes())
    pool = DescriptorPool()
    for file in compiled.file:
        pool.Add(file)
    return pool
