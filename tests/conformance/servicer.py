"""The runner's ConformanceService, written against grpc.aio's ServicerContext alone: it cannot tell who called it.

What each method has to do stands beside it in connectrpc/conformance/v1/service.proto.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias, cast

import grpc
from connectrpc.conformance.v1 import service_pb2, service_pb2_grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Pairs: TypeAlias = tuple[tuple[str, str | bytes], ...]


class ConformanceServicer(service_pb2_grpc.ConformanceServiceServicer):  # type: ignore[misc] # made when tests run
    """Answers as each request asks to be answered; `Unimplemented` stays what the base class makes of it."""

    async def Unary(self, request: Any, context: Context) -> Any:
        return service_pb2.UnaryResponse(payload=await _one_response([request], context))

    async def IdempotentUnary(self, request: Any, context: Context) -> Any:
        return service_pb2.IdempotentUnaryResponse(payload=await _one_response([request], context))

    async def ClientStream(self, requests: AsyncIterator[Any], context: Context) -> Any:
        received = [request async for request in requests]
        return service_pb2.ClientStreamResponse(payload=await _one_response(received, context))

    async def ServerStream(self, request: Any, context: Context) -> AsyncIterator[Message]:
        definition = request.response_definition
        await _begin(definition, context)
        info: Message | None = _request_info([request], context)
        for data in definition.response_data:
            await _delay(definition)
            yield service_pb2.ServerStreamResponse(payload=_payload(data, info))
            info = None
        await _fail_if_asked(definition, info, context)

    async def BidiStream(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Message]:
        definition: Any = None
        full_duplex = False
        unanswered: list[Any] = []
        sent = 0
        async for request in requests:
            if definition is None:
                definition, full_duplex = request.response_definition, request.full_duplex
                await _begin(definition, context)
            unanswered.append(request)
            if not full_duplex:
                continue
            if sent >= len(definition.response_data):
                break
            await _delay(definition)
            payload = _payload(definition.response_data[sent], _request_info(unanswered, context))
            yield service_pb2.BidiStreamResponse(payload=payload)
            sent += 1
            unanswered = []
        if not unanswered and not sent:
            return
        info: Message | None = None if sent else _request_info(unanswered, context)
        for data in definition.response_data[sent:]:
            await _delay(definition)
            yield service_pb2.BidiStreamResponse(payload=_payload(data, info))
            info = None
        await _fail_if_asked(definition, info, context)


async def _one_response(requests: list[Any], context: Context) -> Message:
    info = _request_info(requests, context)
    if not requests:
        return _payload(b"", info)
    definition = requests[0].response_definition
    await _begin(definition, context)
    await _delay(definition)
    if definition.HasField("error"):
        await _fail_if_asked(definition, info, context)
    return _payload(definition.response_data, info)


async def _begin(definition: Any, context: Context) -> None:
    """Send the headers and set the trailers; replies to gzipped requests are gzipped too."""
    case = dict(_pairs(context)).get("x-test-case-name", "")
    if "COMPRESSION_GZIP" in str(case):
        context.set_compression(grpc.Compression.Gzip)
    context.set_trailing_metadata(_metadata(definition.response_trailers))
    await context.send_initial_metadata(_metadata(definition.response_headers))


async def _delay(definition: Any) -> None:
    await asyncio.sleep(definition.response_delay_ms / 1000)


async def _fail_if_asked(definition: Any, info: Message | None, context: Context) -> None:
    if not definition.HasField("error"):
        return
    error = definition.error
    details = [*error.details, *(() if info is None else (_packed(info),))]
    status = rpc_status.to_status(status_pb2.Status(code=error.code, message=error.message, details=details))
    trailing = (*_metadata(definition.response_trailers), *status.trailing_metadata)
    await context.abort(status.code, status.details, trailing)


def _payload(data: bytes, info: Message | None) -> Message:
    payload: Message = service_pb2.ConformancePayload(data=data, request_info=info)
    return payload


def _request_info(requests: Iterable[Message], context: Context) -> Message:
    values: dict[str, list[str]] = {}
    for key, value in _pairs(context):
        text = value if isinstance(value, str) else base64.b64encode(value).decode()
        values.setdefault(key, []).append(text)
    remaining = cast("float | None", context.time_remaining())  # None without a deadline, whatever its type says
    info: Message = service_pb2.ConformancePayload.RequestInfo(
        request_headers=[service_pb2.Header(name=key, value=texts) for key, texts in values.items()],
        timeout_ms=None if remaining is None else int(remaining * 1000),
        requests=[_packed(request) for request in requests],
    )
    return info


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _pairs(context: Context) -> Pairs:
    return tuple(context.invocation_metadata() or ())


def _metadata(headers: Iterable[Any]) -> Pairs:
    return tuple(
        (header.name, base64.b64decode(value) if header.name.endswith("-bin") else value)
        for header in headers
        for value in header.value
    )
