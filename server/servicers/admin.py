"""`zitadel.admin.v1.AdminService`."""

from typing import Any

import grpc
from zitadel import admin_pb2
from zitadel.admin_pb2_grpc import AdminServiceServicer

from server.call import current_call
from server.servicers.replies import InstanceReplies

Context = grpc.aio.ServicerContext[Any, Any]


class AdminServicer(AdminServiceServicer):
    """Serves callers who manage the one instance that their host names."""

    def __init__(self) -> None:
        self._replies = InstanceReplies(lambda detail: admin_pb2.GetMyInstanceResponse(instance=detail))

    async def Healthz(self, request: admin_pb2.HealthzRequest, context: Context) -> admin_pb2.HealthzResponse:
        """Answer."""
        return admin_pb2.HealthzResponse()

    async def GetMyInstance(
        self, request: admin_pb2.GetMyInstanceRequest, context: Context
    ) -> admin_pb2.GetMyInstanceResponse:
        """Return the instance that authorization found for the caller."""
        return self._replies.of(current_call.get().asked_instance())
