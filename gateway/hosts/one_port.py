"""HTTP/2 beside HTTP/1.1 on one listener: the first bytes of a connection decide who gets it.

A connection that opens with the preface of HTTP/2 (RFC 9113, 3.4), or that agreed on `h2` by ALPN, is handed, with what
was read of it, to the protocol for HTTP/2, any other to the one for HTTP/1.1; it costs nothing more from there on.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.hosts.http2_frames import PREFACE


class FirstBytes(asyncio.Protocol):
    """Reads the start of one connection, and hands the connection on.

    Args:
        http1: makes the protocol of a connection that does not speak HTTP/2.
        http2: makes that of the others.
        waiting: where the connection registers itself while it is undecided.
        timeout: seconds for it to be decided.
    """

    __slots__ = ("_http1", "_http2", "_received", "_timeout", "_timer", "_transport", "_waiting")

    def __init__(
        self,
        http1: Callable[[], asyncio.Protocol],
        http2: Callable[[], asyncio.Protocol],
        waiting: "set[FirstBytes]",
        timeout: float,
    ) -> None:
        self._http1 = http1
        self._http2 = http2
        self._waiting = waiting
        self._timeout = timeout
        self._received = b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand on what ALPN has decided; begin to wait otherwise."""
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        agreed = None if tls is None else tls.selected_alpn_protocol()
        if agreed is not None:
            self._hand_on(http2=agreed == "h2")
            return
        self._waiting.add(self)
        self._timer = asyncio.get_running_loop().call_later(self._timeout, transport.close)

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes are the preface, or differ from it."""
        self._received += data
        if self._received.startswith(PREFACE):
            self._hand_on(http2=True)
        elif not PREFACE.startswith(self._received):
            self._hand_on(http2=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self._decided()

    def close(self) -> None:
        """Close a connection that has not said anything yet."""
        self._transport.close()

    def _hand_on(self, *, http2: bool) -> None:
        self._decided()
        protocol = self._http2() if http2 else self._http1()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._received:
            protocol.data_received(self._received)

    def _decided(self) -> None:
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
