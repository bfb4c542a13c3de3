"""HTTP/1.1 and HTTP/2 on one socket: an ASGI application inside the running event loop, with limits on its peers."""

import asyncio
import functools
import socket
import ssl
from typing import Final

from gateway._types import ASGIApplication, AtOnce
from gateway.hosts.http1 import HTTP1Connection
from gateway.hosts.http1_known import KnownRequests
from gateway.hosts.http2 import HTTP2Connection
from gateway.hosts.one_port import FirstBytes
from gateway.hosts.served import (
    DEFAULT_HEADER_TIMEOUT,
    DEFAULT_KEEP_ALIVE,
    DEFAULT_MAX_HEADER_BYTES,
    DEFAULT_PING_EVERY,
    DEFAULT_PING_TIMEOUT,
    Served,
)

_BACKLOG: Final = 2048
_TLS_HANDSHAKE_TIMEOUT: Final = 10.0
# Cancelled tasks get so many seconds to answer before their connections are cut.
_CUT_AFTER: Final = 1.0


class HTTPHost:
    """Runs an ASGI application on a bound socket. It installs no signal handlers and writes no access log.

    Args:
        application: what to run; it gets no lifespan events.
        at_once: asked first, where the whole of a request is there; what it answers costs neither a task nor events.
        sock: bound, not yet listening; the host closes it.
        tls: what the socket speaks TLS with; None for plain text. Both versions are offered by ALPN, HTTP/2 first.
        max_header_bytes: the longest request line and header block together.
        header_timeout: seconds for a request's headers to arrive, from a connection's start or from their first byte.
        keep_alive: seconds for which an idle connection of HTTP/1.1 stays open.
        ping_every: seconds of silence after which the peer of a connection of HTTP/2 is asked whether it is there.
        ping_timeout: seconds for it to say so.
    """

    def __init__(
        self,
        application: ASGIApplication,
        sock: socket.socket,
        *,
        at_once: AtOnce | None = None,
        tls: ssl.SSLContext | None = None,
        max_header_bytes: int = DEFAULT_MAX_HEADER_BYTES,
        header_timeout: float = DEFAULT_HEADER_TIMEOUT,
        keep_alive: float = DEFAULT_KEEP_ALIVE,
        ping_every: float = DEFAULT_PING_EVERY,
        ping_timeout: float = DEFAULT_PING_TIMEOUT,
    ) -> None:
        self._socket = sock
        self._tls = tls
        self._newest_tls: ssl.SSLContext | None = None
        if tls is not None:
            # Called at each handshake, with or without a server name.
            tls.sni_callback = self._use_newest_tls
            self.replace_tls(tls)
        self._served = Served(
            application, at_once, max_header_bytes, header_timeout, keep_alive, ping_every, ping_timeout
        )
        self._undecided: set[FirstBytes] = set()
        self._header_timeout = header_timeout
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.get_running_loop().create_server(
            functools.partial(
                FirstBytes,
                functools.partial(HTTP1Connection, self._served, KnownRequests()),
                functools.partial(HTTP2Connection, self._served),
                self._undecided,
                self._header_timeout,
            ),
            sock=self._socket,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else _TLS_HANDSHAKE_TIMEOUT,
            backlog=_BACKLOG,
        )

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        """Use another certificate for the connections that come from now on; those that are open stay as they are."""
        tls.set_alpn_protocols(["h2", "http/1.1"])
        self._newest_tls = tls

    def _use_newest_tls(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._newest_tls is not None:
            connection.context = self._newest_tls

    async def stop(self, grace: float) -> None:
        """Stop accepting, give running calls `grace` seconds to finish, then cut them."""
        if self._server is None:
            return
        self._server.close()
        for undecided in list(self._undecided):
            undecided.close()
        connections = self._served.connections
        for connection in list(connections):
            connection.shut_down()
        await self._end_calls(grace)
        for connection in list(connections):
            connection.shut_down()
        # Closing transports write what is buffered in the turns of the loop that follow.
        await asyncio.sleep(0)
        ends = asyncio.get_running_loop().time() + _CUT_AFTER
        while connections and asyncio.get_running_loop().time() < ends:  # noqa: ASYNC110 - an event would be for this alone
            await asyncio.sleep(0.01)
        for connection in list(connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _end_calls(self, grace: float) -> None:
        tasks = self._served.tasks
        loop = asyncio.get_running_loop()
        ends = loop.time() + grace
        # A request that waits for the one before it on its connection of HTTP/1.1 becomes a task only then.
        while tasks and (left := ends - loop.time()) > 0:
            done, _ = await asyncio.wait(tasks, timeout=left)
            tasks -= done
        for connection in list(self._served.connections):
            connection.drop_waiting()
        if tasks:
            for task in list(tasks):
                task.cancel()
            await asyncio.wait(tasks, timeout=_CUT_AFTER)
            # One that was cancelled before its first step could not take itself out.
            tasks.clear()
