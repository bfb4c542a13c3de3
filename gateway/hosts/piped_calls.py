"""What a grpc server behind the one port lacks: the caller's address, and the paths of the `google.api.http` rules."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import Message

from gateway._gateway import Gateway
from gateway._status import Refused
from gateway._types import Handler
from gateway.hosts.one_port import caller_behind

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

Find = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

# Field number 0 is none that a message can have, so that these bytes parse as no type at all.
_NO_MESSAGE: Final = b"\x07"


class PipedCalls(grpc.aio.ServerInterceptor):
    """The outermost interceptor of a grpc.aio server whose callers come through `HTTP2Pipes`.

    `context.peer()` is the address of the TCP peer. A call of a path that a rule of `gateway` has is a call of the
    rule's RPC, to every other interceptor too; what the path captures goes to the message's fields.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        # By identity; the original is kept beside its wrapper, as while it lives its id is its own.
        self._wrapped: dict[int, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self, continuation: Find, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Find the RPC, and wrap its handler once."""
        rule = self._gateway.rule_of(handler_call_details.method)
        if rule is None:
            handler = await continuation(handler_call_details)
            return None if handler is None else self._wrap(handler)
        rpc, assign = rule
        # grpc.aio insists on its own class, which has no public name.
        details = type(handler_call_details)(rpc, handler_call_details.invocation_metadata)  # type: ignore[call-arg]
        handler = await continuation(details)
        if handler is None:
            return None
        handler = self._wrap(handler)
        return handler if assign is None else _assigning(handler, assign)

    def _wrap(self, handler: Handler) -> Handler:
        known = self._wrapped.get(id(handler))
        if known is None:
            known = self._wrapped[id(handler)] = (handler, _with_callers(handler))
        return known[1]


class _Context:
    """grpc's context, but for the address of the caller."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Context) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the context's own
        return getattr(self._inner, name)

    def peer(self) -> str:
        return caller_behind(self._inner.peer())


def _with_callers(handler: Handler) -> Handler:
    """Return a handler of the same kind, synchronous where the servicer is, that gets a `_Context`."""
    kind = f"{_SHAPES[handler.request_streaming]}_{_SHAPES[handler.response_streaming]}"
    inner = getattr(handler, kind)
    if inspect.isasyncgenfunction(inner):

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401 - any message
            async for response in inner(request, _Context(context)):
                yield response

        behaviour: Callable[..., Any] = stream
    elif inspect.iscoroutinefunction(inner):

        async def unary(request: Any, context: Context) -> Any:  # noqa: ANN401 - any message
            return await inner(request, _Context(context))

        behaviour = unary
    else:

        def synchronous(request: Any, context: Context) -> Any:  # noqa: ANN401 - any message
            return inner(request, _Context(context))

        behaviour = synchronous
    return _of_kind(handler, behaviour, handler.request_deserializer)


def _assigning(handler: Handler, assign: Callable[[Message], None]) -> Handler:
    """Return the handler of one call whose message, the first of a stream, gets what the path captures.

    A capture that fits no field fails as a message does that does not parse.
    """
    deserializer = handler.request_deserializer or bytes
    first = True

    def deserialize(data: bytes) -> Any:  # noqa: ANN401 - any message
        nonlocal first
        message = deserializer(data)
        if first and isinstance(message, Message):
            first = False
            try:
                assign(message)
            except Refused:
                return deserializer(_NO_MESSAGE)
        return message

    kind = f"{_SHAPES[handler.request_streaming]}_{_SHAPES[handler.response_streaming]}"
    return _of_kind(handler, getattr(handler, kind), deserialize)


def _of_kind(handler: Handler, behaviour: Callable[..., Any], deserializer: Callable[[bytes], Any] | None) -> Handler:
    kind = f"{_SHAPES[handler.request_streaming]}_{_SHAPES[handler.response_streaming]}"
    make: Callable[..., Handler] = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(behaviour, request_deserializer=deserializer, response_serializer=handler.response_serializer)


_SHAPES: Final = {False: "unary", True: "stream"}
