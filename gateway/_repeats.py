"""Calls that repeat a call: the same request to the byte, whose servicer said what must still hold.

A client that asks again sends the same bytes, its token among them. What the gateway, its interceptors and the servicer
make of these is known by then; only what may have changed meanwhile has to be looked at. That takes a tenth of a call.
"""

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final, Generic, NamedTuple

from gateway._encoded_once import EncodedOnce, MessageType
from gateway._recurring import REMEMBERED, Recurring
from gateway._types import Event, Metadata, Receive, Reply, Scope

Again = Callable[[str, Metadata], Metadata | None]
"""Takes the caller's address, as `context.peer()` names it, and that of the request's metadata which the gateway was
told to repeat regardless of, and answers for one more call: gives its initial metadata, or None where something has
changed, and then the call is made in full."""


class Repeatable(Generic[MessageType]):
    """A response that a servicer, or an interceptor, may give in place of a message that calls share.

    Args:
        response: the message.
        again: called for each further request that is the same, in place of interceptors and servicer. Whoever gives
            it answers for all that these would have done: who may call, what is logged, what has changed.
    """

    __slots__ = ("again", "response")

    def __init__(self, response: EncodedOnce[MessageType], again: Again) -> None:
        self.response: Final = response
        self.again: Final = again


class Repeat(NamedTuple):
    """A call that was answered: the body it had, what it answered but for initial metadata, and what may repeat it."""

    body: bytes
    reply: Reply
    again: Again


class Asked(NamedTuple):
    """A request: its digest, and what of its metadata stands apart from that."""

    digest: bytes | None
    apart: Metadata


_NOTHING: Final = Asked(None, ())

# Deadlines of a millisecond and more, as `_timeout` reads them.
_GRPC_TIMEOUT: Final = re.compile(rb"[1-9][0-9]{0,7}[HMSm]|[1-9][0-9]{3,7}u|[1-9][0-9]{6,7}n")
_CONNECT_TIMEOUT: Final = re.compile(rb"[1-9][0-9]{0,9}")
_DEADLINES: Final[dict[bytes, Callable[[bytes], object]]] = {
    b"grpc-timeout": _GRPC_TIMEOUT.fullmatch,
    b"connect-timeout-ms": _CONNECT_TIMEOUT.fullmatch,
}


# What the gateway itself reads of a request, and what makes metadata malformed.
_READ: Final = frozenset(
    {b":authority", b"accept", b"accept-encoding", b"host", b"origin", b"te", b"transfer-encoding"}
)
_READ_PREFIXES: Final = (b"access-control-", b"connect-", b"content-", b"grpc-")
_BINARY: Final = b"-bin"

# What a header is to a request: no part of it, a part of it, or something that stands apart.
_NO_PART: Final = 0
_PART: Final = 1
_APART: Final = 2
_LEARNED: Final = 1_000


class Repeats:
    """The last calls that may be repeated, by SHA-256 of their requests, so that no credentials are kept.

    A deadline is no part of a request, as a repetition takes no time; see `Gateway` for the two parameters.
    """

    def __init__(self, by: Iterable[str] | None = None, regardless: Iterable[str] = ()) -> None:
        self._by = None if by is None else frozenset(name.lower().encode("ascii") for name in by)
        self._regardless = frozenset(name.lower().encode("ascii") for name in regardless)
        self._meanings: dict[bytes, int | Callable[[bytes], object]] = {}
        self.known: Recurring[Repeat] = Recurring()
        # Other paths do not pay for the digest.
        self._paths: set[str] = set()

    def asked(self, scope: Scope) -> Asked:
        """Take a request without its body; it has no digest where no such request was ever repeatable."""
        return self._taken(scope) if scope["path"] in self._paths else _NOTHING

    def keep(self, scope: Scope, digest: bytes | None, repeat: Repeat) -> None:
        """Keep a call that may be repeated, where its request may come again."""
        if digest is None:
            # A path is an RPC's or a rule's; the many that a variable makes are as good as one each.
            if len(self._paths) < REMEMBERED:
                self._paths.add(scope["path"])
            digest = self._taken(scope).digest
        if digest is not None and self.known.wants(digest):
            self.known.put(digest, repeat)

    def _taken(self, scope: Scope) -> Asked:
        extensions = scope.get("extensions")
        trailers = "trailers" if extensions and "http.response.trailers" in extensions else ""
        about = f"{scope['method']}\n{scope.get('scheme', '')}\n{scope.get('root_path', '')}\n{trailers}"
        parts: list[bytes] = [
            about.encode("utf-8", "replace"),
            scope.get("raw_path") or scope["path"].encode("utf-8", "replace"),
            scope.get("query_string", b""),
        ]
        apart: Metadata = ()
        meanings = self._meanings
        for name, value in scope["headers"]:
            meaning = meanings.get(name)
            if meaning is None:
                meaning = self._learn(name)
            if meaning == _PART:
                parts += (name, value)
            elif meaning == _APART:
                apart += ((name.decode("ascii"), value.decode("latin-1")),)
            elif meaning != _NO_PART and not meaning(value):  # type: ignore[operator] # what is left is a function
                parts += (name, value)
        request = b"\n".join(parts)
        # Nothing that HTTP lets through has a line break; where a host lets it, two requests could look the same.
        return Asked(sha256(request).digest() if request.count(b"\n") == len(parts) + 2 else None, apart)

    def _learn(self, name: bytes) -> int | Callable[[bytes], object]:
        lower = name.lower()
        meaning: int | Callable[[bytes], object] = _PART
        if lower in _DEADLINES:
            meaning = _DEADLINES[lower]
        elif lower in self._regardless:
            meaning = _APART
        elif self._by is not None and not (
            lower in self._by or lower in _READ or lower.startswith(_READ_PREFIXES) or lower.endswith(_BINARY)
        ):
            meaning = _NO_PART
        if len(self._meanings) < _LEARNED:
            self._meanings[name] = meaning
        return meaning


def returned(event: Event, receive: Receive) -> Receive:
    """Give a `receive` that gives an event once more before those that follow."""
    events = [event]

    async def receive_again() -> Event:
        return events.pop() if events else await receive()

    return receive_again
