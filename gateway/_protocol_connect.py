"""The Connect protocol: https://connectrpc.com/docs/protocol/.

A call with one message each way is a plain HTTP exchange: the message is the body, or for GET a query parameter, the
error has an HTTP status of its own, and trailing metadata are headers with `trailer-` before their names. Calls with
streams are enveloped as in gRPC-Web, always answer 200, and end with an envelope of JSON that holds error and trailing
metadata. Which of the two a method speaks follows from its kind; the other one's media type gets 415.

Replies that refuse an HTTP request as such (404, 405, 415) have no body: clients read their error from the status.
"""

import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import grpc
from google.protobuf.message import Message

from gateway._codec import Codec
from gateway._compression import GZIP, IDENTITY, accepts_gzip, check_encoding, decompress, gzipped
from gateway._envelope import COMPRESSED, PREFIX_LENGTH, pack
from gateway._enveloped import EnvelopedStream, read_enveloped
from gateway._metadata import encode_binary, reply_headers, wire_pairs
from gateway._protocol import End, Exchange, read_message, read_target, to_bytes, write_message
from gateway._status import DETAILS_KEY, HTTP_STATUS, details_of, invalid, refused
from gateway._timeout import parse_timeout_ms
from gateway._types import Handler, Header, Headers, Metadata, Reply

VERSION_HEADER: Final = b"connect-protocol-version"

_VERSION: Final = b"1"
_UNARY_TYPE: Final = "application/"
_STREAM_TYPE: Final = "application/connect+"
_TRAILER_PREFIX: Final = b"trailer-"
_END_OF_STREAM: Final = 0x02
_UNSUPPORTED: Final = 415
_NOTHING_TO_ADD: Final = pack(b"{}", _END_OF_STREAM)
_STATUS_KEYS: Final = ("grpc-status", "grpc-message", DETAILS_KEY)
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_EMPTY: Final[Header] = (b"content-length", b"0")
# RFC 9110, 11.6.1: a 401 names a scheme.
_CHALLENGE: Final[Header] = (b"www-authenticate", b"Bearer")

CODE: Final[Mapping[grpc.StatusCode, str]] = {
    **{code: code.name.lower() for code in grpc.StatusCode},
    grpc.StatusCode.CANCELLED: "canceled",
}


