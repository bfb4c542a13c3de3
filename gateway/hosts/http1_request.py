"""One request of an HTTP/1.1 connection and its reply, as an ASGI application sees them.

ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html (version 2.4: to send to a caller who is gone is an OSError).
HTTP/1.1: RFC 9112.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, Protocol

from gateway._types import ASGIApplication, AtOnce, Event, Header, Scope
from gateway.hosts.answers import FAILED, STOPPING, CallerGone, Reason, answer

_log = logging.getLogger(__name__)


class Connection(Protocol):
    """What a request needs of the connection that it came on."""

    transport: asyncio.Transport
    tasks: set[asyncio.Task[None]]
    write_paused: bool

    async def drain(self) -> None:
        """Wait until the peer has taken some of what was written."""

    def read_on(self) -> None:
        """Read from the peer again, where that was paused."""

    def replied(self, request: "Request") -> None:
        """Go on to the next request; the reply to this one is whole."""

    def close(self) -> None:
        """Close the connection once the peer has taken what was written."""


# How far the reply is.
_NOTHING: Final = 0  # the application has said nothing yet
_HELD: Final = 1  # the head is known, and waits to be written together with the first of the body
_WRITTEN: Final = 2  # something of the reply is on its way

# How the end of the reply's body is known (RFC 9112, 6.3).
_BY_LENGTH: Final = 0
_BY_CHUNKS: Final = 1
_BY_CLOSING: Final = 2  # to HTTP/1.0, which knows no chunks
_WITHOUT_BODY: Final = 3  # of HEAD, 204 and 304

# Headers that say something about the connection, and not only to the peer.
_PLAIN: Final = 0
_CONTENT_LENGTH: Final = 1
_TRANSFER_ENCODING: Final = 2
_CONNECTION: Final = 3
_MEANING: Final = {
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
}

# A body up to so long is copied to be written in one piece with its head.
_JOINED_BYTES: Final = 64 * 1024

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


_STATUS_LINES: Final = {status: f"HTTP/1.1 {status} {_phrase(status)}".encode() for status in range(200, 600)}
# Two line breaks, where lines are joined by one.
_END_OF_HEAD: Final = (b"", b"")
_LAST_CHUNK: Final = b"0\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})

# What the names of a reply's headers become on the wire, and mean; a reply has few that no other has.
_names: Final[dict[bytes, tuple[bytes, int]]] = {}
_MAX_NAMES: Final = 1000


def _learn(name: bytes) -> tuple[bytes, int]:
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header")
    lower = name.lower()
    known = (lower + b": ", _MEANING.get(lower, _PLAIN))
    if len(_names) < _MAX_NAMES:
        _names[name] = known
    return known


def refusal(reason: Reason) -> bytes:
    """Write a whole reply in the JSON form of the gateway's errors, the last of its connection."""
    headers, body = answer(reason)
    lines = [_STATUS_LINES[reason[0]], *(name + b": " + value for name, value in headers), b"connection: close"]
    return b"\r\n".join((*lines, *_END_OF_HEAD)) + body


