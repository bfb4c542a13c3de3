"""INVALID_ARGUMENT for a message that does not parse on the native listener, where grpc.aio alone says UNKNOWN."""

import functools
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from server.errors import status
from server.interceptors.errors import abort
from server.interceptors.layers import Behaviour, Context, Deserializer, Layer, responses


class _Undecodable:
    """Stands in for a message that does not parse, until the behaviour would have run."""


_UNDECODABLE = _Undecodable()
_STATUS = status(code_pb2.INVALID_ARGUMENT, "the message is not a valid encoding of the request's type")


class Undecodable(Layer):
    """The innermost layer, so that such a call is authenticated and logged as any other."""

    def deserializer(self, inner: Deserializer) -> Deserializer:
        """Return one that cannot fail before the behaviour does."""
        return functools.partial(_deserialize, inner)

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


def _deserialize(deserializer: Deserializer, data: bytes) -> Any:
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
