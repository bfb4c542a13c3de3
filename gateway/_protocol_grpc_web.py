"""gRPC-Web, binary and text: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md.

The status goes out in a trailers frame in the body for every call, also for one without a message: all clients read it
there, and a page of another origin can then read every trailer without each being exposed by CORS.
"""

import binascii
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import grpc
from google.protobuf.message import Message

from gateway import _base64_stream as base64_stream
from gateway._codec import ProtobufCodec
from gateway._compression import ACCEPTED, GZIP, IDENTITY, check_encoding, decompress, gzipped
from gateway._envelope import COMPRESSED, PREFIX_LENGTH, TRAILERS, FrameReader, pack, read_one
from gateway._metadata import reply_headers, wire_pairs
from gateway._protocol import End, Exchange, to_bytes
from gateway._status import NUMBER
from gateway._timeout import parse_timeout
from gateway._types import Handler, Header, Headers, Metadata, Reply

_COMMON: Final[Headers] = [(b"cache-control", b"no-store"), (b"grpc-accept-encoding", ACCEPTED)]
_SUCCESS: Final = pack(b"grpc-status: 0\r\n", TRAILERS)
_COMPRESSED: Final[Header] = (b"grpc-encoding", GZIP)
# What grpc-message carries as it stands: printable ASCII without the percent sign.
_PLAIN_MESSAGE: Final = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")


