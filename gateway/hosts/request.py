"""What requests of both versions of HTTP have in common: a body that arrives, and an application that is run.

ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html (version 2.4: to send to a caller who is gone is an OSError).
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from gateway._types import Answer, ASGIApplication, AtOnce, Event, Reply, Scope
from gateway.hosts.answers import FAILED, STOPPING, CallerGone, Reason

_log = logging.getLogger(__name__)

# Statuses of replies that have no body (RFC 9110, 6.4.1).
BODILESS: Final = frozenset({204, 304})


class HostedRequest(ABC):
    """One request: what has arrived of its body, and the application that answers it."""

    # One is made for each call.
    __slots__ = (
        "_arrived",
        "_body",
        "_end_was_read",
        "_on_gone",
        "disconnected",
        "is_answered",
        "more_body",
        "scope",
        "task",
    )

    def __init__(self) -> None:
        # Set before anybody is shown the request.
        self.scope: Scope
        self.task: asyncio.Task[None] | None = None
        self.disconnected = False
        # The body: what has arrived and was not received yet, and whether there is more to come.
        self._body: bytes | bytearray = b""
        self.more_body = True
        self._end_was_read = False
        self._arrived: asyncio.Event | None = None
        self._on_gone: Callable[[], None] | None = None
        # The last of the reply is said.
        self.is_answered = False

    # What each version has its own of.

    @abstractmethod
    def _ask(self) -> None:
        """Have the peer send more of the body."""

    def _received(self, size: int) -> None:  # noqa: B027 - HTTP/1.1 has nobody to tell
        """Take it that the application has taken so many bytes of the body."""

    @abstractmethod
    def _say(self, reply: Reply) -> None:
        """Send a whole reply.

        Raises:
            ValueError: HTTP cannot carry it.
        """

    @abstractmethod
    def _give_up(self, reason: Reason) -> None:
        """Answer in place of the application, where there is still somebody to answer and something to say."""

    @abstractmethod
    def _ended(self) -> None:
        """Take it that the application is done."""

    # What the connection says.

    @property
    def body(self) -> bytes:
        """What has come of the body and was not received yet."""
        return bytes(self._body)

    def feed(self, piece: bytes) -> int:
        """Take a piece of the body; return how many bytes of it wait to be received."""
        if not self._body:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        self._wake()
        return len(self._body)

    def end(self) -> None:
        """Take the end of the body."""
        self.more_body = False
        self._wake()

    def answer_at_once(self, at_once: AtOnce, body: bytes) -> Answer | None:
        """Answer a request that is whole without the application, where `at_once` can; give what it was answered."""
        answer = at_once(self.scope, body)
        if answer is None:
            return None
        status, headers, body, trailers = answer.reply
        try:
            self._say(Reply(status, headers + answer.headers, body, trailers))
        except ValueError:
            _log.exception("a reply that HTTP cannot carry")
            self._give_up(FAILED)
            return Answer(answer.reply, answer.headers)
        return answer

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
            self._ended()

    # What the application calls.

    async def receive(self) -> Event:
        """Give the next event; after the body's end, wait until the caller is gone or has its reply."""
        while True:
            if self.disconnected or self.is_answered:
                return {"type": "http.disconnect"}
            if self._body or not (self.more_body or self._end_was_read):
                break
            self._ask()
            if self._arrived is None:
                self._arrived = asyncio.Event()
            self._arrived.clear()
            await self._arrived.wait()
        body = bytes(self._body)
        self._body = b""
        more = self.more_body
        self._end_was_read = not more
        if body:
            self._received(len(body))
        return {"type": "http.request", "body": body, "more_body": more}

    @abstractmethod
    async def send(self, event: Event) -> None:
        """Take the next event of the reply.

        Raises:
            CallerGone: there is nobody to send it to.
            RuntimeError: the event is not one that may follow.
            KeyError: a status that no final reply has.
            ValueError: a header that would not be one on the wire, or a body that is not as long as it was said to be.
        """

    def call_when_gone(self, callback: Callable[[], None] | None) -> None:
        """See `TellsWhenGone`."""
        self._on_gone = callback
        if callback is not None:
            self._ask()
            self._tell_if_gone()

    def _tell_if_gone(self) -> None:
        if self.disconnected and self._on_gone is not None:
            callback, self._on_gone = self._on_gone, None
            callback()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
        self._tell_if_gone()


def length_of(value: bytes, before: int | None) -> int:
    """Read the content-length of a reply; `before` is one that it has already.

    Raises:
        ValueError: it is no length, or the second one.
    """
    if before is not None or not value.isdigit():
        raise ValueError("a reply has one length, in digits")
    return int(value)


def missing_after(piece: bytes, missing: int, *, more_body: bool) -> int:
    """Return how many bytes of a body of known length are missing after a piece of it.

    Raises:
        ValueError: it has more of them, or ends without them.
    """
    missing -= len(piece)
    if missing and (missing < 0 or not more_body):
        raise ValueError(f"the body is {'shorter' if missing > 0 else 'longer'} than its content-length")
    return missing
