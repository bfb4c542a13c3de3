"""Turns what a behaviour raises into the status that the caller reads."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import structlog
from google.rpc import status_pb2

from server.call import current_call
from server.domain.errors import DomainError, StoreUnavailable, Unauthenticated
from server.errors import CODES, internal, to_status
from server.interceptors.access_log import REQUEST_ID
from server.interceptors.layers import Behaviour, Context, Layer, responses

_DETAILS = "grpc-status-details-bin"


class Errors(Layer):
    """Maps reasons by the table of `server/errors.py`, and anything else to INTERNAL with an id for the log."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    async def unary(self, inner: Behaviour, request: Any, context: Context) -> Any:
        """Answer a call that has one response."""
        try:
            return await inner(request, context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug must reach the caller as INTERNAL and the log in full
            await self._abort(error, context)

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Answer a call that has a stream of responses."""
        try:
            async for response in responses(inner, request, context):
                yield response
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - as above
            await self._abort(error, context)

    async def _abort(self, error: Exception, context: Context) -> NoReturn:
        call = current_call.get()
        if isinstance(error, DomainError):
            if isinstance(error, Unauthenticated):
                call.reason = error.reason
            elif isinstance(error, StoreUnavailable):
                call.reason = error.cause
            reply = to_status(error)
        else:
            error_id = secrets.token_hex(8)
            self._log.error("internal error", error_id=error_id, request_id=call.request_id, exc_info=error)
            reply = internal(error_id)
        await abort(context, reply)


async def abort(context: Context, reply: status_pb2.Status) -> NoReturn:
    """End the call with `reply`, its details in the trailer that every gRPC client reads them from."""
    trailers: list[tuple[str, str | bytes]] = [(REQUEST_ID, current_call.get().request_id)]
    if reply.details:
        trailers.append((_DETAILS, reply.SerializeToString()))
    await context.abort(CODES[reply.code], reply.message, tuple(trailers))
