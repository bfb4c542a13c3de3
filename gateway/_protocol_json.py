"""Plain JSON over HTTP.

On the path of a `google.api.http` rule as the rule says, on an RPC path with the whole message as body. A failed call
is `{code, message, details[]}` (google.rpc.Status) with the HTTP status of its code. Initial metadata go out as
headers. A reply has no trailers of its own: trailing metadata go out as headers too, each with `grpc-trailer-` before
it; those of a stream, whose headers are gone by then, do not go out.

Streams are newline-delimited JSON both ways (see `_json_lines`); path and query go into each message of a request.
What fails before the first message has its HTTP status.

Where a rule's body or reply is a google.api.HttpBody, the bytes travel as they are, with their own content type
(https://github.com/googleapis/googleapis/blob/master/google/api/httpbody.proto). In a streaming request each piece as
it arrives is a message; in a streaming reply the data follow each other with the content type of the first, and one
that fails later is cut off, as HTTP has it, since nothing in it could be told from data.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from gateway import _json_lines as json_lines
from gateway._codec import JSONCodec, UnknownFields
from gateway._content_coding import (
    CODINGS,
    WORTHWHILE,
    ContentDecoder,
    StreamPacker,
    choose,
    decoder_of,
    is_compressible,
    packed,
    unpacked,
)
from gateway._metadata import reply_headers
from gateway._protocol import End, Exchange, RequestStream, to_message
from gateway._status import DETAILS_KEY, HTTP_STATUS, refused, status_json
from gateway._timeout import parse_timeout
from gateway._types import Handler, Header, Headers, Metadata, Reply

TRAILER_PREFIX: Final = "grpc-trailer-"

_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_COMMON: Final[Headers] = [(b"content-type", b"application/json"), _NO_STORE]
_VARY: Final = b"Accept-Encoding"
# RFC 9110, 12.5.3: a 415 for its coding names those that are taken.
_ACCEPT_ENCODING: Final[Header] = (b"accept-encoding", CODINGS)
_JSON: Final = b"application/json"
_JSON_LINES: Final = json_lines.MEDIA_TYPE.encode()
_BYTES: Final = b"application/octet-stream"
_CONTENT_TYPE: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]*")
_UNSUPPORTED_MEDIA_TYPE: Final = 415
# RFC 9110, 11.6.1: a 401 names a scheme.
_CHALLENGE: Final[Header] = (b"www-authenticate", b"Bearer")


class PlainJSON:
    """Proto3 JSON: one message, or one a line."""

    name = "json"
    media_types: tuple[str, ...] = ("application/json", json_lines.MEDIA_TYPE)
    always_posts = False
    trailers = None

    def __init__(self, unknown_fields: UnknownFields) -> None:
        self._codec = JSONCodec(unknown_fields)

    def timeout(self, head: Mapping[bytes, bytes]) -> float | None:
        """See `CallProtocol.timeout`: the header that grpc-gateway reads, `Grpc-Timeout`."""
        value = head.get(b"grpc-timeout")
        return None if value is None else parse_timeout(value)

    def check(self, exchange: Exchange, handler: Handler) -> None:  # noqa: ARG002 - carries calls of every kind
        """See `CallProtocol.check`."""
        if exchange.route.method.request_class is None:
            raise refused(grpc.StatusCode.UNIMPLEMENTED, "the message types of this method are not known here", 415)
        decoder_of(exchange.head.get(b"content-encoding"))
        exchange.compresses_unasked = True

    def body_limit(self, max_message_bytes: int) -> int:
        """See `CallProtocol.body_limit`."""
        return max_message_bytes

    def read_unary(self, exchange: Exchange, body: bytes) -> bytes | Message:
        """See `CallProtocol.read_unary`."""
        if exchange.route.body is not None and b"content-encoding" in exchange.head:
            decoder = decoder_of(exchange.head[b"content-encoding"])
            if decoder is not None:
                body = unpacked(body, decoder, exchange.max_message_bytes)
        return self.read_message(exchange, body)

    def read_message(self, exchange: Exchange, body: bytes) -> Message:
        """Give a message, whose body is not compressed any more.

        Raises:
            Refused: INVALID_ARGUMENT, naming the first field that does not fit.
        """
        route = exchange.route
        message: Message = exchange.route.method.request_class()  # type: ignore[misc] # `check` has seen that it is there
        if route.raw_request:
            route.read_raw(message, body, exchange.head.get(b"content-type", b"").decode("latin-1"))
            route.read_target(message, exchange.captures, exchange.query, ignore_unknown=self._codec.ignore_unknown)
        else:
            route.read(message, body, exchange.captures, exchange.query, self._codec)
        return message

    def request_stream(self, exchange: Exchange) -> RequestStream:
        """See `CallProtocol.request_stream`."""
        return _RequestStream(self, exchange)

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401 - any message
        """See `CallProtocol.encode`."""
        route = exchange.route
        message = to_message(response, route.method, handler)
        if route.raw_response:
            return _raw(exchange, message)
        if route.response_body is not None:
            return self._codec.encode_field(message, route.response_body)
        return self._codec.encode(message)

    def unary_reply(self, exchange: Exchange, message: bytes | None, end: End, *, compress: bool) -> Reply:
        """See `CallProtocol.unary_reply`."""
        status = end.http_status or HTTP_STATUS[end.code]
        content_type = _JSON
        if message is None:
            body = status_json(end.code, end.details, end.trailing)
        else:
            body = message
            content_type = exchange.content_type or _JSON
        coding: bytes | None = None
        if compress and len(body) >= WORTHWHILE and is_compressible(content_type):
            coding = choose(exchange.head.get(b"accept-encoding", b""))
            if coding is not None:
                body = packed(body, coding)
        headers = _headers(exchange, content_type, coding)
        headers.append((b"content-length", b"%d" % len(body)))
        if end.code is grpc.StatusCode.UNAUTHENTICATED:
            headers.append(_CHALLENGE)
        if status == _UNSUPPORTED_MEDIA_TYPE:
            headers.append(_ACCEPT_ENCODING)
        if end.initial:
            headers += reply_headers(end.initial)
        if end.trailing:
            headers += reply_headers(tuple(pair for pair in end.trailing if pair[0] != DETAILS_KEY), TRAILER_PREFIX)
        return Reply(status, headers, body)

    def stream_start(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Reply:
        """See `CallProtocol.stream_start`."""
        content_type = (exchange.content_type or _BYTES) if exchange.route.raw_response else _JSON_LINES
        coding: bytes | None = None
        if compress and is_compressible(content_type):
            coding = choose(exchange.head.get(b"accept-encoding", b""))
            if coding is not None:
                exchange.packer = StreamPacker(coding)
        headers = _headers(exchange, content_type, coding)
        if initial:
            headers += reply_headers(initial)
        return Reply(200, headers)

    def stream_message(self, exchange: Exchange, message: bytes, *, compress: bool) -> bytes:  # noqa: ARG002
        """See `CallProtocol.stream_message`; a coding is that of the whole body, so no message can go without."""
        piece = message if exchange.route.raw_response else json_lines.result_line(message)
        return piece if exchange.packer is None else exchange.packer.pack(piece)

    def stream_end(self, exchange: Exchange, end: End) -> bytes | None:
        """See `CallProtocol.stream_end`."""
        last = b""
        if end.code is not grpc.StatusCode.OK:
            if exchange.route.raw_response:
                return None
            last = json_lines.error_line(status_json(end.code, end.details, end.trailing))
        if exchange.packer is None:
            return last
        return (exchange.packer.pack(last) if last else b"") + exchange.packer.finish()

    def accepts_compression(self, head: Mapping[bytes, bytes]) -> bool:
        """See `CallProtocol.accepts_compression`."""
        return b"accept-encoding" in head

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


def _headers(exchange: Exchange, content_type: bytes, coding: bytes | None) -> Headers:
    vary = _VARY
    headers = [(b"content-type", content_type), _NO_STORE]
    for header in exchange.reply_headers:
        if header[0] == b"vary":
            vary += b", " + header[1]
        else:
            headers.append(header)
    headers.append((b"vary", vary))
    if coding is not None:
        headers.append((b"content-encoding", coding))
    return headers


def _raw(exchange: Exchange, message: Message) -> bytes:
    """Give the data of the google.api.HttpBody that a reply is or has, and keep its type for the headers."""
    field = exchange.route.response_body
    body: Any = message if field is None else getattr(message, field.name)
    content_type: str = body.content_type
    if content_type and _CONTENT_TYPE.fullmatch(content_type) is None:
        raise ValueError(f"{content_type!r} is no content type")
    exchange.content_type = content_type.encode("ascii") or _BYTES
    data: bytes = body.data
    return data


class _RequestStream:
    """The messages of a streaming request: lines of JSON, or bytes as they come, or one from path and query alone."""

    __slots__ = ("_decoder", "_empty", "_exchange", "_lines", "_protocol")

    def __init__(self, protocol: PlainJSON, exchange: Exchange) -> None:
        self._protocol = protocol
        self._exchange = exchange
        self._decoder: ContentDecoder | None = decoder_of(exchange.head.get(b"content-encoding"))
        self._lines = json_lines.LineReader(exchange.max_message_bytes)
        self._empty = True

    def feed(self, data: bytes) -> Iterator[bytes | Message]:
        """See `RequestStream.feed`."""
        if self._exchange.route.body is None:
            return
        for piece in (data,) if self._decoder is None else self._decoder.pieces(data):
            yield from self._messages(piece)

    def finish(self) -> Iterator[bytes | Message]:
        """See `RequestStream.finish`."""
        route = self._exchange.route
        if self._decoder is not None and route.body is not None:
            self._decoder.finish()
        if route.body is None or (route.raw_request and self._empty):
            yield self._protocol.read_message(self._exchange, b"")
        elif not route.raw_request:
            for line in self._lines.finish():
                yield self._protocol.read_message(self._exchange, line)

    def _messages(self, piece: bytes) -> Iterator[Message]:
        if not self._exchange.route.raw_request:
            for line in self._lines.feed(piece):
                yield self._protocol.read_message(self._exchange, line)
            return
        limit = self._exchange.max_message_bytes
        for start in range(0, len(piece), limit):
            self._empty = False
            yield self._protocol.read_message(self._exchange, piece[start : start + limit])
