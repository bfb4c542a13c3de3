"""One request of an HTTP/2 connection and its reply, as an ASGI application sees them.

With trailers: https://asgi.readthedocs.io/en/latest/extensions.html#http-trailers.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from gateway._types import Address, Answer, Event, Header, Reply
from gateway.hosts.answers import CallerGone, Reason, answer
from gateway.hosts.http2_frames import INTERNAL_ERROR
from gateway.hosts.http2_headers import CONTINUE, KnownAnswer, RequestHead, status_field, write_fields
from gateway.hosts.http2_sending import Outgoing, Sending
from gateway.hosts.request import BODILESS, HostedRequest, length_of, missing_after

# How far the reply is.
_NOTHING: Final = 0  # the application has said nothing yet
_BODY: Final = 1  # the body is next, or more of it
_TRAILERS: Final = 2  # the body is whole, and trailers follow
_WHOLE: Final = 3

# Of a head that came again, so many bodies of so many bytes are known.
_BODIES_OF_A_HEAD: Final = 4
_LONGEST_KNOWN_BODY: Final = 1024


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


class Request(HostedRequest):
    """One request, and how far its reply is.

    Args:
        connection: that it came on.
        number: of its stream.
        head: that it came with.
        window: of the body's bytes that may come unread.
    """

    __slots__ = (
        "_connection",
        "_length",
        "_state",
        "_trailers",
        "_without_body",
        "awaits_continue",
        "head",
        "missing",
        "number",
        "outgoing",
        "unannounced",
        "window",
    )

    def __init__(
        self,
        connection: Connection,
        number: int,
        head: RequestHead,
        window: int,
    ) -> None:
        super().__init__()
        self._connection = connection
        self.head = head
        self.number = number
        # Of the body: how many bytes come by its length, what the peer may still send, and what was received of it and
        # the peer does not know yet.
        self.missing = head.length
        self.window = window
        self.unannounced = 0
        # Whether the caller waits with its body until it is asked for it (RFC 9110, 10.1.1).
        self.awaits_continue = head.awaits_continue
        # The reply.
        self._state = _NOTHING
        self._trailers = False
        self._without_body = False
        self._length: int | None = None
        self.outgoing = Outgoing(connection.sending, number, self._reply_ended)

    # What the connection says.

    def disconnect(self) -> int:
        """Take it that the caller is gone; return how many bytes of its body nobody has received."""
        self.disconnected = True
        self.outgoing.drop()
        return self.drop()

    def drop(self) -> int:
        """Forget what of the body nobody has received; return how many bytes that were."""
        left = len(self._body)
        self._body = b""
        self._wake()
        return left

    def _give_up(self, reason: Reason) -> None:
        if self.is_answered or self.disconnected:
            return
        if self._state == _NOTHING:
            self.refuse(reason)
        else:
            self._whole()
            self._connection.reset(self.number, INTERNAL_ERROR)

    def refuse(self, reason: Reason) -> None:
        """Answer in place of the application."""
        headers, body = answer(reason)
        self._whole()
        is_head = self.head.method == "HEAD"
        self.outgoing.head(status_field(reason[0]) + write_fields(headers), last=is_head)
        if not is_head:
            self.outgoing.body(body, last=True)

    def answer_as_known(self, body: bytes, client: Address | None) -> bool:
        """Answer a request that is whole as one with the same head and body was answered, where that may be."""
        answers = self.head.answers
        known = answers.get(body)
        if known is None:
            return False
        headers = known.again(client)
        try:
            block = None if headers is None else known.block + write_fields(headers)
        except ValueError:
            # The way in full says so.
            block = None
        if block is None:
            del answers[body]
            return False
        outgoing, trailers = self.outgoing, known.trailers
        self._whole()
        outgoing.head(block)
        outgoing.body(known.body, last=trailers is None)
        if trailers is not None:
            outgoing.trailers(trailers)
        return True

    def make_known(self, body: bytes, answer: Answer) -> None:
        """Keep what answers another request with the same head and body, if anything does."""
        reply, again = answer.reply, answer.again
        answers = self.head.answers
        if again is None or self._without_body or len(body) > _LONGEST_KNOWN_BODY or len(answers) >= _BODIES_OF_A_HEAD:
            return
        trailers = None if reply.trailers is None else write_fields(reply.trailers)
        block = status_field(reply.status) + write_fields(reply.headers)
        answers[body] = KnownAnswer(block, reply.body, trailers, again)

    def _say(self, reply: Reply) -> None:
        self._take_head(reply.status, reply.headers, trailers=reply.trailers is not None)
        self._take_body(reply.body, more_body=False)
        if reply.trailers is not None:
            self._take_trailers(reply.trailers, more=False)

    def _ended(self) -> None:
        self._connection.ended(self)

    def _received(self, size: int) -> None:
        self._connection.received(self, size)

    def _ask(self) -> None:
        if self.awaits_continue and self.more_body:
            self.awaits_continue = False
            if self._state == _NOTHING:
                self.outgoing.head(CONTINUE)

    # What the application calls.

    async def send(self, event: Event) -> None:
        """See `HostedRequest.send`."""
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
        self._without_body = status in BODILESS or self.head.method == "HEAD"
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
            self._length = missing_after(body, self._length, more_body=more_body)
        if more_body:
            self.outgoing.body(body, last=False)
        elif self._trailers:
            self._state = _TRAILERS
            self.outgoing.body(body, last=False)
        else:
            self._whole()
            self.outgoing.body(body, last=True)

    def _take_trailers(self, headers: Iterable[Header], *, more: bool) -> None:
        block = write_fields(headers)
        if more:
            raise RuntimeError("trailers come in one piece here")
        self._whole()
        self.outgoing.trailers(block)

    def _whole(self) -> None:
        self._state = _WHOLE
        self.is_answered = True
        self._wake()

    def _reply_ended(self) -> None:
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
            length = length_of(value, length)
    return length
