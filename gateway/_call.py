"""One call, from its headers to its reply: the interceptors, the body, the servicer, the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import Message

from gateway._body import read_body, read_chunks
from gateway._context import ServicerContext
from gateway._encoded_once import EncodedOnce
from gateway._lifetime import DEADLINE, GONE, Lifetime, Watches
from gateway._metadata import read_metadata, reply_headers
from gateway._method import Behaviour, Unreadable, call_in_thread, call_stream, is_async
from gateway._protocol import CallProtocol, End, Exchange, to_request
from gateway._repeats import Repeat, Repeatable
from gateway._status import Refused, Status, invalid
from gateway._types import Event, Handler, Metadata, Receive, Reply, Scope, Send

_log = logging.getLogger(__name__)

_UNKNOWN: Final = Status(grpc.StatusCode.UNKNOWN, "unexpected error in the servicer")
_UNENCODABLE: Final = Status(grpc.StatusCode.INTERNAL, "the response could not be encoded")
_STOPPING: Final = Status(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")

_LONGEST_REPEATED_BODY: Final = 1024

# A piece of a body may unpack to very many small messages; other calls get their turn among them.
_TURN: Final = 100


class HandlerCallDetails(grpc.HandlerCallDetails):
    """What an interceptor learns of a call before its handler runs."""

    __slots__ = ("invocation_metadata", "method")

    def __init__(self, method: str, invocation_metadata: Metadata) -> None:
        self.method = method
        self.invocation_metadata = invocation_metadata


FindHandler = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


async def send_reply(send: Send, reply: Reply, *, head_only: bool = False) -> None:
    """Send a whole reply, without its body where the request was HEAD."""
    body = b"" if head_only else reply.body
    if reply.trailers is None:
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers, "trailers": True})
    await send({"type": "http.response.body", "body": body})
    await send({"type": "http.response.trailers", "headers": reply.trailers, "more_trailers": False})


class Call:
    """One call. `find_handler` is the chain of interceptors; it gives None where there is no such method."""

    __slots__ = (
        "_body",
        "_context",
        "_exchange",
        "_handler",
        "_head_only",
        "_lifetime",
        "_protocol",
        "_receive",
        "_repeatable",
        "_scope",
        "_send",
        "_started",
        "repeat",
    )

    def __init__(self, protocol: CallProtocol, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        self._protocol = protocol
        self._exchange = exchange
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = False
        self._body: bytes | None = None
        # What the servicer returned, where it may be returned again.
        self._repeatable: Repeatable[Message] | None = None
        # What repeats the call, once it is answered.
        self.repeat: Repeat | None = None
        self._head_only = scope["method"] == "HEAD"

    async def run(self, find_handler: FindHandler, watches: Watches, receive_timeout: float) -> bool:
        """Serve the call; False where the interceptors found no handler, and nothing was answered."""
        exchange = self._exchange
        metadata, problem = read_metadata(self._scope["headers"])
        self._lifetime = lifetime = Lifetime(watches, self._receive, receive_timeout)
        self._context = context = ServicerContext(self._protocol.name, metadata, self._scope, lifetime)
        response: bytes | None = None
        try:
            problem = self._set_timeout() or problem or exchange.refusal
            handler = await find_handler(HandlerCallDetails(exchange.route.method.path, metadata))
            if handler is None:
                return False
            self._handler = handler
            request = await self._request(handler, problem)
            if handler.response_streaming:
                await self._stream(handler, request)
            else:
                response = await self._unary(handler, request)
        except grpc.aio.AbortError as error:
            if context.aborted is not error:
                self._failed(error)
        except asyncio.CancelledError:
            if lifetime.resume() is None:
                self._settle(_STOPPING)
        except Exception as error:  # noqa: BLE001 - whatever a servicer or an interceptor raises ends as a status
            self._failed(error)
        finally:
            lifetime.stop()
        reason = lifetime.resume()
        if reason is not None:
            # Also where the servicer made something else of its cancellation.
            self._settle(reason)
        await self._finish(response)
        return True

    def _set_timeout(self) -> Refused | None:
        try:
            seconds = self._protocol.timeout(self._exchange.head)
        except Refused as refusal:
            return refusal
        if seconds is not None:
            self._lifetime.set_timeout(seconds)
        return None

    # The request.

    async def _request(self, handler: Handler, problem: Refused | None) -> Any:  # noqa: ANN401 - what the handler takes
        try:
            if problem is not None:
                raise problem
            self._protocol.check(self._exchange, handler)
            if self._exchange.compresses_unasked:
                self._context.compression = grpc.Compression.Gzip
            if handler.request_streaming:
                self._lifetime.receive_timeout = None
                self._context.requests = self._requests(handler)
                return self._context.requests
            limit = self._protocol.body_limit(self._exchange.max_message_bytes)
            body = self._body = await read_body(self._receive, self._exchange.head, limit)
            self._lifetime.received()
            request = self._decoded(self._protocol.read_unary(self._exchange, body), handler)
            # What is not begun by then need not be.
            return Unreadable(DEADLINE) if self._lifetime.remaining() == 0 else request
        except Refused as refusal:
            if refusal.status is GONE:
                self._lifetime.end_without_cancel(GONE)
            return Unreadable(refusal.status)
        except asyncio.CancelledError:
            reason = self._lifetime.resume()
            if reason is None:
                raise
            return Unreadable(reason)

    def _decoded(self, payload: bytes | Message, handler: Handler) -> Any:  # noqa: ANN401 - what the handler takes
        try:
            return to_request(payload, self._exchange.route.method, handler)
        except Exception:  # noqa: BLE001 - whatever the deserializer raises, the message is not one of its type
            raise invalid("the message does not parse") from None

    async def _requests(self, handler: Handler) -> AsyncIterator[Any]:
        try:
            stream = self._protocol.request_stream(self._exchange)
            async for chunk in read_chunks(self._receive):
                for at, message in enumerate(stream.feed(chunk), start=1):
                    yield self._decoded(message, handler)
                    if not at % _TURN:
                        await asyncio.sleep(0)
            self._lifetime.received()
            for message in stream.finish():
                yield self._decoded(message, handler)
        except Refused as refusal:
            if refusal.status is GONE:
                self._lifetime.end(GONE)
                await asyncio.sleep(0)
                raise asyncio.CancelledError from None
            await self._context.abort_with_status(refusal.status)

    # The response.

    async def _unary(self, handler: Handler, request: object) -> bytes | None:
        behaviour: Behaviour | None = handler.stream_unary if handler.request_streaming else handler.unary_unary
        if behaviour is None:
            raise ValueError("an interceptor gave a handler without a behaviour")
        if is_async(behaviour):
            response = await behaviour(request, self._context)
        else:
            response = await call_in_thread(behaviour, request, self._context)
        if self._context.aborted is not None or self._context.code() not in (None, grpc.StatusCode.OK):
            return None
        if type(response) is Repeatable:
            self._repeatable, response = response, response.response
        return self._encoded(response)

    def _encoded(self, response: object) -> bytes:
        try:
            if type(response) is EncodedOnce:
                return self._encoded_once(response)
            return self._protocol.encode(self._exchange, self._handler, response)
        except Exception as cause:  # noqa: BLE001 - also logged, whatever it is
            _log.error("the response of %s could not be encoded", self._exchange.route.method, exc_info=cause)
            self._settle(_UNENCODABLE)
            self._context.aborted = error = grpc.aio.AbortError(_UNENCODABLE.details)
            raise error from None

    def _encoded_once(self, response: EncodedOnce[Message]) -> bytes:
        exchange, handler, protocol = self._exchange, self._handler, self._protocol
        route = exchange.route
        if route.raw_response:
            # Its content type goes into the exchange.
            return protocol.encode(exchange, handler, response.message)
        form = (protocol, route.response_body, handler.response_serializer)
        return response.encoded(form, lambda message: protocol.encode(exchange, handler, message))

    async def _stream(self, handler: Handler, request: object) -> None:
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
        if behaviour is None:
            raise ValueError("an interceptor gave a handler without a behaviour")
        if not isinstance(request, Unreadable):
            self._context.write_message = self._write
            self._context.start_reply = self._start
        async for response in call_stream(behaviour, request, self._context):
            await self._write(response)

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            initial = self._context.initial_metadata()
            reply = self._protocol.stream_start(self._exchange, initial, compress=self._compresses())
            event = {"type": "http.response.start", "status": reply.status, "headers": reply.headers}
            if self._protocol.trailers is not None:
                event["trailers"] = True
            await self._emit(event)

    async def _write(self, message: object) -> None:
        encoded = self._encoded(message)
        await self._start()
        compress = self._compresses() and self._context.compress_next
        self._context.compress_next = True
        body = self._protocol.stream_message(self._exchange, encoded, compress=compress)
        if not self._head_only:
            await self._emit({"type": "http.response.body", "body": body, "more_body": True})

    async def _emit(self, event: Event) -> None:
        try:
            await self._send(event)
        except OSError:
            # What a host raises once the caller is gone, https://asgi.readthedocs.io/en/latest/specs/www.html.
            self._lifetime.end(GONE)
            await asyncio.sleep(0)
            raise asyncio.CancelledError from None

    def _compresses(self) -> bool:
        wanted = self._context.compression is not grpc.Compression.NoCompression
        return wanted and self._protocol.accepts_compression(self._exchange.head)

    # The end.

    def _settle(self, status: Status) -> None:
        self._context.settle(status.code, status.details, status.http_status)

    def _failed(self, error: BaseException) -> None:
        """End the call for an exception; its text stays in the log."""
        context = self._context
        code = context.code()
        if isinstance(error, NotImplementedError) and code is grpc.StatusCode.UNIMPLEMENTED:
            # What the base class of a generated servicer does for a method that is not there.
            return
        _log.error("%s failed", self._exchange.route.method, exc_info=error)
        if code in (None, grpc.StatusCode.OK):
            self._settle(_UNKNOWN)

    async def _finish(self, response: bytes | None) -> None:
        context = self._context
        try:
            if context.caller_gone():
                return
            end = context.end()
            if self._started or (end.code is grpc.StatusCode.OK and response is None):
                await self._end_stream(end)
                return
            if end.code is not grpc.StatusCode.OK:
                response = None
            compress = response is not None and self._compresses() and context.compress_next
            if self._repeatable is not None and self._may_repeat(response, end):
                # Its initial metadata are of this call.
                without = End(end.code, end.details, (), end.trailing, end.http_status)
                again = self._protocol.unary_reply(self._exchange, response, without, compress=compress)
                self.repeat = Repeat(self._body or b"", again, self._repeatable.again)
                reply = Reply(again.status, again.headers + reply_headers(end.initial), again.body, again.trailers)
            else:
                reply = self._protocol.unary_reply(self._exchange, response, end, compress=compress)
            await send_reply(self._send, reply, head_only=self._head_only)
        finally:
            context.finish()

    def _may_repeat(self, response: bytes | None, end: End) -> bool:
        """Tell whether the same request could not be answered otherwise."""
        body = self._body
        # A long one would have to be kept, to be compared.
        is_short = body is not None and len(body) <= _LONGEST_REPEATED_BODY
        return is_short and response is not None and not end.trailing and not self._head_only

    async def _end_stream(self, end: End) -> None:
        await self._start()
        body = self._protocol.stream_end(self._exchange, end)
        if body is None:
            # Without an end the host closes the connection: the caller sees that something is missing.
            return
        await self._send({"type": "http.response.body", "body": b"" if self._head_only else body})
        if self._protocol.trailers is not None:
            trailers = self._protocol.trailers(end)
            await self._send({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})
