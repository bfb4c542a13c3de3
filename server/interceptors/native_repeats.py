"""Calls on the native listener that repeat a call: the same metadata and message, whose servicer said what must hold.

The gateway does the same with `gateway.Repeatable`, and knows a call by its request of HTTP; here there is only what
grpc.aio makes of one.
"""

from contextvars import ContextVar
from hashlib import blake2b
from itertools import chain
from typing import Any, Final, NamedTuple, cast

import grpc

from gateway import Again, EncodedOnce, Metadata, Repeatable
from server.interceptors.layers import Behaviour, Context, Handler, Layers, behaviour_of, with_behaviour

_REMEMBERED: Final = 10_000

# How many metadata a call has, and the digest of them.
_Key = tuple[int, bytes]

# The key under which the call is to be kept, should it turn out to be repeatable.
_key: ContextVar[_Key | None] = ContextVar("key", default=None)
# Those of its metadata that differ in every call.
_apart: ContextVar[Metadata] = ContextVar("apart", default=())


class Repeats:
    """One RPC of a single request and response, and the last calls of it that may be repeated.

    They are known by the BLAKE2b of their metadata, so that no credentials are kept, from the second time on: of
    callers who send something new in every call nothing is. Metadata of the names in `regardless` do not count, and
    neither does a deadline: a repetition takes no time.

    Args:
        method: the RPC's path.
        handler: what serves it, inside of `layers`; its messages come as bytes.
        layers: what looks at a call that repeats none after all.
        regardless: names of metadata.
        size: how many calls are kept.
    """

    def __init__(
        self, method: str, handler: Handler, layers: Layers, regardless: frozenset[str], *, size: int = _REMEMBERED
    ) -> None:
        self._method = method
        self._layers = layers
        self._regardless = regardless
        self._size = size
        # RPCs whose calls are never repeatable do not pay for digests.
        self._repeatable = False
        self._known: dict[_Key, Handler | None] = {}
        inside = behaviour_of(handler)

        # A function, as grpc.aio asks at each call whether it is asynchronous, and of anything else that takes longer.
        async def full(request: bytes, context: Context) -> Any:
            response = await inside(request, context)
            return self._kept(_key.get(), request, response) if type(response) is Repeatable else response

        self._full = full
        # What serves a call that the layers have looked at.
        self.handler = with_behaviour(handler, full, None, handler.response_serializer)

    def find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """Return what serves a call that repeats another; None where the layers are to look at it."""
        if not self._repeatable:
            return None
        metadata: Metadata = details.invocation_metadata
        try:
            key = _key_of(metadata)
        except TypeError:
            # Metadata that are bytes: nobody here has such.
            return None
        return self._known.get(key) or self._look(key, metadata)

    def _look(self, key: _Key, metadata: Metadata) -> Handler | None:
        """Do the rest of `find`: a call that has nothing of its own need not be looked through for it."""
        apart = tuple(pair for pair in metadata if pair[0] in self._regardless)
        if apart:
            metadata = tuple(pair for pair in metadata if pair[0] not in self._regardless)
            key = _key_of(metadata)
            known = self._known.get(key)
            if known is not None:
                _apart.set(apart)
                return known
        if key in self._known:
            _key.set(key)
        # Nothing that HTTP/2 lets through has a line break; if it had, two calls could have one key.
        elif not any("\n" in text for pair in metadata for text in pair):
            self._put(key, None)
        return None

    def _kept(self, key: _Key | None, request: bytes, response: Repeatable[Any]) -> EncodedOnce[Any]:
        self._repeatable = True
        if key is not None:
            serializer = self.handler.response_serializer
            reply = serializer(response.response) if serializer else response.response
            repeating = self._repeating(key, request, reply, response.again)
            self._put(key, with_behaviour(self.handler, repeating, None, serializer))
        return response.response

    def _put(self, key: _Key, handler: Handler | None) -> None:
        """Keep a call, in place of the one that has been there longest where there are too many."""
        self._known.pop(key, None)
        if len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[key] = handler

    def _repeating(self, key: _Key, first: bytes, reply: Any, again: Again) -> Behaviour:
        async def repeating(request: bytes, context: Context) -> Any:
            if request == first:
                metadata = again(context.peer(), _apart.get())
                if metadata is not None:
                    context.set_trailing_metadata(metadata)
                    return reply
            details = cast("grpc.HandlerCallDetails", _Details(self._method, context.invocation_metadata()))
            waiting = self._layers.open(details, self.handler)
            if waiting is not None:
                await waiting()
            _key.set(key)
            return await self._full(request, context)

        return repeating


class _Details(NamedTuple):
    """What grpc.HandlerCallDetails is, of which nobody but grpc can make one."""

    method: str
    invocation_metadata: Any


def _key_of(metadata: Metadata) -> _Key:
    """Raises TypeError where some are bytes. SHA-256 by OpenSSL takes three times as long between two calls."""
    return len(metadata), blake2b("\n".join(chain.from_iterable(metadata)).encode()).digest()  # type: ignore[arg-type]
