"""Names for the shapes that ASGI and gRPC pass around.

ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

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


AtOnce: TypeAlias = Callable[[Scope, bytes], Reply | None]
"""Answers a request whose whole body is there without waiting for anything; None where a call has to be made of it."""

if TYPE_CHECKING:
    # Generic in its stubs alone.
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
