"""gRPC-Web, binary and text: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md.

The status goes out in a trailers frame in the body for every call, also for one without a message: all clients read it
there, and a page of another origin can then read every trailer without each being exposed by CORS.
"""

import binascii
from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from gateway import _base64_stream as base64_stream
from gateway._codec import Codec
from gateway._compression import ACCEPTED, GZIP, IDENTITY, accepts_gzip, check_encoding, gzipped
from gateway._envelope import COMPRESSED, PREFIX_LENGTH, TRAILERS, pack
from gateway._enveloped import EnvelopedStream, read_enveloped
from gateway._grpc_trailers import grpc_trailers
from gateway._metadata import reply_headers
from gateway._protocol import End, Exchange, media_types, read_target, to_bytes, write_message
from gateway._timeout import parse_timeout
from gateway._types import Handler, Header, Headers, Metadata, Reply

_COMMON: Final[Headers] = [(b"cache-control", b"no-store"), (b"grpc-accept-encoding", ACCEPTED)]
_SUCCESS: Final = pack(b"grpc-status: 0\r\n", TRAILERS)
_COMPRESSED: Final[Header] = (b"grpc-encoding", GZIP)


class GRPCWeb:
    """gRPC-Web; `text` is its form in which all bytes of the body are base64."""

    always_posts = True
    trailers = None

    def __init__(self, codec: Codec, *, text: bool = False) -> None:
        self.name = "grpc-web-text" if text else "grpc-web"
        self.media_types: tuple[str, ...] = media_types(f"application/{self.name}", codec)
        self._text = text
        self._codec = codec
        self._native = codec.native

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
        if exchange.unframed and (message := read_target(exchange)) is not None:
            return message
        if self._text:
            body = base64_stream.decode(body)
        return read_enveloped(exchange, body, self._codec, exchange.head.get(b"grpc-encoding", IDENTITY))

    def request_stream(self, exchange: Exchange) -> EnvelopedStream:
        """See `CallProtocol.request_stream`."""
        armour = base64_stream.Base64Decoder() if self._text else None
        return EnvelopedStream(exchange, self._codec, exchange.head.get(b"grpc-encoding", IDENTITY), armour)

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401 - any message
        """See `CallProtocol.encode`."""
        return to_bytes(response, handler) if self._native else write_message(exchange, handler, response, self._codec)

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
        return accepts_gzip(head.get(b"grpc-accept-encoding", b""))

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
    """Give the trailers frame: `key: value` lines."""
    if end.code is grpc.StatusCode.OK and not end.details and not end.trailing:
        return _SUCCESS
    return pack(b"".join([b"%s: %s\r\n" % pair for pair in grpc_trailers(end)]), TRAILERS)
