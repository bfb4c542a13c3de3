"""What every contender answers: the reply that ours gave, handed over as a file so that all send the same message."""

import os
import sys
from pathlib import Path
from typing import Final

from zitadel import admin_pb2, admin_pb2_grpc

_IN_ENVIRONMENT: Final = "BENCH_REPLY"


def arguments() -> tuple[int, admin_pb2.GetMyInstanceResponse]:
    """Return the port to listen on and the reply, from the command line `PORT REPLY`."""
    port, reply = sys.argv[1:]
    return int(port), admin_pb2.GetMyInstanceResponse.FromString(Path(reply).read_bytes())


def hand_on() -> int:
    """Return the port, and leave the reply to a process that imports its application, see `handed_on`."""
    port, os.environ[_IN_ENVIRONMENT] = sys.argv[1:]
    return int(port)


def handed_on() -> bytes:
    """Return the bytes of the reply in a process that was started by one that called `hand_on`."""
    return Path(os.environ[_IN_ENVIRONMENT]).read_bytes()


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
