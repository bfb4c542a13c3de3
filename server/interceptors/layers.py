"""What stands around the behaviour of every RPC, of whichever of the four kinds it is, in layers."""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    # A layer looks into no message, so the types of messages stay open here.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # grpc's classes are generic in their published types only.
    Handler = grpc.RpcMethodHandler
    Context = grpc.aio.ServicerContext
Behaviour = Callable[[Any, Context], Any]
Deserializer = Callable[[bytes], Any]
Serializer = Callable[[Any], bytes]
# What is still to be waited for before a call may run.
Waiting = Callable[[], Awaitable[None]]
Opened = Callable[[grpc.HandlerCallDetails, Handler | None], Waiting | None]


class Layer:
    """Runs `unary` or `stream` in place of a behaviour; by default both only call it."""

    def opened(self, details: grpc.HandlerCallDetails, handler: Handler | None) -> Waiting | None:
        """Look at a call before its message is read; `handler` is None where no such RPC is served.

        What is returned is called and awaited before the call runs, if anything is and it does run.
        """

    async def unary(self, inner: Behaviour, request: Any, context: Context) -> Any:
        """Answer a call that has one response."""
        return await inner(request, context)

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Answer a call that has a stream of responses."""
        async for response in responses(inner, request, context):
            yield response

    def deserializer(self, inner: Deserializer) -> Deserializer:
        """Return what reads a handler's messages; by default what does without this layer."""
        return inner


class Layers(grpc.aio.ServerInterceptor):
    """All layers in one, the first outermost: an interceptor for the gateway; grpc.aio has `NativeMethods` around it.

    Each interceptor of its own would cost every call two more coroutines. A handler is wrapped when it is first met and
    kept, and a layer that leaves `unary` as it is takes no part in calls with one response.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._opened = tuple(layer.opened for layer in layers if type(layer).opened is not Layer.opened)
        # By identity: a handler is a tuple of its functions, and hashing all of them would cost more than the look-up.
        self._wrapped: dict[int, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the handler with its behaviour wrapped; None, as it comes, where no such RPC is served."""
        handler = await continuation(handler_call_details)
        waiting = self.open(handler_call_details, handler)
        if waiting is not None:
            await waiting()
        return None if handler is None else self.wrap(handler)

    def open(self, details: grpc.HandlerCallDetails, handler: Handler | None) -> Waiting | None:
        """Have every layer look at a call, as `Layer.opened` has it."""
        openings = iter(self._opened)
        for opened in openings:
            waiting = opened(details, handler)
            if waiting is not None:
                return functools.partial(_open_on, waiting, openings, details, handler)
        return None

    def around(self, behaviour: Behaviour, *, streaming: bool) -> Behaviour:
        """Return `behaviour` inside of the layers; `streaming` says that it gives a stream of responses."""
        for layer in reversed(self._layers):
            if streaming:
                behaviour = _streaming(layer, behaviour)
            elif type(layer).unary is not Layer.unary:
                behaviour = functools.partial(layer.unary, behaviour)
        return behaviour

    def wrap(self, handler: Handler) -> Handler:
        """Return `handler` with its behaviour inside of the layers."""
        known = self._wrapped.get(id(handler))
        if known is None:
            # The original is kept beside its wrapper: while it lives its id is its own.
            known = self._wrapped[id(handler)] = (handler, self._rewrap(handler))
        return known[1]

    def _rewrap(self, handler: Handler) -> Handler:
        deserializer = handler.request_deserializer
        for layer in reversed(self._layers):
            deserializer = deserializer and layer.deserializer(deserializer)
        behaviour = self.around(behaviour_of(handler), streaming=handler.response_streaming)
        return with_behaviour(handler, behaviour, deserializer, handler.response_serializer)


def behaviour_of(handler: Handler) -> Behaviour:
    """Return what a handler runs, of whichever kind it is."""
    behaviour: Behaviour = getattr(handler, _kind(handler))
    return behaviour


def with_behaviour(
    handler: Handler, behaviour: Behaviour, deserializer: Deserializer | None, serializer: Serializer | None
) -> Handler:
    """Return a handler of the same kind with all else another."""
    make: Callable[..., Handler] = getattr(grpc, f"{_kind(handler)}_rpc_method_handler")
    return make(behaviour, request_deserializer=deserializer, response_serializer=serializer)


def _kind(handler: Handler) -> str:
    request = "stream" if handler.request_streaming else "unary"
    return f"{request}_{'stream' if handler.response_streaming else 'unary'}"


async def _open_on(
    waiting: Waiting, openings: Iterator[Opened], details: grpc.HandlerCallDetails, handler: Handler | None
) -> None:
    await waiting()
    for opened in openings:
        then = opened(details, handler)
        if then is not None:
            await then()


def _streaming(layer: Layer, inner: Behaviour) -> Behaviour:
    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        async for response in layer.stream(inner, request, context):
            yield response

    return stream


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
