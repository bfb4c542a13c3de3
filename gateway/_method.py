"""One RPC as the gateway knows it, and the handler that it runs."""

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from gateway._status import Status
from gateway._types import Handler

Behaviour = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in for a request that could not be read, so that it fails inside the interceptors and not before them."""

    status: Status


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC; the message classes are None where no descriptor of its service is known."""

    path: str
    handler: Handler
    request_class: type[Message] | None = None
    response_class: type[Message] | None = None

    def __str__(self) -> str:
        return self.path


def guarded(handler: Handler) -> Handler:
    """Wrap a servicer's handler: an `Unreadable` ends the call with its status, and never reaches the servicer.

    The result is asynchronous also where the servicer's method is not: that one runs in the loop's thread pool.
    """
    if handler.response_streaming:
        wrapped = _guarded_stream(_behaviour(handler))
    else:
        wrapped = _guarded_unary(_behaviour(handler))
    return _FACTORIES[handler.request_streaming, handler.response_streaming](
        wrapped, handler.request_deserializer, handler.response_serializer
    )


_FACTORIES: Final[dict[tuple[bool, bool], Callable[..., Handler]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _behaviour(handler: Handler) -> Behaviour:
    if handler.request_streaming:
        behaviour = handler.stream_stream if handler.response_streaming else handler.stream_unary
    else:
        behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
    if behaviour is None:
        raise ValueError("a method handler has no behaviour of its own kind")
    return behaviour


def _guarded_unary(behaviour: Behaviour) -> Behaviour:
    if not is_async(behaviour):

        async def unary(request: object, context: Any) -> Any:  # noqa: ANN401 - any message, any context
            if isinstance(request, Unreadable):
                await context.abort_with_status(request.status)
            return await call_in_thread(behaviour, request, context)

        return unary

    async def unary_async(request: object, context: Any) -> Any:  # noqa: ANN401 - any message, any context
        if isinstance(request, Unreadable):
            await context.abort_with_status(request.status)
        return await behaviour(request, context)

    return unary_async


def _guarded_stream(behaviour: Behaviour) -> Behaviour:
    async def stream(request: object, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - any message, any context
        if isinstance(request, Unreadable):
            await context.abort_with_status(request.status)
        async for response in call_stream(behaviour, request, context):
            yield response

    return stream


def is_async(behaviour: Behaviour) -> bool:
    """Say whether grpc.aio would run this in the event loop: a coroutine function or an asynchronous generator."""
    try:
        return _is_async(behaviour)
    except TypeError:  # it has no hash
        return _is_async.__wrapped__(behaviour)


# Asked for every call, and inspect takes 7 µs to say.
@lru_cache(maxsize=4096)
def _is_async(behaviour: Behaviour) -> bool:
    call = behaviour if inspect.isroutine(behaviour) else getattr(behaviour, "__call__", behaviour)  # noqa: B004
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in (behaviour, call))


async def call_in_thread(behaviour: Behaviour, request: object, context: Any) -> Any:  # noqa: ANN401 - any message
    """Run a behaviour that gives one response and is not asynchronous."""
    loop = asyncio.get_running_loop()
    return await _in_thread(behaviour, _blocking_request(request, loop), SyncServicerContext(context, loop))


async def call_stream(behaviour: Behaviour, request: object, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401
    """Run a behaviour that gives a stream: a generator of either kind, or a coroutine that calls `context.write`."""
    if is_async(behaviour):
        result = behaviour(request, context)
        if inspect.isawaitable(result):
            result = await result
        if result is not None:
            async for response in result:
                yield response
        return
    loop = asyncio.get_running_loop()
    iterator = await _in_thread(behaviour, _blocking_request(request, loop), SyncServicerContext(context, loop))
    if iterator is None:
        return
    iterator = iter(iterator)
    while (response := await _in_thread(next, iterator, _END)) is not _END:
        yield response


_END: Final = object()
_Result = TypeVar("_Result")


async def _in_thread(function: Callable[..., _Result], *arguments: object) -> _Result:
    run = contextvars.copy_context().run
    return await asyncio.get_running_loop().run_in_executor(None, run, function, *arguments)


def _blocking_request(request: object, loop: asyncio.AbstractEventLoop) -> object:
    return _blocking(request, loop) if isinstance(request, AsyncIterator) else request


def _blocking(requests: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    async def read() -> Any:  # noqa: ANN401 - any message
        return await anext(requests, _END)

    while (request := asyncio.run_coroutine_threadsafe(read(), loop).result()) is not _END:
        yield request


class SyncServicerContext:
    """The context of a call for a servicer's method that runs in a thread: what is awaited elsewhere blocks here."""

    def __init__(self, context: Any, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ANN401 - may be wrapped
        self._context = context
        self._loop = loop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the context's own
        attribute = getattr(self._context, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        def call(*arguments: object, **keywords: object) -> object:
            return asyncio.run_coroutine_threadsafe(attribute(*arguments, **keywords), self._loop).result()

        return call

    def is_active(self) -> bool:
        """Say whether the call still runs, as grpc's synchronous context does."""
        return not self._context.done()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call back when the call has ended, as grpc's synchronous context does; False where it has."""
        if self._context.done():
            return False
        self._context.add_done_callback(lambda _: callback())
        return True
