"""HTTP/1.1 on uvicorn and httptools, inside the running event loop, with the limits that uvicorn lacks.

uvicorn takes a header block of any size and waits for it for ever. Here it is counted while it is received: past the
limit the answer is 431 and the connection is closed, long before the block is complete. What goes wrong before there
is a request to give to the application is answered in the JSON form of its errors.
"""

import asyncio
import contextlib
import functools
import re
import socket
import ssl
from typing import Any, Final

import grpc
import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway._status import status_json
from gateway._types import ASGIApplication
from gateway.hosts.one_port import FirstBytes, HTTP2Pipes

DEFAULT_MAX_HEADER_BYTES: Final = 32 * 1024
DEFAULT_HEADER_TIMEOUT: Final = 10.0
DEFAULT_KEEP_ALIVE: Final = 75.0

_BACKLOG: Final = 2048
_TLS_HANDSHAKE_TIMEOUT: Final = 10.0
# What of a body that nobody reads any more is taken and dropped, so that its sender gets to read the reply.
_MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024
# Cancelled tasks get so many seconds to answer before their connections are cut.
_CUT_AFTER: Final = 1.0

_MALFORMED: Final = (400, grpc.StatusCode.INVALID_ARGUMENT, "the HTTP request is malformed")
_TOO_LARGE: Final = (431, grpc.StatusCode.RESOURCE_EXHAUSTED, "the request's headers are too large")
_TOO_SLOW: Final = (408, grpc.StatusCode.DEADLINE_EXCEEDED, "the request's headers did not arrive in time")


_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)

_REFUSAL_HEADERS: Final = (
    b"content-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
)


class UvicornHost:
    """Runs an ASGI application on a bound socket. It installs no signal handlers and writes no access log.

    Args:
        application: what to run; it gets no lifespan events.
        sock: bound, not yet listening; the host closes it.
        tls: what the socket speaks TLS with; None for plain text. What is served is offered by ALPN, HTTP/1.1 first.
        http2: takes the connections that speak HTTP/2; where it is None they end after `header_timeout`.
        max_header_bytes: the longest request line and header block together.
        header_timeout: seconds for a request's headers to arrive, from a connection's start or from their first byte.
        keep_alive: seconds for which an idle connection stays open.
    """

    def __init__(
        self,
        application: ASGIApplication,
        sock: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        http2: HTTP2Pipes | None = None,
        max_header_bytes: int = DEFAULT_MAX_HEADER_BYTES,
        header_timeout: float = DEFAULT_HEADER_TIMEOUT,
        keep_alive: float = DEFAULT_KEEP_ALIVE,
    ) -> None:
        self._socket = sock
        self._tls = tls
        self._http2 = http2
        self._undecided: set[FirstBytes] = set()
        self._newest_tls: ssl.SSLContext | None = None
        if tls is not None:
            # Called at each handshake, with or without a server name.
            tls.sni_callback = self._use_newest_tls
            self.replace_tls(tls)
        self._state = ServerState()
        self._config = Config(
            application,
            http=_Protocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive,  # type: ignore[arg-type] # handed to call_later, which takes fractions
            # Otherwise a pipelined request would run in the context of the one before it.
            reset_contextvars=True,
        )
        self._limits = (max_header_bytes, header_timeout)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        if not self._config.loaded:
            self._config.load()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol if self._http2 is None else functools.partial(self._first_bytes, self._http2),
            sock=self._socket,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else _TLS_HANDSHAKE_TIMEOUT,
            backlog=_BACKLOG,
        )

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        """Use another certificate for the connections that come from now on; those that are open stay as they are.

        Browsers offer both versions of HTTP and get the first, gRPC clients offer the second alone.
        """
        tls.set_alpn_protocols(["http/1.1"] if self._http2 is None else ["http/1.1", "h2"])
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
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks and grace > 0:
            await asyncio.wait(self._state.tasks, timeout=grace)
        if self._state.tasks:
            for task in list(self._state.tasks):
                task.cancel()
            await asyncio.wait(self._state.tasks, timeout=_CUT_AFTER)
        for connection in list(self._state.connections):
            connection.shutdown()
        # Closing transports write what is buffered in the turns of the loop that follow.
        await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CUT_AFTER):
                while self._state.connections:  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _protocol(self) -> "_Protocol":
        return _Protocol(self._config, self._state, {}, limits=self._limits)

    def _first_bytes(self, http2: HTTP2Pipes) -> FirstBytes:
        return FirstBytes(self._protocol, http2, self._undecided, self._limits[1])


def _without_upgrade(data: bytes) -> bytes:
    """Take the name from an offer to change the protocol, of which clients must expect that it is not taken up.

    The parser would take the body for the other protocol's, and clients that offer h2c send one (RFC 7540, 3.2).
    """
    head, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-ignored:", head) + blank + rest


class _Refuse(Exception):
    """Leaves the parser; what to answer stands in the protocol."""


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with a limit on headers, in bytes and in time."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], *, limits: tuple[int, float]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._max_header_bytes, self._header_timeout = limits
        self._in_headers = True
        self._header_bytes = 0
        self._chunk_bytes = 0
        self._discarded = 0
        self._refusal = _MALFORMED
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(self._header_timeout, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._chunk_bytes = len(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if b"pgrade:" in data or b"PGRADE:" in data:
                data = _without_upgrade(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Not served: the request was, as what it says beside; no further one is read.
            if self.cycle is not None:
                self.cycle.keep_alive = False
            return
        except httptools.HttpParserError:
            self._refuse()
            return
        if self._in_headers and self._header_bytes:
            if self._header_bytes > self._max_header_bytes:
                self._refusal = _TOO_LARGE
                self._refuse()
            elif self._header_timer is None:
                self._header_timer = self.loop.call_later(self._header_timeout, self._headers_late)

    def on_headers_complete(self) -> None:
        if (
            self._header_bytes + self._chunk_bytes > self._max_header_bytes
            and self._headers_size() > self._max_header_bytes
        ):
            self._refusal = _TOO_LARGE
            raise _Refuse
        self._in_headers = False
        self._header_bytes = 0
        self._stop_header_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_headers and self._header_timer is None and self.cycle.response_complete:
            # The reply did not wait for the rest of the request, and the connection does not wait for ever.
            self._header_timer = self.loop.call_later(self._header_timeout, self.transport.close)

    def on_message_complete(self) -> None:
        self._stop_header_timer()
        super().on_message_complete()
        self._in_headers = True
        self._discarded = 0

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > _MAX_DISCARDED_BYTES:
                self.transport.close()
            return
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - in the form of this project's errors instead
        self._refuse()

    def _headers_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self) -> None:
        self._stop_header_timer()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # type: ignore[redundant-expr] # None before a request
            cycle.keep_alive = False
            if not cycle.more_body:
                # The request before this one is whole and gets its reply; the connection closes after it.
                return
            # The application waits for more of this body; to it the caller is gone.
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
        status, code, message = self._refusal
        body = status_json(code, message)
        self.transport.write(STATUS_LINE[status] + _REFUSAL_HEADERS % len(body) + body)
        self.transport.close()

    def _headers_late(self) -> None:
        self._header_timer = None
        if self._header_bytes:
            self._refusal = _TOO_SLOW
            self._refuse()
        else:
            self.transport.close()

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
