"""gRPC itself: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.

The status goes out in HTTP trailers, so the host must offer them (`http.response.trailers` in the ASGI scope) and the
caller must take them (`te: trailers`); `Gateway` sees to both. Every reply is headers, body and trailers, also where
the body is empty: hosts exist that lose a reply of trailers alone.
"""

from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from gateway._codec import Codec
from gateway._compression import ACCEPTED, GZIP, IDENTITY, accepts_gzip, check_encoding, gzipped
from gateway._envelope import COMPRESSED, PREFIX_LENGTH, pack
from gateway._enveloped import EnvelopedStream, read_enveloped
from gateway._grpc_trailers import grpc_trailers
from gateway._metadata import reply_headers
from gateway._protocol import End, Exchange, media_types, read_target, to_bytes, write_message
from gateway._timeout import parse_timeout
from gateway._types import Handler, Header, Headers, Metadata, Reply

_COMMON: Final[Headers] = [(b"cache-control", b"no-store"), (b"grpc-accept-encoding", ACCEPTED)]
_COMPRESSED: Final[Header] = (b"grpc-encoding", GZIP)


class GRPC:
    """gRPC over an HTTP host with trailers."""

    name = "grpc"
    always_posts = True
    trailers = staticmethod(grpc_trailers)

    def __init__(self, codec: Codec) -> None:
        self.media_types: tuple[str, ...] = media_types("application/grpc", codec)
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
        return max_message_bytes + PREFIX_LENGTH

    def read_unary(self, exchange: Exchange, body: bytes) -> bytes | Message:
        """See `CallProtocol.read_unary`."""
        if exchange.unframed and (message := read_target(exchange)) is not None:
            return message
        return read_enveloped(exchange, body, self._codec, exchange.head.get(b"grpc-encoding", IDENTITY))

    def request_stream(self, exchange: Exchange) -> EnvelopedStream:
        """See `CallProtocol.request_stream`."""
        return EnvelopedStream(exchange, self._codec, exchange.head.get(b"grpc-encoding", IDENTITY))

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401 - any message
        """See `CallProtocol.encode`."""
        return to_bytes(response, handler) if self._native else write_message(exchange, handler, response, self._codec)

    def unary_reply(self, exchange: Exchange, message: bytes | None, end: End, *, compress: bool) -> Reply:
        """See `CallProtocol.unary_reply`."""
        body = b"" if message is None else self.stream_message(exchange, message, compress=compress)
        return Reply(200, self._headers(exchange, end.initial, compress=compress), body, grpc_trailers(end))

    def stream_start(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Reply:
        """See `CallProtocol.stream_start`."""
        return Reply(200, self._headers(exchange, initial, compress=compress))

    def stream_message(self, exchange: Exchange, message: bytes, *, compress: bool) -> bytes:  # noqa: ARG002
        """See `CallProtocol.stream_message`."""
        return pack(gzipped(message), COMPRESSED) if compress else pack(message)

    def stream_end(self, exchange: Exchange, end: End) -> bytes:  # noqa: ARG002
        """See `CallProtocol.stream_end`: the body just ends."""
        return b""

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
            return Reply(200, [(b"content-type", media_type), *_COMMON, *headers], b"", grpc_trailers(end))
        return Reply(http_status, [(b"content-length", b"0"), (b"cache-control", b"no-store"), *headers])

    def _headers(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Headers:
        headers = [(b"content-type", exchange.media_type), *_COMMON, *exchange.reply_headers]
        if compress:
            headers.append(_COMPRESSED)
        if initial:
            headers += reply_headers(initial)
        return headers
