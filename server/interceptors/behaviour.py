"""Stands around the behaviour of every RPC, of whichever of the four kinds it is."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    # An interceptor looks into no message, so the types of messages stay open here.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # grpc's classes are generic in their published types only.
    Handler = grpc.RpcMethodHandler
    Context = grpc.aio.ServicerContext
Behaviour = Callable[[Any, Context], Any]
Deserializer = Callable[[bytes], Any]


class BehaviourInterceptor(grpc.aio.ServerInterceptor):
    """Runs `unary` or `stream` in place of a behaviour; by default both only call it.

    A handler is wrapped when it is first met and kept, so that a call costs one more frame and no allocation.
    """

    def __init__(self) -> None:
        # By identity: a handler is a tuple of its functions, and hashing all of them would cost more than the look-up.
        self._wrapped: dict[int, tuple[Handler, Handler]] = {}

    async def unary(self, inner: Behaviour, request: Any, context: Context) -> Any:
        """Answer a call that has one response."""
        return await inner(request, context)

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Answer a call that has a stream of responses."""
        async for response in responses(inner, request, context):
            yield response

    def deserializer(self, inner: Deserializer) -> Deserializer:
        """Return what reads a handler's messages; by default what does without this interceptor."""
        return inner

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the handler with its behaviour wrapped; None, as it comes, where no such RPC is served."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self.wrap(handler)

    def wrap(self, handler: Handler) -> Handler:
        """Return `handler` with its behaviour inside of this interceptor's."""
        known = self._wrapped.get(id(handler))
        if known is None:
            # The original is kept beside its wrapper: while it lives its id is its own.
            known = self._wrapped[id(handler)] = (handler, self._rewrap(handler))
        return known[1]

    def _rewrap(self, handler: Handler) -> Handler:
        kind = (
            ("stream" if handler.request_streaming else "unary")
            + "_"
            + ("stream" if handler.response_streaming else "unary")
        )
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: Handler = make(
            self._around(getattr(handler, kind), streaming=handler.response_streaming),
            request_deserializer=handler.request_deserializer and self.deserializer(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _around(self, inner: Behaviour, *, streaming: bool) -> Behaviour:
        if streaming:

            async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
                async for response in self.stream(inner, request, context):
                    yield response

            return stream

        async def unary(request: Any, context: Context) -> Any:
            return await self.unary(inner, request, context)

        return unary


async def responses(inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
    """Iterate over what a streaming behaviour yields.

    One that writes to its context instead is run to its end, and nothing is yielded.
    """
    result = inner(request, context)
    if inspect.isawaitable(result):
        await result
        return
    async for response in result:
        yield response
