"""Requests of HTTP/1.1 to the byte like one before: answered without parsing them, by what is known of that one.

A client that polls sends the same bytes each time, and to parse them, to make a scope of them, to find out what they
repeat and to write the head of the reply takes more than half of such a call: 17 µs without this, 8 with it, of which
the caller of `Answer.again`, with its line in the log, has 5.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

from gateway._recurring import REMEMBERED, Recurring
from gateway._types import Address, Answer, Headers
from gateway.hosts.http1_request import head_of
from gateway.hosts.request import BODILESS

# A head of usual length and the body of a call that is repeated.
_LONGEST: Final = 4 * 1024
_END_OF_LINE: Final = b"\r\n"


class _Known(NamedTuple):
    head: bytes
    body: bytes
    again: Callable[[Address | None], Headers | None]


class KnownRequests:
    """The last requests that were answered at once and may be again, by SHA-256, so that no credentials are kept."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._known: Recurring[_Known] = Recurring(size)

    def reply(self, data: bytes, client: Address | None) -> bytes | None:
        """Give the whole reply to the bytes of a request, where it is known; None where they have to be parsed."""
        if not self._known or len(data) > _LONGEST:
            return None
        digest = sha256(data).digest()
        known = self._known.get(digest)
        if known is None:
            return None
        headers = known.again(client)
        if headers is None:
            self._known.drop(digest)
            return None
        lines = b"".join([name + b": " + value + _END_OF_LINE for name, value in headers])
        # What makes headers of a header is for the way in full to refuse.
        if not lines.count(b"\n") == lines.count(b"\r") == len(headers) or b"\0" in lines:
            return None
        return b"".join((known.head, lines, _END_OF_LINE, known.body))

    def keep(self, data: bytes, answer: Answer) -> None:
        """Keep what answers the bytes of a request once more, if anything does; they are one whole and nothing else."""
        reply, again = answer.reply, answer.again
        if again is None or len(data) > _LONGEST or reply.status in BODILESS:
            return
        digest = sha256(data).digest()
        if not self._known.wants(digest):
            return
        head = head_of(reply.status, reply.headers)
        if head.length != len(reply.body) or head.closes:
            return
        block = _END_OF_LINE.join((*head.lines, b""))
        self._known.put(digest, _Known(block, reply.body, again))