class ConnectUnary:
    """Connect for methods without streams; `get` is its form in which the query of a GET holds the message.

    `codecs` are those that the protocol is spoken with, for a caller that has taken the other form's media type.
    """

    name = "connect"
    always_posts = True
    trailers = None

    def __init__(self, codec: Codec, codecs: Sequence[Codec], *, get: bool = False) -> None:
        self.media_types: tuple[str, ...] = (_UNARY_TYPE + codec.name,)
        self._codec = codec
        self._native = codec.native
        self._get = get
        self._accept_post = _accept_post(_STREAM_TYPE, codecs)
        self._common: Headers = [(b"accept-encoding", GZIP), _NO_STORE]
        if get:
            self._common.append((b"vary", b"Accept-Encoding"))

    def timeout(self, head: Mapping[bytes, bytes]) -> float | None:
        """See `CallProtocol.timeout`."""
        return _timeout(head)

    def check(self, exchange: Exchange, handler: Handler) -> None:
        """See `CallProtocol.check`."""
        if handler.request_streaming or handler.response_streaming:
            raise _wrong_media_type("a method with streams takes application/connect+ and its codec")
        _check_version(exchange.head)
        if self._get:
            return
        encoding = exchange.head.get(b"content-encoding")
        if encoding is not None:
            check_encoding(encoding.lower(), "content-encoding")

    def body_limit(self, max_message_bytes: int) -> int:
        """See `CallProtocol.body_limit`."""
        return max_message_bytes

    def read_unary(self, exchange: Exchange, body: bytes) -> bytes | Message:
        """See `CallProtocol.read_unary`."""
        if self._get:
            return self._read_query(exchange, body)
        if exchange.unframed and (message := read_target(exchange)) is not None:
            return message
        return self._read(exchange, body, exchange.head.get(b"content-encoding", IDENTITY).lower())

    def _read(self, exchange: Exchange, data: bytes, encoding: bytes) -> bytes | Message:
        if data and encoding != IDENTITY:
            data = decompress(data, encoding, exchange.max_message_bytes, grpc.StatusCode.INVALID_ARGUMENT)
        return read_message(exchange, data, self._codec)

    def _read_query(self, exchange: Exchange, body: bytes) -> bytes | Message:
        if body:
            raise invalid("a GET has its message in the query and no body")
        parameters = query_parameters(exchange.query)
        if parameters.get(b"encoding") != self._codec.name.encode():
            raise _wrong_media_type("the query names no encoding that is served")
        encoding = parameters.get(b"compression", IDENTITY)
        check_encoding(encoding, "compression")
        data = parameters.get(b"message")
        if data is None:
            raise invalid("the query has no message")
        if parameters.get(b"base64") == b"1":
            data = _decode_urlsafe(data)
        if len(data) > exchange.max_message_bytes:
            raise refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"the message has more than {exchange.max_message_bytes} bytes"
            )
        return self._read(exchange, data, encoding)

    def request_stream(self, exchange: Exchange) -> EnvelopedStream:
        """See `CallProtocol.request_stream`; `check` refuses such calls."""
        raise NotImplementedError

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401 - any message
        """See `CallProtocol.encode`."""
        return to_bytes(response, handler) if self._native else write_message(exchange, handler, response, self._codec)

    def unary_reply(self, exchange: Exchange, message: bytes | None, end: End, *, compress: bool) -> Reply:
        """See `CallProtocol.unary_reply`."""
        if message is None:
            return self._failure(exchange, end)
        body = gzipped(message) if compress else message
        headers = [
            (b"content-type", exchange.media_type),
            (b"content-length", b"%d" % len(body)),
            *self._common,
            *exchange.reply_headers,
        ]
        if compress:
            headers.append((b"content-encoding", GZIP))
        return Reply(200, _with_metadata(headers, end), body)

    def _failure(self, exchange: Exchange, end: End) -> Reply:
        headers = [*self._common, *exchange.reply_headers]
        if end.http_status == _UNSUPPORTED:
            return Reply(_UNSUPPORTED, [_EMPTY, self._accept_post, *headers])
        body = _json(_error(end))
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if end.code is grpc.StatusCode.UNAUTHENTICATED:
            headers.append(_CHALLENGE)
        return Reply(HTTP_STATUS[end.code], _with_metadata(headers, end), body)

    def stream_start(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Reply:
        """See `CallProtocol.stream_start`; `check` refuses such calls."""
        raise NotImplementedError

    def stream_message(self, exchange: Exchange, message: bytes, *, compress: bool) -> bytes:
        """See `CallProtocol.stream_message`; `check` refuses such calls."""
        raise NotImplementedError

    def stream_end(self, exchange: Exchange, end: End) -> bytes:
        """See `CallProtocol.stream_end`; `check` refuses such calls."""
        raise NotImplementedError

    def accepts_compression(self, head: Mapping[bytes, bytes]) -> bool:
        """See `CallProtocol.accepts_compression`."""
        return _accepts_gzip(head, b"accept-encoding", b"content-encoding")

    def refusal(
        self,
        http_status: int,
        code: grpc.StatusCode,  # noqa: ARG002
        message: str,  # noqa: ARG002
        media_type: bytes,  # noqa: ARG002
        headers: Headers,
    ) -> Reply:
        """See `CallProtocol.refusal`."""
        return _empty(http_status, headers)


class ConnectStream:
    """Connect for methods with a stream on either side, or on both; `codecs` as for `ConnectUnary`."""

    name = "connect"
    always_posts = True
    trailers = None

    def __init__(self, codec: Codec, codecs: Sequence[Codec]) -> None:
        self.media_types: tuple[str, ...] = (_STREAM_TYPE + codec.name,)
        self._codec = codec
        self._native = codec.native
        self._accept_post = _accept_post(_UNARY_TYPE, codecs)

    def timeout(self, head: Mapping[bytes, bytes]) -> float | None:
        """See `CallProtocol.timeout`."""
        return _timeout(head)

    def check(self, exchange: Exchange, handler: Handler) -> None:
        """See `CallProtocol.check`."""
        if not handler.request_streaming and not handler.response_streaming:
            raise _wrong_media_type("a method without streams takes application/ and its codec")
        _check_version(exchange.head)
        encoding = exchange.head.get(b"connect-content-encoding")
        if encoding is not None:
            check_encoding(encoding, "connect-content-encoding")

    def body_limit(self, max_message_bytes: int) -> int:
        """See `CallProtocol.body_limit`."""
        return max_message_bytes + PREFIX_LENGTH

    def read_unary(self, exchange: Exchange, body: bytes) -> bytes | Message:
        """See `CallProtocol.read_unary`."""
        if exchange.unframed and (message := read_target(exchange)) is not None:
            return message
        return read_enveloped(exchange, body, self._codec, exchange.head.get(b"connect-content-encoding", IDENTITY))

    def request_stream(self, exchange: Exchange) -> EnvelopedStream:
        """See `CallProtocol.request_stream`."""
        return EnvelopedStream(exchange, self._codec, exchange.head.get(b"connect-content-encoding", IDENTITY))

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401 - any message
        """See `CallProtocol.encode`."""
        return to_bytes(response, handler) if self._native else write_message(exchange, handler, response, self._codec)

    def unary_reply(self, exchange: Exchange, message: bytes | None, end: End, *, compress: bool) -> Reply:
        """See `CallProtocol.unary_reply`."""
        if end.http_status == _UNSUPPORTED:
            return Reply(_UNSUPPORTED, [_EMPTY, self._accept_post, _NO_STORE, *exchange.reply_headers])
        body = b"" if message is None else self.stream_message(exchange, message, compress=compress)
        body += _end_of_stream(end)
        start = self.stream_start(exchange, end.initial, compress=compress)
        return Reply(200, [*start.headers, (b"content-length", b"%d" % len(body))], body)

    def stream_start(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Reply:
        """See `CallProtocol.stream_start`."""
        headers = [
            (b"content-type", exchange.media_type),
            (b"connect-accept-encoding", GZIP),
            _NO_STORE,
            *exchange.reply_headers,
        ]
        if compress:
            headers.append((b"connect-content-encoding", GZIP))
        return Reply(200, headers + reply_headers(initial))

    def stream_message(self, exchange: Exchange, message: bytes, *, compress: bool) -> bytes:  # noqa: ARG002
        """See `CallProtocol.stream_message`."""
        return pack(gzipped(message), COMPRESSED) if compress else pack(message)

    def stream_end(self, exchange: Exchange, end: End) -> bytes:  # noqa: ARG002
        """See `CallProtocol.stream_end`."""
        return _end_of_stream(end)

    def accepts_compression(self, head: Mapping[bytes, bytes]) -> bool:
        """See `CallProtocol.accepts_compression`."""
        return _accepts_gzip(head, b"connect-accept-encoding", b"connect-content-encoding")

    def refusal(
        self,
        http_status: int,
        code: grpc.StatusCode,  # noqa: ARG002
        message: str,  # noqa: ARG002
        media_type: bytes,  # noqa: ARG002
        headers: Headers,
    ) -> Reply:
        """See `CallProtocol.refusal`."""
        return _empty(http_status, headers)


# What a request says.


def query_parameters(query: bytes) -> dict[bytes, bytes]:
    """Give the parameters of a query as bytes, the first of each name."""
    parameters: dict[bytes, bytes] = {}
    for pair in query.replace(b"+", b" ").split(b"&"):
        name, _, value = pair.partition(b"=")
        parameters.setdefault(unquote_to_bytes(name), unquote_to_bytes(value))
    return parameters


_URLSAFE: Final = re.compile(rb"[A-Za-z0-9_-]*={0,2}")
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def _decode_urlsafe(data: bytes) -> bytes:
    """Undo base64 of the URL-safe alphabet (RFC 4648, section 5), padded or not."""
    if _URLSAFE.fullmatch(data) is None:
        raise invalid("the message in the query is not base64 of the URL-safe alphabet")
    bare = data.rstrip(b"=").translate(_TO_STANDARD)
    try:
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4))
    except binascii.Error:
        raise invalid("the message in the query is not base64 of the URL-safe alphabet") from None


