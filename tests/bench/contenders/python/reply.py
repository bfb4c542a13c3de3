"""What every contender answers: the reply that ours gave, handed over as a file so that all send the same message."""

import sys
from pathlib import Path

from zitadel import admin_pb2, admin_pb2_grpc


def arguments() -> tuple[int, admin_pb2.GetMyInstanceResponse]:
    """Return the port to listen on and the reply, from the command line `PORT REPLY`."""
    port, reply = sys.argv[1:]
    return int(port), admin_pb2.GetMyInstanceResponse.FromString(Path(reply).read_bytes())


class Servicer(admin_pb2_grpc.AdminServiceServicer):
    """Answers GetMyInstance with a message that is there already; encoding it is left to whatever serves it."""

    def __init__(self, reply: admin_pb2.GetMyInstanceResponse) -> None:
        self._reply = reply

    async def Healthz(self, request: admin_pb2.HealthzRequest, context: object) -> admin_pb2.HealthzResponse:
        """Return nothing."""
        return admin_pb2.HealthzResponse()

    async def GetMyInstance(
        self, request: admin_pb2.GetMyInstanceRequest, context: object
    ) -> admin_pb2.GetMyInstanceResponse:
        """Return the reply."""
        return self._reply
