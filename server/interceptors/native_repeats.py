"""Calls on the native listener that repeat a call: the same metadata and message, whose servicer said what must hold.

The gateway does the same with `gateway.Repeatable`, and knows a call by its request of HTTP; here there is only what
grpc.aio makes of one.
"""

from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, NamedTuple, cast

import grpc

from gateway import Again, EncodedOnce, Metadata, Recurring, Repeatable
from server.interceptors.layers import Behaviour, Context, Handler, Layers, behaviour_of, with_behaviour

# The key under which the call is to be kept, should it turn out to be repeatable.
_key: ContextVar[bytes | None] = ContextVar("key", default=None)
# Those of its metadata that decide nothing.
_apart: ContextVar[Metadata] = ContextVar("apart", default=())


class Repeats:
    """One RPC of a single request and response, and the last calls of it that may be repeated.

    They are known by the BLAKE2b of their metadata of the names in `by`, so that no credentials are kept; a deadline
    does not count either, as a repetition takes no time.

    Args:
        method: the RPC's path.
        handler: what serves it, inside of `layers`; its messages come as bytes.
        layers: what looks at a call that repeats none after all.
        by: names of the metadata that decide.
        regardless: names of those that are shown to `Repeatable.again`.
    """

    def __init__(
        self, method: str, handler: Handler, layers: Layers, by: frozenset[str], regardless: frozenset[str]
    ) -> None:
        self._method = method
        self._layers = layers
        self._by = by
        self._regardless = regardless
        # RPCs whose calls are never repeatable do not pay for digests.
        self._repeatable = False
        self._known: Recurring[Handler] = Recurring()
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
        parts: list[str] = []
        apart: Metadata = ()
        for pair in details.invocation_metadata:
            name, value = pair
            if name in self._by:
                parts += (name, value if isinstance(value, str) else value.hex())
            elif name in self._regardless:
                apart += (pair,)
        text = "\n".join(parts)
        if text.count("\n") >= len(parts) > 0:
            # Nothing that HTTP/2 lets through has a line break; if it had, two calls could have one key.
            return None
        # SHA-256 by OpenSSL takes three times as long between two calls.
        key = blake2b(text.encode()).digest()
        known = self._known.get(key)
        if known is None and self._known.wants(key):
            _key.set(key)
        elif apart:
            _apart.set(apart)
        return known

    def _kept(self, key: bytes | None, request: bytes, response: Repeatable[Any]) -> EncodedOnce[Any]:
        self._repeatable = True
        if key is not None:
            serializer = self.handler.response_serializer
            reply = serializer(response.response) if serializer else response.response
            repeating = self._repeating(key, request, reply, response.again)
            self._known.put(key, with_behaviour(self.handler, repeating, None, serializer))
        return response.response

    def _repeating(self, key: bytes, first: bytes, reply: Any, again: Again) -> Behaviour:
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
