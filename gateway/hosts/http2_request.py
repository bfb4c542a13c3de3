"""One request of an HTTP/2 connection and its reply, as an ASGI application sees them.

ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html (version 2.4: to send to a caller who is gone is an OSError),
with trailers, https://asgi.readthedocs.io/en/latest/extensions.html#http-trailers.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, Protocol

from gateway._types import ASGIApplication, AtOnce, Event, Header, Scope
from gateway.hosts.answers import FAILED, STOPPING, CallerGone, Reason, answer
from gateway.hosts.http2_frames import INTERNAL_ERROR
from gateway.hosts.http2_headers import CONTINUE, status_field, write_fields
from gateway.hosts.http2_sending import Outgoing, Sending

_log = logging.getLogger(__name__)

# How far the reply is.
_NOTHING: Final = 0  # the application has said nothing yet
_BODY: Final = 1  # the body is next, or more of it
_TRAILERS: Final = 2  # the body is whole, and trailers follow
_WHOLE: Final = 3

_BODILESS: Final = frozenset({204, 304})


class Connection(Protocol):
    """What a request needs of the connection that it came on."""

    sending: Sending

    def received(self, request: "Request", size: int) -> None:
        """Let the peer send so many bytes more: the application has taken as many."""

    def answered(self, request: "Request") -> None:
        """Take it that the last frame of the reply is said."""

    def reset(self, number: int, code: int) -> None:
        """End a stream at once."""

    def ended(self, request: "Request") -> None:
        """Take it that the application is done."""


class Request:
    """One request: what has arrived of it, and how far its reply is.

    Args:
        connection: that it came on.
        number: of its stream.
        scope: of ASGI, complete.
        length: of the body as the headers have it.
        window: of the body's bytes that may come unread.
        awaits_continue: whether the caller waits with its body until it is asked for it (RFC 9110, 10.1.1).
    """

    # One is made for each call.
    __slots__ = (
        "_arrived",
        "_body",
        "_connection",
        "_end_was_read",
        "_length",
        "_state",
        "_trailers",
        "_without_body",
        "awaits_continue",
        "disconnected",
        "missing",
        "more_body",
        "number",
        "outgoing",
        "scope",
        "task",
        "unannounced",
        "window",
    )

    def __init__(
        self,
        connection: Connection,
        number: int,
        scope: Scope,
        length: int | None,
        window: int,
        *,
        awaits_continue: bool,
    ) -> None:
        self._connection = connection
        self.number = number
        self.scope = scope
        self.task: asyncio.Task[None] | None = None
        self.disconnected = False
        # The body: what has arrived and was not received yet, whether there is more to come, how many bytes of it by
        # its length, what the peer may still send, and what of it was received and the peer does not know yet.
        self._body: bytes | bytearray = b""
        self.more_body = True
        self.missing = length
        self.window = window
        self.unannounced = 0
        self.awaits_continue = awaits_continue
        self._end_was_read = False
        self._arrived: asyncio.Event | None = None
        # The reply.
        self._state = _NOTHING
        self._trailers = False
        self._without_body = False
        self._length: int | None = None
        self.outgoing = Outgoing(connection.sending, number, self._ended)

    # What the connection says.

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if not self._body:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        if self._arrived is not None:
            self._arrived.set()

    def end(self) -> None:
        """Take the end of the body."""
        self.more_body = False
        if self._arrived is not None:
            self._arrived.set()

    def disconnect(self) -> int:
        """Take it that the caller is gone; return how many bytes of its body nobody has received."""
        self.disconnected = True
        self.outgoing.drop()
        return self.drop()

    def drop(self) -> int:
        """Forget what of the body nobody has received; return how many bytes that were."""
        left = len(self._body)
        self._body = b""
        if self._arrived is not None:
            self._arrived.set()
        return left

    async def run(self, application: ASGIApplication) -> None:
        """Run the application, and answer in its place where it does not."""
        try:
            await application(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            # Nothing but the host cancels this task, when it stops.
            self._give_up(STOPPING)
            raise
        except Exception as error:  # noqa: BLE001 - whatever an application raises, its caller gets an answer
            if not (self.disconnected and isinstance(error, CallerGone)):
                _log.exception("exception in the ASGI application")
            self._give_up(FAILED)
        else:
            if self._state != _WHOLE and not self.disconnected:
                _log.error("the ASGI application returned without a whole reply")
                self._give_up(FAILED)
        finally:
            self._connection.ended(self)

    def _give_up(self, reason: Reason) -> None:
        if self._state == _WHOLE or self.disconnected:
            return
        if self._state == _NOTHING:
            self.refuse(reason)
        else:
            self._state = _WHOLE
            self._connection.reset(self.number, INTERNAL_ERROR)

    def refuse(self, reason: Reason) -> None:
        """Answer in place of the application."""
        headers, body = answer(reason)
        self._state = _WHOLE
        is_head = self.scope["method"] == "HEAD"
        self.outgoing.head(status_field(reason[0]) + write_fields(headers), last=is_head)
        if not is_head:
            self.outgoing.body(body, last=True)

    def answer_at_once(self, at_once: AtOnce) -> bool:
        """Answer a request that is whole without the application, where `at_once` can."""
        if self.outgoing.must_wait:
            return False
        reply = at_once(self.scope, bytes(self._body))
        if reply is None:
            return False
        try:
            self._take_head(reply.status, reply.headers, trailers=reply.trailers is not None)
            self._take_body(reply.body, more_body=False)
            if reply.trailers is not None:
                self._take_trailers(reply.trailers, more=False)
        except ValueError:
            _log.exception("a reply that HTTP cannot carry")
            self._give_up(FAILED)
        return True

    # What the application calls.

    async def receive(self) -> Event:
        """Give the next event; after the body's end, wait until the caller is gone or has its reply."""
        while True:
            if self.disconnected or self._state == _WHOLE:
                return {"type": "http.disconnect"}
            if self._body or not (self.more_body or self._end_was_read):
                break
            await self._wait()
        body = bytes(self._body)
        self._body = b""
        more = self.more_body
        self._end_was_read = not more
        if body:
            self._connection.received(self, len(body))
        return {"type": "http.request", "body": body, "more_body": more}

    async def _wait(self) -> None:
        if self.awaits_continue and self.more_body:
            self.awaits_continue = False
            if self._state == _NOTHING:
                self.outgoing.head(CONTINUE)
        if self._arrived is None:
            self._arrived = asyncio.Event()
        self._arrived.clear()
        await self._arrived.wait()

    async def send(self, event: Event) -> None:
        """Take the next event of the reply.

        Raises:
            CallerGone: there is nobody to send it to.
            RuntimeError: the event is not one that may follow.
            KeyError: a status that no final reply has.
            ValueError: a header that would not be one on the wire, or a body that is not as long as it was said to be.
        """
        outgoing = self.outgoing
        if outgoing.must_wait:
            await outgoing.drain()
        if self.disconnected:
            raise CallerGone("the caller is gone")
        kind, state = event["type"], self._state
        if state == _BODY and kind == "http.response.body":
            self._take_body(event.get("body", b""), more_body=event.get("more_body", False))
        elif state == _NOTHING and kind == "http.response.start":
            self._take_head(event["status"], event.get("headers", ()), trailers=event.get("trailers", False))
        elif state == _TRAILERS and kind == "http.response.trailers":
            self._take_trailers(event.get("headers", ()), more=event.get("more_trailers", False))
        else:
            raise RuntimeError(f"{kind} {_PLACES[state]}")

    def _take_head(self, status: int, headers: Iterable[Header], *, trailers: bool) -> None:
        self._without_body = status in _BODILESS or self.scope["method"] == "HEAD"
        headers = list(headers)
        if not trailers and not self._without_body:
            # With trailers it is gRPC, whose messages say themselves how long they are.
            self._length = _length_of(headers)
        block = status_field(status) + write_fields(headers)
        self._trailers = trailers
        self._state = _BODY
        self.outgoing.head(block)

    def _take_body(self, body: bytes, *, more_body: bool) -> None:
        if self._without_body:
            body = b""
        elif self._length is not None:
            self._length -= len(body)
            if self._length and (self._length < 0 or not more_body):
                raise ValueError(f"the body is {'shorter' if self._length > 0 else 'longer'} than its content-length")
        if more_body:
            self.outgoing.body(body, last=False)
        elif self._trailers:
            self._state = _TRAILERS
            self.outgoing.body(body, last=False)
        else:
            self._state = _WHOLE
            self.outgoing.body(body, last=True)
            self._wake()

    def _take_trailers(self, headers: Iterable[Header], *, more: bool) -> None:
        block = write_fields(headers)
        if more:
            raise RuntimeError("trailers come in one piece here")
        self._state = _WHOLE
        self.outgoing.trailers(block)
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    def _ended(self) -> None:
        self._connection.answered(self)


_PLACES: Final = {
    _NOTHING: "before http.response.start",
    _BODY: "after http.response.start",
    _TRAILERS: "in place of http.response.trailers",
    _WHOLE: "after the end",
}


def _length_of(headers: list[Header]) -> int | None:
    length: int | None = None
    for name, value in headers:
        if name.lower() == b"content-length":
            if length is not None or not value.isdigit():
                raise ValueError("a reply has one length, in digits")
            length = int(value)
    return length
