"""What carries the HTTP port, for the composition root: the default, safe first."""

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socket
from typing import Protocol

import grpc

from gateway import Gateway
from gateway.hosts.http1 import HTTP1Host
from gateway.hosts.one_port import HTTP2Pipes
from gateway.hosts.piped_calls import PipedCalls
from server.certificates import Certificates
from server.listeners import bind
from server.native import listen_on, native_server, private_socket
from server.settings import Settings
from server.store.folder import DataFolder

# For the replies of the last calls to reach their callers, in seconds.
_LAST_REPLIES = 1.0


class HTTPFront(Protocol):
    """A listener for HTTP, already bound."""

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port that was taken."""

    def carry(self, gateway: Gateway, interceptor: grpc.aio.ServerInterceptor) -> Sequence[grpc.aio.Server]:
        """Take what is to be served; return the servers that need the same servicers as the gateway."""

    async def start(self) -> None:
        """Return once calls are taken."""

    async def stop(self, grace: float) -> None:
        """Stop accepting, and give running calls `grace` seconds to finish."""

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        """Use another certificate for the connections that come from now on."""


@contextmanager
def one_port(settings: Settings, folder: DataFolder, certificates: Certificates | None) -> Iterator[HTTPFront]:
    """Bind for HTTP/1.1 in the event loop and HTTP/2 on grpc.aio; the first bytes of a connection decide.

    Raises:
        SettingsError: the address cannot be bound, or there is no room for a unix socket.
    """
    with (
        closing(bind(settings.http.address, "HTTP", "--http")) as listener,
        private_socket(folder.path) as http2,
    ):
        yield _OnePort(settings, listener, http2, certificates)


@contextmanager
def shared_port(
    listener: socket, number: int, settings: Settings, folder: DataFolder, certificates: Certificates | None
) -> Iterator[HTTPFront]:
    """Serve as `one_port` does, as the worker of that number, whose socket `listener` is; it is bound already.

    Raises:
        SettingsError: there is no room for a unix socket.
    """
    with private_socket(folder.path, f"http2-{number}.sock") as http2:
        yield _OnePort(settings, listener, http2, certificates)


class _OnePort:
    def __init__(self, settings: Settings, listener: socket, http2: Path, certificates: Certificates | None) -> None:
        self._settings = settings
        self._listener = listener
        self._http2 = http2
        self._certificates = certificates
        self._pipes = HTTP2Pipes(http2)
        self._piped: grpc.aio.Server
        self._web: HTTP1Host
        host, port = listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)

    def carry(self, gateway: Gateway, interceptor: grpc.aio.ServerInterceptor) -> Sequence[grpc.aio.Server]:
        http = self._settings.http
        self._piped = native_server(
            self._settings.grpc,
            [PipedCalls(gateway), interceptor],
            handshake_timeout=http.receive_timeout,
        )
        self._web = HTTP1Host(
            gateway,
            self._listener,
            tls=None if self._certificates is None else self._certificates.context,
            http2=self._pipes,
            max_header_bytes=http.max_header_bytes,
            header_timeout=http.receive_timeout.total_seconds(),
        )
        return (self._piped,)

    async def start(self) -> None:
        listen_on(self._piped, self._http2)
        await self._piped.start()
        await self._web.start()

    async def stop(self, grace: float) -> None:
        await asyncio.gather(self._piped.stop(grace), self._web.stop(grace))
        await self._pipes.stop(_LAST_REPLIES)

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        self._web.replace_tls(tls)
