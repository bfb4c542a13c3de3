"""connectrpc with its own messages, protobuf-py's."""

import sys
from pathlib import Path
from typing import Any

# Where stubs.py writes them.
sys.path.append(str(Path(__file__).parents[5] / "build/bench"))

from connectrpc_stubs.zitadel.admin_connect import AdminService, AdminServiceASGIApplication
from connectrpc_stubs.zitadel.admin_pb import GetMyInstanceRequest, GetMyInstanceResponse


class _Admin(AdminService):  # type: ignore[misc]  # the stubs are there when the bench runs
    def __init__(self, reply: GetMyInstanceResponse) -> None:
        self._reply = reply

    async def get_my_instance(self, request: GetMyInstanceRequest, ctx: object) -> GetMyInstanceResponse:
        return self._reply


def make(reply: bytes) -> Any:
    """Return the ASGI application."""
    return AdminServiceASGIApplication(_Admin(GetMyInstanceResponse.from_binary(reply)))