class Request:
    """One request: what has arrived of it, and how far its reply is.

    Args:
        connection: that it came on.
        scope: of ASGI, complete.
        keep_alive: whether another request may follow on the connection.
    """

    # The default host makes one for each call.
    __slots__ = (
        "_arrived",
        "_asked",
        "_body",
        "_connection",
        "_end_was_read",
        "_ending",
        "_head",
        "_missing",
        "_state",
        "disconnected",
        "is_answered",
        "keep_alive",
        "more_body",
        "scope",
        "task",
    )

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.task: asyncio.Task[None]
        self.disconnected = False
        # The request's body: what has arrived and was not received yet, and whether there is more to come.
        self._body: bytes | bytearray = b""
        self.more_body = True
        self._end_was_read = False
        self._asked = False
        self._arrived: asyncio.Event | None = None
        # The reply.
        self.is_answered = False
        self._state = _NOTHING
        self._head = b""
        self._ending = _BY_LENGTH
        self._missing = 0

    # What the connection says.

    @property
    def is_unanswered(self) -> bool:
        """Whether nothing of the reply has been written."""
        return self._state < _WRITTEN

    def feed(self, piece: bytes) -> int:
        """Take a piece of the body; return how many bytes of it wait to be received."""
        if not self._body:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        if self._arrived is not None:
            self._arrived.set()
        return len(self._body)

    def end(self) -> None:
        """Take the end of the body."""
        self.more_body = False
        if self._arrived is not None:
            self._arrived.set()

    def disconnect(self) -> None:
        """Take it that the caller is gone."""
        self.disconnected = True
        if self._arrived is not None:
            self._arrived.set()

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
            if not self.is_answered and not self.disconnected:
                _log.error("the ASGI application returned without a whole reply")
                self._give_up(FAILED)
        finally:
            self._connection.tasks.discard(self.task)

    def _give_up(self, reason: Reason) -> None:
        if self.is_answered or self.disconnected:
            return
        if self._state < _WRITTEN:
            self._connection.transport.write(refusal(reason))
        self.is_answered = True
        self._connection.close()

    def answer_at_once(self, at_once: AtOnce) -> bool:
        """Answer a request that is whole without the application, where `at_once` can."""
        reply = at_once(self.scope, bytes(self._body))
        if reply is None:
            return False
        try:
            self._take_head(reply.status, reply.headers)
            self._take_body(reply.body, more_body=False)
        except ValueError:
            _log.exception("a reply that HTTP cannot carry")
            self._give_up(FAILED)
        return True

    # What the application calls.

    async def receive(self) -> Event:
        """Give the next event; after the body's end, wait until the caller is gone or has its reply."""
        while True:
            if self.disconnected or self.is_answered:
                return {"type": "http.disconnect"}
            if self._body or not (self.more_body or self._end_was_read):
                break
            await self._wait()
        body = bytes(self._body)
        self._body = b""
        self._end_was_read = not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _wait(self) -> None:
        if self.more_body and not self._asked:
            self._asked = True
            if self._awaits_continue():
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._connection.read_on()
        if self._arrived is None:
            self._arrived = asyncio.Event()
        self._arrived.clear()
        await self._arrived.wait()

    def _awaits_continue(self) -> bool:
        """Say whether the caller waits with its body until it is asked for it (RFC 9110, 10.1.1)."""
        return self.scope["http_version"] == "1.1" and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.scope["headers"]
        )

    async def send(self, event: Event) -> None:
        """Take the next event of the reply.

        Raises:
            CallerGone: there is nobody to send it to.
            RuntimeError: the event is not one that may follow.
            KeyError: a status that no final reply has.
            ValueError: a header that would not be one on the wire, or a body that is not as long as it was said to be.
        """
        connection = self._connection
        if connection.write_paused:
            await connection.drain()
        if self.disconnected:
            raise CallerGone("the caller is gone")
        kind = event["type"]
        if self._state == _NOTHING:
            if kind != "http.response.start":
                raise RuntimeError(f"{kind} before http.response.start")
            self._take_head(event["status"], event.get("headers", ()))
        elif kind != "http.response.body" or self.is_answered:
            raise RuntimeError(f"{kind} after {'the end' if self.is_answered else 'http.response.start'}")
        else:
            self._take_body(event.get("body", b""), more_body=event.get("more_body", False))

    def _take_head(self, status: int, headers: Iterable[Header]) -> None:
        lines = [_STATUS_LINES[status]]
        length: int | None = None
        for name, value in headers:
            prefix, meaning = _names.get(name) or _learn(name)
            if meaning == _PLAIN:
                lines.append(prefix + value)
            elif meaning == _CONTENT_LENGTH:
                if length is not None or not value.isdigit():
                    raise ValueError("a reply has one length, in digits")
                length = int(value)
                lines.append(prefix + value)
            elif meaning == _CONNECTION and b"close" in value.lower():
                self.keep_alive = False
            # What else is said of the connection, and of chunks, is for this module to say.
        self._choose_ending(lines, status, length)
        lines += _END_OF_HEAD
        head = b"\r\n".join(lines)
        # Whoever gets a line break into a header forges headers, or whole replies.
        if not head.count(b"\n") == head.count(b"\r") == len(lines) - 1 or b"\0" in head:
            raise ValueError("a header's value has a line break or a NUL")
        if length is None:
            # A stream: the application may have nothing more to say for a while.
            self._connection.transport.write(head)
            self._state = _WRITTEN
        else:
            self._head = head
            self._state = _HELD

    def _choose_ending(self, lines: list[bytes], status: int, length: int | None) -> None:
        """Decide how the ends of the body and of the connection are known, and say so in `lines`."""
        if status in _BODILESS or self.scope["method"] == "HEAD":
            self._ending = _WITHOUT_BODY
        elif length is not None:
            self._missing = length
        elif self.scope["http_version"] == "1.1":
            self._ending = _BY_CHUNKS
            lines.append(b"transfer-encoding: chunked")
        else:
            # keep_alive is False, as always with HTTP/1.0.
            self._ending = _BY_CLOSING
        if self.more_body and not self._asked and self._awaits_continue():
            # Whether its body comes now or its next request, only the caller knows.
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close")

    def _take_body(self, body: bytes, *, more_body: bool) -> None:
        if self._ending == _BY_LENGTH:
            self._missing -= len(body)
            if self._missing and (self._missing < 0 or not more_body):
                raise ValueError(f"the body is {'shorter' if self._missing > 0 else 'longer'} than its content-length")
        elif self._ending == _BY_CHUNKS:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more_body:
                body += _LAST_CHUNK
        elif self._ending == _WITHOUT_BODY:
            body = b""
        self._write(body)
        if not more_body:
            self.is_answered = True
            if self._arrived is not None:
                self._arrived.set()
            self._connection.replied(self)

    def _write(self, body: bytes) -> None:
        transport = self._connection.transport
        if self._state == _HELD:
            self._state = _WRITTEN
            if len(body) > _JOINED_BYTES:
                transport.write(self._head)
            else:
                body = self._head + body
        if body:
            transport.write(body)
