"""One request of an HTTP/1.1 connection and its reply, as an ASGI application sees them.

HTTP/1.1: RFC 9112.
"""

import asyncio
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

from gateway._types import Event, Header, Reply, Scope
from gateway.hosts.answers import CallerGone, Reason, answer
from gateway.hosts.request import BODILESS, HostedRequest, length_of, missing_after


class Connection(Protocol):
    """What a request needs of the connection that it came on."""

    transport: asyncio.Transport
    write_paused: bool

    async def drain(self) -> None:
        """Wait until the peer has taken some of what was written."""

    def read_on(self) -> None:
        """Read from the peer again, where that was paused."""

    def replied(self, request: "Request") -> None:
        """Go on to the next request; the reply to this one is whole."""

    def ended(self, request: "Request") -> None:
        """Take it that the application is done."""

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


class Head(NamedTuple):
    """The head of a reply: its lines without what is said of the connection and of chunks, and what they say."""

    lines: list[bytes]
    length: int | None
    closes: bool


def head_of(status: int, headers: Iterable[Header]) -> Head:
    """Write the head of a reply.

    Raises:
        KeyError: a status that no final reply has.
        ValueError: a name that is none, or a length.
    """
    lines = [_STATUS_LINES[status]]
    length: int | None = None
    closes = False
    for name, value in headers:
        prefix, meaning = _names.get(name) or _learn(name)
        if meaning == _PLAIN:
            lines.append(prefix + value)
        elif meaning == _CONTENT_LENGTH:
            length = length_of(value, length)
            lines.append(prefix + value)
        elif meaning == _CONNECTION and b"close" in value.lower():
            closes = True
        # What else is said of the connection, and of chunks, is for this module to say.
    return Head(lines, length, closes)


def _joined(lines: list[bytes]) -> bytes:
    lines += _END_OF_HEAD
    head = b"\r\n".join(lines)
    # Whoever gets a line break into a header forges headers, or whole replies.
    if not head.count(b"\n") == head.count(b"\r") == len(lines) - 1 or b"\0" in head:
        raise ValueError("a header's value has a line break or a NUL")
    return head


def refusal(reason: Reason) -> bytes:
    """Write a whole reply in the JSON form of the gateway's errors, the last of its connection."""
    headers, body = answer(reason)
    lines = [_STATUS_LINES[reason[0]], *(name + b": " + value for name, value in headers), b"connection: close"]
    return b"\r\n".join((*lines, *_END_OF_HEAD)) + body


class Request(HostedRequest):
    """One request, and how far its reply is.

    Args:
        connection: that it came on.
        scope: of ASGI, complete.
        keep_alive: whether another request may follow on the connection.
    """

    __slots__ = ("_asked", "_connection", "_ending", "_head", "_missing", "_state", "keep_alive")

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool) -> None:
        super().__init__()
        self.scope = scope
        self._connection = connection
        self.keep_alive = keep_alive
        # Whether the peer was asked for more of the body.
        self._asked = False
        # The reply.
        self._state = _NOTHING
        self._head = b""
        self._ending = _BY_LENGTH
        self._missing = 0

    # What the connection says.

    @property
    def is_unanswered(self) -> bool:
        """Whether nothing of the reply has been written."""
        return self._state < _WRITTEN

    def disconnect(self) -> None:
        """Take it that the caller is gone."""
        self.disconnected = True
        self._wake()

    def _give_up(self, reason: Reason) -> None:
        if self.is_answered or self.disconnected:
            return
        if self._state < _WRITTEN:
            self._connection.transport.write(refusal(reason))
        self.is_answered = True
        self._connection.close()

    def _say(self, reply: Reply) -> None:
        self._take_head(reply.status, reply.headers)
        self._take_body(reply.body, more_body=False)

    def _ended(self) -> None:
        self._connection.ended(self)

    def _ask(self) -> None:
        if self.more_body and not self._asked:
            self._asked = True
            if self._awaits_continue():
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._connection.read_on()

    def _awaits_continue(self) -> bool:
        """Say whether the caller waits with its body until it is asked for it (RFC 9110, 10.1.1)."""
        return self.scope["http_version"] == "1.1" and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.scope["headers"]
        )

    # What the application calls.

    async def send(self, event: Event) -> None:
        """See `HostedRequest.send`."""
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
        lines, length, closes = head_of(status, headers)
        if closes:
            self.keep_alive = False
        self._choose_ending(lines, status, length)
        head = _joined(lines)
        if length is None:
            # A stream: the application may have nothing more to say for a while.
            self._connection.transport.write(head)
            self._state = _WRITTEN
        else:
            self._head = head
            self._state = _HELD

    def _choose_ending(self, lines: list[bytes], status: int, length: int | None) -> None:
        """Decide how the ends of the body and of the connection are known, and say so in `lines`."""
        if status in BODILESS or self.scope["method"] == "HEAD":
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
            self._missing = missing_after(body, self._missing, more_body=more_body)
        elif self._ending == _BY_CHUNKS:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more_body:
                body += _LAST_CHUNK
        elif self._ending == _WITHOUT_BODY:
            body = b""
        self._write(body)
        if not more_body:
            self.is_answered = True
            self._wake()
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
