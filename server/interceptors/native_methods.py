"""The RPCs of the native listener, as grpc.aio calls them: with the layers around them, and no interceptor.

grpc.aio asks a `grpc.GenericRpcHandler` what serves a call, and does so without a coroutine, where an interceptor is
two. So the one here finds the RPC and has the layers look at the call, and the behaviour that it gives runs them.
"""

import functools
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from gateway import EncodedOnce
from server.errors import status
from server.interceptors.errors import abort
from server.interceptors.layers import (
    Behaviour,
    Context,
    Deserializer,
    Handler,
    Layers,
    Serializer,
    Waiting,
    behaviour_of,
    responses,
    with_behaviour,
)
from server.interceptors.native_repeats import Repeats

_UNDECODABLE = status(code_pb2.INVALID_ARGUMENT, "the message is not a valid encoding of the request's type")


class NativeMethods(grpc.GenericRpcHandler):
    """Takes servicers as a server does, and is the one handler of a grpc.aio server.

        methods = NativeMethods(layers, repeat_by=["authorization"], repeat_regardless_of=["x-request-id"])
        add_SystemServiceServicer_to_server(SystemServicer(), methods)
        server = grpc.aio.server(handlers=[methods])

    `repeat_by` names all metadata that decide how a call that may be repeated is answered, `repeat_regardless_of` those
    that only `Repeatable.again` looks at.
    """

    def __init__(self, layers: Layers, *, repeat_by: Iterable[str], repeat_regardless_of: Iterable[str]) -> None:
        self._layers = layers
        self._by = frozenset(repeat_by)
        self._regardless = frozenset(repeat_regardless_of)
        self._added: list[grpc.GenericRpcHandler] = []
        # As many as there are RPCs: what a servicer is added with looks at the method alone.
        self._found: dict[str, Handler] = {}
        self._repeats: dict[str, Repeats] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add a servicer's handlers."""
        self._added.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Do nothing; generated code adds the same handlers by the other method before.

        grpc.aio waits anew, at each call, for one of each registered RPC: with eight of them that takes some 15 µs.
        """

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return what serves a call, None where nothing does."""
        method = handler_call_details.method
        repeats = self._repeats.get(method)
        if repeats is not None and (repeating := repeats.find(handler_call_details)) is not None:
            return repeating
        handler = self._found.get(method) or self._find(handler_call_details)
        waiting = self._layers.open(handler_call_details, handler)
        return handler if handler is None or waiting is None else _after(waiting, handler)

    def _find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        for added in self._added:
            handler = added.service(details)
            if handler is not None:
                found = self._found[details.method] = self._keep(details.method, _inside(self._layers, handler))
                return found
        return None

    def _keep(self, method: str, handler: Handler) -> Handler:
        if handler.request_streaming or handler.response_streaming:
            return handler
        repeats = self._repeats[method] = Repeats(method, handler, self._layers, self._by, self._regardless)
        return repeats.handler


def _inside(layers: Layers, handler: Handler) -> Handler:
    """Return `handler` inside of the layers, which are given a single message as bytes: a refused one is not parsed."""
    deserializer, serializer = handler.request_deserializer, handler.response_serializer
    decode = deserializer and functools.partial(_decode, deserializer)
    encode = serializer and functools.partial(_encode, serializer)
    run = _streaming if handler.response_streaming else _unary
    if handler.request_streaming:
        return with_behaviour(handler, run(layers, behaviour_of(handler), None), decode, encode)
    return with_behaviour(handler, run(layers, behaviour_of(handler), decode), None, encode)


def _unary(layers: Layers, behaviour: Behaviour, decode: Deserializer | None) -> Behaviour:
    async def decoded(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request if decode is None else decode(request), context)
        except _Undecodable:
            await abort(context, _UNDECODABLE)

    return layers.around(decoded, streaming=False)


def _streaming(layers: Layers, behaviour: Behaviour, decode: Deserializer | None) -> Behaviour:
    async def decoded(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async for response in responses(behaviour, request if decode is None else decode(request), context):
                yield response
        except _Undecodable:
            await abort(context, _UNDECODABLE)

    return layers.around(decoded, streaming=True)


def _after(waiting: Waiting, handler: Handler) -> Handler:
    """Return `handler` for one call, which runs when `waiting` is done."""
    behaviour = behaviour_of(handler)

    async def unary(request: Any, context: Context) -> Any:
        await waiting()
        return await behaviour(request, context)

    async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
        await waiting()
        async for response in behaviour(request, context):
            yield response

    run = streaming if handler.response_streaming else unary
    return with_behaviour(handler, run, handler.request_deserializer, handler.response_serializer)


class _Undecodable(Exception):
    """A message does not parse; grpc.aio alone would answer UNKNOWN."""


def _decode(deserializer: Deserializer, data: bytes) -> Any:
    try:
        return deserializer(data)
    except DecodeError:
        raise _Undecodable from None


def _encode(serializer: Serializer, response: Any) -> bytes:
    kind = type(response)
    if kind is bytes:
        # Of a call that repeats another.
        return response  # type: ignore[no-any-return]
    return response.encoded(serializer, serializer) if kind is EncodedOnce else serializer(response)
