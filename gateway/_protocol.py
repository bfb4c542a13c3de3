"""What a protocol must be able to do.

A protocol frames a call: where its messages stand in the body, how it ends, how errors and metadata travel. It knows
neither routes nor servicers and does no I/O; `_call` moves the bytes. A new protocol is a new file with one class of
this shape, and a line where `Gateway` lists them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf.message import Message

from gateway._codec import Codec
from gateway._content_coding import StreamPacker
from gateway._method import Method
from gateway._route import Route
from gateway._status import Refused, refused
from gateway._types import Handler, Headers, Metadata, Reply


@dataclass(slots=True)
class Exchange:
    """One HTTP request that became a call, and what its reply has to carry besides.

    `head` are the request's headers by lower-case name, `unframed` says that the request has no body and that path
    and query alone hold the message, `reply_headers` go out with every reply (CORS). A protocol keeps here what it
    learns of the reply on its way: the content type that a message of the servicer's gives it, whether it is compressed
    where the servicer says nothing (gRPC's are not), and by what.
    """

    media_type: bytes
    route: Route
    captures: tuple[str, ...]
    query: bytes
    head: Mapping[bytes, bytes]
    unframed: bool
    max_message_bytes: int
    reply_headers: Headers
    refusal: Refused | None = None
    content_type: bytes | None = None
    compresses_unasked: bool = False
    packer: StreamPacker | None = None


class End(NamedTuple):
    """How a call ended: its status, and the metadata of both ends. `http_status` is set where JSON has a closer one."""

    code: grpc.StatusCode
    details: str
    initial: Metadata
    trailing: Metadata
    http_status: int | None = None


class RequestStream(Protocol):
    """Cuts the body of a streaming request into messages."""

    def feed(self, data: bytes) -> Iterable[bytes | Message]:
        """Take bytes, give the messages that they complete, as `CallProtocol.read_unary` does.

        Raises:
            Refused: the stream cannot be read any further.
        """
        ...

    def finish(self) -> Iterable[bytes | Message]:
        """Say that no more bytes come, give what messages are left.

        Raises:
            Refused: the stream is cut short.
        """
        ...


class CallProtocol(Protocol):
    """A protocol as spoken to the caller."""

    name: str
    """What `context.protocol` says."""

    media_types: tuple[str, ...]
    """The Content-Types, and values of Accept, that pick the protocol."""

    always_posts: bool
    """Whether calls are POSTs whatever the HTTP rule says, so that a POST may run the RPC of a GET rule."""

    @property
    def trailers(self) -> Callable[[End], Headers] | None:
        """What writes the HTTP trailers that end every call; None where the body says it all."""
        ...

    def timeout(self, head: Mapping[bytes, bytes]) -> float | None:
        """Give the seconds that the caller allows, None where it says nothing.

        Raises:
            Refused: INVALID_ARGUMENT.
        """
        ...

    def check(self, exchange: Exchange, handler: Handler) -> None:
        """Check what the headers announce, before the body is read.

        Raises:
            Refused: the protocol cannot carry calls of this kind, or the request's encoding is unknown.
        """
        ...

    def body_limit(self, max_message_bytes: int) -> int:
        """Give the longest body, in bytes, of a request with one message."""
        ...

    def read_unary(self, exchange: Exchange, body: bytes) -> bytes | Message:
        """Give the one message of a request, still encoded as protobuf or already decoded.

        Raises:
            Refused: the body does not hold exactly one message that can be read.
        """
        ...

    def request_stream(self, exchange: Exchange) -> RequestStream:
        """Give what reads a streaming request."""
        ...

    def encode(self, exchange: Exchange, handler: Handler, response: Any) -> bytes:  # noqa: ANN401 - any message
        """Encode one response."""
        ...

    def unary_reply(self, exchange: Exchange, message: bytes | None, end: End, *, compress: bool) -> Reply:
        """Give the whole reply of a call with one response; `message` is None where the call failed."""
        ...

    def stream_start(self, exchange: Exchange, initial: Metadata, *, compress: bool) -> Reply:
        """Give status and headers of a streaming reply."""
        ...

    def stream_message(self, exchange: Exchange, message: bytes, *, compress: bool) -> bytes:
        """Frame one message of a streaming reply."""
        ...

    def stream_end(self, exchange: Exchange, end: End) -> bytes | None:
        """Give what closes a streaming reply; None where it can only be cut off."""
        ...

    def accepts_compression(self, head: Mapping[bytes, bytes]) -> bool:
        """Say whether the caller takes compressed messages."""
        ...

    def refusal(
        self, http_status: int, code: grpc.StatusCode, message: str, media_type: bytes, headers: Headers
    ) -> Reply:
        """Answer an HTTP request that is no call: unknown path (404), method not allowed (405), media type (415)."""
        ...


def to_request(payload: bytes | Message, method: Method, handler: Handler) -> Any:  # noqa: ANN401 - what the handler takes
    """Give a request as a handler takes it; interceptors may have put another deserializer in its place.

    Raises:
        Exception: whatever the deserializer raises on bytes that are no message.
    """
    deserialize = handler.request_deserializer
    if isinstance(payload, bytes):
        return deserialize(payload) if deserialize is not None else payload
    if deserialize is method.handler.request_deserializer:
        return payload
    return deserialize(payload.SerializeToString()) if deserialize is not None else payload.SerializeToString()


def to_bytes(response: Any, handler: Handler) -> bytes:  # noqa: ANN401 - what the handler gives
    """Give a response as protobuf."""
    serialize = handler.response_serializer
    return serialize(response) if serialize is not None else response


def to_message(response: Any, method: Method, handler: Handler) -> Message:  # noqa: ANN401 - what the handler gives
    """Give a response as a message."""
    response_class = method.response_class
    if response_class is None:
        raise TypeError(f"{method} has no known response type")
    if isinstance(response, response_class) and handler.response_serializer is method.handler.response_serializer:
        return response
    return response_class.FromString(to_bytes(response, handler))


def media_types(prefix: str, codec: Codec) -> tuple[str, ...]:
    """Give the media types of a protocol with a codec; without a suffix it means protobuf, as gRPC has it."""
    named = f"{prefix}+{codec.name}"
    return (prefix, named) if codec.native else (named,)


def read_target(exchange: Exchange) -> Message | None:
    """Give the message of an `unframed` request, from path and query; None where its rule takes a body.

    Raises:
        Refused: INVALID_ARGUMENT, naming the first field that does not fit.
    """
    route = exchange.route
    request_class = route.method.request_class
    if route.body is not None or request_class is None:
        return None
    message = request_class()
    route.read_target(message, exchange.captures, exchange.query, ignore_unknown=False)
    return message


def read_message(exchange: Exchange, payload: bytes, codec: Codec) -> bytes | Message:
    """Give one message of a body; protobuf passes as it is, unless the path has to go in too.

    Raises:
        Refused: the payload is not of the codec, or the message types are not known to read it by.
    """
    if codec.native and not exchange.captures:
        return payload
    request_class = exchange.route.method.request_class
    if request_class is None:
        if codec.native:
            return payload
        raise refused(grpc.StatusCode.UNIMPLEMENTED, "the message types of this method are not known here")
    message = request_class()
    codec.decode(payload, message)
    exchange.route.assign_captures(message, exchange.captures)
    return message


def write_message(exchange: Exchange, handler: Handler, response: Any, codec: Codec) -> bytes:  # noqa: ANN401
    """Encode one response."""
    if codec.native:
        return to_bytes(response, handler)
    return codec.encode(to_message(response, exchange.route.method, handler))
