"""INVALID_ARGUMENT for a message that does not parse on the native listener, where grpc.aio alone says UNKNOWN."""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from server.errors import status
from server.interceptors.behaviour import Behaviour, BehaviourInterceptor, Context, Handler, responses, rewrap
from server.interceptors.errors import abort


class _Undecodable:
    """Stands in for a message that does not parse, until the behaviour would have run."""


_UNDECODABLE = _Undecodable()
_STATUS = status(code_pb2.INVALID_ARGUMENT, "the message is not a valid encoding of the request's type")


class UndecodableInterceptor(BehaviourInterceptor):
    """The innermost interceptor, so that such a call is authenticated and logged as any other."""

    def wrap(self, handler: Handler) -> Handler:
        """Return `handler` with a deserializer that cannot fail before the behaviour does."""
        known = self._wrapped.get(id(handler))
        if known is None:
            deserializer = handler.request_deserializer and functools.partial(
                _deserialize, handler.request_deserializer
            )
            known = self._wrapped[id(handler)] = (handler, rewrap(handler, self._around, deserializer=deserializer))
        return known[1]

    async def unary(self, inner: Behaviour, request: Any, context: Context) -> Any:
        """Refuse the stand-in; a stream of requests is handed on with its messages checked one by one."""
        if request is _UNDECODABLE:
            await abort(context, _STATUS)
        return await inner(_checked(request, context), context)

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Do the same for a stream of responses."""
        if request is _UNDECODABLE:
            await abort(context, _STATUS)
        async for response in responses(inner, _checked(request, context), context):
            yield response


def _deserialize(deserializer: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return deserializer(data)
    except DecodeError:
        return _UNDECODABLE


def _checked(request: Any, context: Context) -> Any:
    return _messages(request, context) if hasattr(request, "__aiter__") else request


async def _messages(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
    async for request in requests:
        if request is _UNDECODABLE:
            await abort(context, _STATUS)
        yield request