def _timeout(head: Mapping[bytes, bytes]) -> float | None:
    value = head.get(b"connect-timeout-ms")
    return None if value is None else parse_timeout_ms(value)


def _check_version(head: Mapping[bytes, bytes]) -> None:
    if head.get(VERSION_HEADER, _VERSION) != _VERSION:
        raise invalid("connect-protocol-version must be 1")


def _accepts_gzip(head: Mapping[bytes, bytes], accept: bytes, sent: bytes) -> bool:
    accepted = head.get(accept)
    # A caller that does not say takes what it sends.
    return accepts_gzip(accepted) if accepted is not None else head.get(sent, IDENTITY).lower() == GZIP


def _accept_post(prefix: str, codecs: Sequence[Codec]) -> Header:
    return b"accept-post", ", ".join(prefix + each.name for each in codecs).encode()


def _wrong_media_type(message: str) -> Exception:
    return refused(grpc.StatusCode.INVALID_ARGUMENT, message, _UNSUPPORTED)


# What a reply says.


def _empty(http_status: int, headers: Headers) -> Reply:
    return Reply(http_status, [_EMPTY, _NO_STORE, *headers])


def _with_metadata(headers: Headers, end: End) -> Headers:
    if end.initial:
        headers += reply_headers(end.initial)
    if end.trailing:
        headers += [(_TRAILER_PREFIX + key, value) for key, value in wire_pairs(_trailing(end))]
    return headers


def _trailing(end: End) -> Metadata:
    """Give the trailing metadata without those that say in gRPC's way what the error says."""
    return tuple(pair for pair in end.trailing if pair[0] not in _STATUS_KEYS)


def _end_of_stream(end: End) -> bytes:
    if end.code is grpc.StatusCode.OK and not end.trailing:
        return _NOTHING_TO_ADD
    message: dict[str, Any] = {}
    if end.code is not grpc.StatusCode.OK:
        message["error"] = _error(end)
    metadata: dict[str, list[str]] = {}
    for key, value in wire_pairs(_trailing(end)):
        metadata.setdefault(key.decode("ascii"), []).append(value.decode("ascii"))
    if metadata:
        message["metadata"] = metadata
    return pack(_json(message), _END_OF_STREAM)


def _error(end: End) -> dict[str, Any]:
    """Give `{code, message, details}`; each detail has its type, its bytes, and its JSON where the type is known."""
    error: dict[str, Any] = {"code": CODE[end.code]}
    if end.details:
        error["message"] = end.details
    details = []
    for detail, readable in details_of(end.trailing):
        written: dict[str, Any] = {
            "type": detail.type_url.rpartition("/")[2],
            "value": encode_binary(detail.value).decode("ascii"),
        }
        if readable is not None:
            readable.pop("@type", None)
            written["debug"] = readable
        details.append(written)
    if details:
        error["details"] = details
    return error


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