class GRPCWeb:
    """gRPC-Web; `text` is its form in which all bytes of the body are base64."""

    always_posts = True

    def __init__(self, *, text: bool = False) -> None:
        self.name = "grpc-web-text" if text else "grpc-web"
        self.media_types: tuple[str, ...] = (f"application/{self.name}", f"application/{self.name}+proto")
        self._text = text
        self._codec = ProtobufCodec()

    def timeout(self, head: Mapping[bytes, bytes]) -> float | None:
        """See `CallProtocol.timeout`."""
        value = head.get(b"grpc-timeout")
        return None if value is None else parse_timeout(value)

    def check(self, exchange: Exchange, handler: Handler) -> None:  # noqa: ARG002 - carries calls of every kind
        """See `CallProtocol.check`."""
        encoding = exchange.head.get(b"grpc-encoding")
        if encoding is not None:
            check_encoding(encoding)

    def body_limit(self, max_message_bytes: int) -> int:
        """See `CallProtocol.body_limit`."""
        limit = max_message_bytes + PREFIX_LENGTH
        return limit // 3 * 4 + 8 if self._text else limit

    def read_unary(self, exchange: Exchange, body: bytes) -> bytes | Message:
        """See `CallProtocol.read_unary`."""
        route = exchange.route
        request_class = route.method.request_class
        if exchange.unframed and route.body is None and request_class is not None:
            message = request_class()
            route.read_target(message, exchange.captures, exchange.query, ignore_unknown=False)
            return message
        if self._text:
            body = base64_stream.decode(body)
        flags, payload = read_one(body, exchange.max_message_bytes)
        if flags & COMPRESSED:
            payload = decompress(payload, exchange.head.get(b"grpc-encoding", IDENTITY), exchange.max_message_bytes)
        if not exchange.captures or request_class is None:
            return payload
        message = request_class()
        self._codec.decode(payload, message)
        route.assign_captures(message, exchange.captures)
        return message

    def request_stream(self, exchange: Exchange) -> "_RequestStream":
        """See `CallProtocol.request_stream`."""
        return _RequestStream(exchange, text=self._text)

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401, ARG002
        """See `CallProtocol.encode`."""
        return to_bytes(response, handler)

    def unary_reply(self, exchange: Exchange, message: bytes | None, end: End, *, compress: bool) -> Reply:
        """See `CallProtocol.unary_reply`."""
        body = b"" if message is None else self._frame(message, compress=compress)
        if self._text:
            body = binascii.b2a_base64(body + _trailers(end), newline=False)
        else:
            body += _trailers(end)
        headers = self._headers(exchange, end.initial, compress=compress)
        headers.append((b"content-length", b"%d" % len(body)))
        return Reply(200, headers, body)

    def stream_start(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Reply:
        """See `CallProtocol.stream_start`."""
        return Reply(200, self._headers(exchange, initial, compress=compress))

    def stream_message(self, exchange: Exchange, message: bytes, *, compress: bool) -> bytes:  # noqa: ARG002
        """See `CallProtocol.stream_message`."""
        return self._armour(self._frame(message, compress=compress))

    def stream_end(self, exchange: Exchange, end: End) -> bytes:  # noqa: ARG002
        """See `CallProtocol.stream_end`."""
        return self._armour(_trailers(end))

    def accepts_compression(self, head: Mapping[bytes, bytes]) -> bool:
        """See `CallProtocol.accepts_compression`."""
        return GZIP in head.get(b"grpc-accept-encoding", b"").replace(b" ", b"").split(b",")

    def refusal(
        self,
        http_status: int,
        code: grpc.StatusCode,  # noqa: ARG002
        message: str,  # noqa: ARG002
        media_type: bytes,
        headers: Headers,
    ) -> Reply:
        """See `CallProtocol.refusal`: an unknown path ends as a call does, the others carry no body."""
        if http_status == 404:  # noqa: PLR2004 - as HTTP numbers it
            end = End(grpc.StatusCode.UNIMPLEMENTED, "no such method", (), ())
            body = self._armour(_trailers(end))
            own = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *_COMMON]
            return Reply(200, own + headers, body)
        return Reply(http_status, [(b"content-length", b"0"), (b"cache-control", b"no-store"), *headers])

    def _headers(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Headers:
        headers = [(b"content-type", exchange.media_type), *_COMMON, *exchange.reply_headers]
        if compress:
            headers.append(_COMPRESSED)
        if initial:
            headers += reply_headers(initial)
        return headers

    def _frame(self, message: bytes, *, compress: bool) -> bytes:
        return pack(gzipped(message), COMPRESSED) if compress else pack(message)

    def _armour(self, frame: bytes) -> bytes:
        return binascii.b2a_base64(frame, newline=False) if self._text else frame


def _trailers(end: End) -> bytes:
    """Give the trailers frame: `key: value` lines, keys in lower case, the message percent-encoded UTF-8."""
    if end.code is grpc.StatusCode.OK and not end.details and not end.trailing:
        return _SUCCESS
    lines = [b"grpc-status: %d\r\n" % NUMBER[end.code]]
    if end.details:
        message = quote(end.details, safe=_PLAIN_MESSAGE, errors="replace")
        lines.append(b"grpc-message: %s\r\n" % message.encode("ascii"))
    lines += [b"%s: %s\r\n" % pair for pair in wire_pairs(end.trailing) if pair[0] not in _STATUS_KEYS]
    return pack(b"".join(lines), TRAILERS)


_STATUS_KEYS: Final = (b"grpc-status", b"grpc-message")


class _RequestStream:
    __slots__ = ("_decoder", "_encoding", "_limit", "_reader")

    def __init__(self, exchange: Exchange, *, text: bool) -> None:
        self._decoder = base64_stream.Base64Decoder() if text else None
        self._encoding = exchange.head.get(b"grpc-encoding", IDENTITY)
        self._limit = exchange.max_message_bytes
        self._reader = FrameReader(self._limit)

    def feed(self, data: bytes) -> list[bytes]:
        if self._decoder is not None:
            data = self._decoder.feed(data)
        return [
            decompress(payload, self._encoding, self._limit) if flags & COMPRESSED else payload
            for flags, payload in self._reader.feed(data)
        ]

    def finish(self) -> list[bytes]:
        messages = self.feed_rest()
        self._reader.finish()
        return messages

    def feed_rest(self) -> list[bytes]:
        if self._decoder is None:
            return []
        rest, self._decoder = self._decoder.finish(), None
        return self.feed(rest)
