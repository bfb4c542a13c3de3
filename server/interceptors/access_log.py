"""One log line for each call, and the request id that ties a caller's log to ours."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog

from server.call import Call, current_call
from server.interceptors.behaviour import Behaviour, BehaviourInterceptor, Context, Handler, responses

REQUEST_ID = "x-request-id"
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}")


class AccessLogInterceptor(BehaviourInterceptor):
    """The outermost interceptor: opens the call that all others fill in, and logs it when its reply is settled.

    A request id is taken from the metadata `x-request-id` where that is 1 to 128 letters, digits, dots, underscores and
    hyphens, and made otherwise. It goes out again under the same name: as a header through the gateway, as a trailer
    on the native listener, where a header of its own would cost another message.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log = structlog.get_logger()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Open the call before anything else looks at it."""
        call = Call(handler_call_details.method, _request_id(handler_call_details))
        current_call.set(call)
        handler = await super().intercept_service(continuation, handler_call_details)
        if handler is None:
            # Nothing will run, and the front answers by itself.
            self._log.info("call", method=call.method, code="UNIMPLEMENTED", request_id=call.request_id)
        return handler

    async def unary(self, inner: Behaviour, request: Any, context: Context) -> Any:
        """Answer and log a call that has one response."""
        started, peer = time.perf_counter(), context.peer()
        await _echo(context)
        code = grpc.StatusCode.OK
        try:
            return await inner(request, context)
        except BaseException as error:
            code = _code(error, context)
            raise
        finally:
            self._write(context, code, started, peer)

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Answer and log a call that has a stream of responses."""
        started, peer = time.perf_counter(), context.peer()
        await _echo(context)
        code = grpc.StatusCode.OK
        try:
            async for response in responses(inner, request, context):
                yield response
        except BaseException as error:
            code = _code(error, context)
            raise
        finally:
            self._write(context, code, started, peer)

    def _write(self, context: Context, code: grpc.StatusCode, started: float, peer: str) -> None:
        # The peer is asked for while the call is there: a stream that is cut off may be closed after it is gone, and
        # grpc.aio then reads freed memory.
        call = current_call.get()
        refused = {"reason": call.reason} if call.reason else {}
        self._log.info(
            "call",
            method=call.method,
            protocol=getattr(context, "protocol", "grpc"),
            code=code.name,
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            user_id=call.user_id,
            instance_id=call.instance_id,
            peer=peer,
            request_id=call.request_id,
            **refused,
        )


def _request_id(details: grpc.HandlerCallDetails) -> str:
    for key, value in details.invocation_metadata:
        if key == REQUEST_ID and isinstance(value, str) and _ACCEPTABLE.fullmatch(value):
            return value
    return secrets.token_hex(8)


async def _echo(context: Context) -> None:
    metadata = ((REQUEST_ID, current_call.get().request_id),)
    if hasattr(context, "protocol"):
        await context.send_initial_metadata(metadata)
    else:
        context.set_trailing_metadata(metadata)


def _code(error: BaseException, context: Context) -> grpc.StatusCode:
    """Name the status that a behaviour's end by an exception has on the wire."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        # None without a deadline, whatever the types say.
        remaining: float | None = context.time_remaining()
        expired = remaining is not None and remaining <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
    # Until something sets it, grpc.aio has None or 0 there.
    code: object = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
