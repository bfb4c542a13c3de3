"""The servicer of contenders that take one."""

from zitadel import admin_pb2, admin_pb2_grpc


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
