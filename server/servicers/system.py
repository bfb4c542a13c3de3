"""`zitadel.system.v1.SystemService`."""

from typing import Any

import grpc
from zitadel import system_pb2
from zitadel.system_pb2_grpc import SystemServiceServicer

from server.call import current_call
from server.instances import Instances
from server.servicers.fields import fields
from server.servicers.replies import InstanceReplies, set_details

Context = grpc.aio.ServicerContext[Any, Any]


class SystemServicer(SystemServiceServicer):
    """Serves callers who manage instances from outside of them."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._replies = InstanceReplies(lambda detail: system_pb2.GetMyInstanceResponse(instance=detail))

    async def Healthz(self, request: system_pb2.HealthzRequest, context: Context) -> system_pb2.HealthzResponse:
        """Answer."""
        return system_pb2.HealthzResponse()

    async def AddInstance(
        self, request: system_pb2.AddInstanceRequest, context: Context
    ) -> system_pb2.AddInstanceResponse:
        """Set an instance up."""
        call = current_call.get()
        added = await self._instances.add(fields(request), creator=call.user_id or "")
        call.instance_id = added.instance_id
        response = system_pb2.AddInstanceResponse(instance_id=added.instance_id)
        set_details(response.details, added.details)
        return response

    async def GetMyInstance(
        self, request: system_pb2.GetMyInstanceRequest, context: Context
    ) -> system_pb2.GetMyInstanceResponse:
        """Return the instance that authorization found for the caller."""
        return self._replies.of(current_call.get().asked_instance())
