"""Plain JSON over HTTP.

On the path of a `google.api.http` rule as the rule says, on an RPC path with the whole message as body. A failed call
is `{code, message, details[]}` (google.rpc.Status) with the HTTP status of its code. Initial metadata go out as
headers. A reply has no trailers of its own: trailing metadata go out as headers too, each with `grpc-trailer-` before
it.
"""

from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from gateway._codec import JSONCodec, UnknownFields
from gateway._metadata import reply_headers
from gateway._protocol import End, Exchange, RequestStream, to_message
from gateway._status import DETAILS_KEY, HTTP_STATUS, refused, status_json
from gateway._timeout import parse_timeout
from gateway._types import Handler, Header, Headers, Metadata, Reply

TRAILER_PREFIX: Final = "grpc-trailer-"

_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_COMMON: Final[Headers] = [(b"content-type", b"application/json"), _NO_STORE]
# RFC 9110, 11.6.1: a 401 names a scheme.
_CHALLENGE: Final[Header] = (b"www-authenticate", b"Bearer")


class PlainJSON:
    """Proto3 JSON, one message each way."""

    name = "json"
    media_types: tuple[str, ...] = ("application/json",)
    always_posts = False

    def __init__(self, unknown_fields: UnknownFields) -> None:
        self._codec = JSONCodec(unknown_fields)

    def timeout(self, head: Mapping[bytes, bytes]) -> float | None:
        """See `CallProtocol.timeout`: the header that grpc-gateway reads, `Grpc-Timeout`."""
        value = head.get(b"grpc-timeout")
        return None if value is None else parse_timeout(value)

    def check(self, exchange: Exchange, handler: Handler) -> None:
        """See `CallProtocol.check`."""
        if handler.request_streaming or handler.response_streaming:
            raise refused(grpc.StatusCode.UNIMPLEMENTED, "a streaming method cannot be called with JSON; gRPC-Web can")
        if exchange.head.get(b"content-encoding", b"identity").lower() != b"identity":
            raise refused(grpc.StatusCode.INVALID_ARGUMENT, "the body must not be compressed", 415)

    def body_limit(self, max_message_bytes: int) -> int:
        """See `CallProtocol.body_limit`."""
        return max_message_bytes

    def read_unary(self, exchange: Exchange, body: bytes) -> bytes | Message:
        """See `CallProtocol.read_unary`."""
        route = exchange.route
        request_class = route.method.request_class
        if request_class is None:
            raise refused(grpc.StatusCode.UNIMPLEMENTED, "the message types of this method are not known here", 415)
        message = request_class()
        route.read(message, body, exchange.captures, exchange.query, self._codec)
        return message

    def request_stream(self, exchange: Exchange) -> RequestStream:
        """See `CallProtocol.request_stream`; `check` refuses such calls."""
        raise NotImplementedError

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401 - any message
        """See `CallProtocol.encode`."""
        route = exchange.route
        message = to_message(response, route.method, handler)
        if route.response_body is not None:
            return self._codec.encode_field(message, route.response_body)
        return self._codec.encode(message)

    def unary_reply(self, exchange: Exchange, message: bytes | None, end: End, *, compress: bool) -> Reply:  # noqa: ARG002
        """See `CallProtocol.unary_reply`."""
        status = end.http_status or HTTP_STATUS[end.code]
        body = status_json(end.code, end.details, end.trailing) if message is None else message
        headers = [*_COMMON, (b"content-length", b"%d" % len(body)), *exchange.reply_headers]
        if end.code is grpc.StatusCode.UNAUTHENTICATED:
            headers.append(_CHALLENGE)
        if end.initial:
            headers += reply_headers(end.initial)
        if end.trailing:
            headers += reply_headers(tuple(pair for pair in end.trailing if pair[0] != DETAILS_KEY), TRAILER_PREFIX)
        return Reply(status, headers, body)

    def stream_start(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Reply:
        """See `CallProtocol.stream_start`; `check` refuses such calls."""
        raise NotImplementedError

    def stream_message(self, exchange: Exchange, message: bytes, *, compress: bool) -> bytes:
        """See `CallProtocol.stream_message`; `check` refuses such calls."""
        raise NotImplementedError

    def stream_end(self, exchange: Exchange, end: End) -> bytes:
        """See `CallProtocol.stream_end`; `check` refuses such calls."""
        raise NotImplementedError

    def accepts_compression(self, head: Mapping[bytes, bytes]) -> bool:  # noqa: ARG002
        """See `CallProtocol.accepts_compression`."""
        return False

    def refusal(
        self,
        http_status: int,
        code: grpc.StatusCode,
        message: str,
        media_type: bytes,  # noqa: ARG002
        headers: Headers,
    ) -> Reply:
        """See `CallProtocol.refusal`."""
        body = status_json(code, message)
        return Reply(http_status, [*_COMMON, (b"content-length", b"%d" % len(body)), *headers], body)
