"""Names for the shapes that ASGI and gRPC pass around.

ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import grpc

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Header: TypeAlias = tuple[bytes, bytes]
Headers: TypeAlias = list[Header]

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
"""gRPC metadata: lower-case keys, `bytes` for keys that end in `-bin`, `str` for the others."""


class Reply(NamedTuple):
    """A whole HTTP reply; with `trailers`, be they empty, something follows the body."""

    status: int
    headers: Headers
    body: bytes = b""
    trailers: Headers | None = None


Address: TypeAlias = tuple[str, int | None]
"""Host and port as ASGI has them; of a unix socket its path and None."""


class Answer(NamedTuple):
    """A reply that is there at once, and what answers the same request again.

    `headers` are those of this call alone, beside the reply's. `again` takes the caller's address and gives such ones
    for one more request that is the same to the byte, or None where it can no longer be answered so.
    """

    reply: Reply
    headers: Headers
    again: Callable[[Address | None], Headers | None] | None = None


AtOnce: TypeAlias = Callable[[Scope, bytes], Answer | None]
"""Answers a request whose whole body is there without waiting for anything; None where a call has to be made of it."""


@runtime_checkable
class TellsWhenGone(Protocol):
    """What a host's `receive` may be a method of, for whom would wait in it for nothing but the caller's leaving."""

    def call_when_gone(self, callback: Callable[[], None] | None) -> None:
        """Call back, once, when the caller is gone; None takes that back."""


if TYPE_CHECKING:
    # Generic in its stubs alone.
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
