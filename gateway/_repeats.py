"""Calls that repeat a call: the same request to the byte, whose servicer said what must still hold.

A client that asks again sends the same bytes, its token among them. What the gateway, its interceptors and the servicer
make of these is known by then; only what may have changed meanwhile has to be looked at. That takes a tenth of a call.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import chain
from typing import Final, Generic, NamedTuple

from gateway._encoded_once import EncodedOnce, MessageType
from gateway._types import Event, Metadata, Receive, Reply, Scope

Again = Callable[[str, Metadata], Metadata | None]
"""Takes the caller's address, as `context.peer()` names it, and that of the request's metadata which the gateway was
told to repeat regardless of, and answers for one more call: gives its initial metadata, or None where something has
changed, and then the call is made in full."""

_REMEMBERED: Final = 10_000


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


class Repeats:
    """The last calls that may be repeated, by SHA-256 of their requests, so that no credentials are kept.

    While there is room each is kept. Then a request is kept when it comes for the second time, so that clients who send
    something new in every call do not push those out that repeat.
    Headers of the names in `regardless` are no part of it, and neither is a deadline: a repetition takes no time.
    """

    def __init__(self, regardless: Iterable[str] = (), size: int = _REMEMBERED) -> None:
        self._size = size
        self._apart: dict[bytes, Callable[[bytes], object] | None] = {
            **{name.lower().encode("ascii"): None for name in regardless},
            b"grpc-timeout": _GRPC_TIMEOUT.fullmatch,
            b"connect-timeout-ms": _CONNECT_TIMEOUT.fullmatch,
        }
        # A dict takes longer to find its oldest entry the more of them were removed.
        self._known: OrderedDict[bytes, Repeat] = OrderedDict()
        self._seen_once: OrderedDict[bytes, None] = OrderedDict()
        # Other paths do not pay for the digest.
        self._paths: set[str] = set()

    def asked(self, scope: Scope) -> Asked:
        """Take a request without its body; it has no digest where no such request was ever repeatable."""
        return self._taken(scope) if scope["path"] in self._paths else _NOTHING

    def get(self, digest: bytes) -> Repeat | None:
        """Give the call that a request repeats, should its body be the same."""
        return self._known.get(digest)

    def wants(self, scope: Scope, digest: bytes | None) -> bytes | None:
        """Give the digest under which a repeatable call is to be kept, None where it is not yet."""
        if digest is None:
            # A path is an RPC's or a rule's; the many that a variable makes are as good as one each.
            if len(self._paths) < self._size:
                self._paths.add(scope["path"])
            digest = self._taken(scope).digest
        if digest is None or digest in self._known or len(self._known) < self._size or digest in self._seen_once:
            return digest
        if len(self._seen_once) >= self._size:
            self._seen_once.popitem(last=False)
        self._seen_once[digest] = None
        return None

    def put(self, digest: bytes, repeat: Repeat) -> None:
        """Keep a call, in place of the one that has been there longest where there are too many."""
        self._seen_once.pop(digest, None)
        self._known[digest] = repeat
        self._known.move_to_end(digest)
        if len(self._known) > self._size:
            self._known.popitem(last=False)

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
        headers = scope["headers"]
        if self._apart.keys().isdisjoint(dict(headers)):
            parts += chain.from_iterable(headers)
        else:
            for name, value in headers:
                if name not in self._apart:
                    parts += (name, value)
                    continue
                is_good = self._apart[name]
                if is_good is None:
                    apart += ((name.decode("ascii"), value.decode("latin-1")),)
                elif not is_good(value):
                    parts += (name, value)
        request = b"\n".join(parts)
        # Nothing that HTTP lets through has a line break; where a host lets it, two requests could look the same.
        return Asked(sha256(request).digest() if request.count(b"\n") == len(parts) + 2 else None, apart)


def returned(event: Event, receive: Receive) -> Receive:
    """Give a `receive` that gives an event once more before those that follow."""
    events = [event]

    async def receive_again() -> Event:
        return events.pop() if events else await receive()

    return receive_again
