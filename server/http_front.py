"""What carries the HTTP port, for the composition root: the default, safe first."""

import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from socket import socket
from typing import Protocol

from gateway import Gateway
from gateway.hosts.http_host import HTTPHost
from server.certificates import Certificates
from server.listeners import bind
from server.settings import Settings
from server.store.folder import DataFolder


class HTTPFront(Protocol):
    """A listener for HTTP, already bound."""

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port that was taken."""

    def carry(self, gateway: Gateway) -> None:
        """Take what is to be served."""

    async def start(self) -> None:
        """Return once calls are taken."""

    async def stop(self, grace: float) -> None:
        """Stop accepting, and give running calls `grace` seconds to finish."""

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        """Use another certificate for the connections that come from now on."""


@contextmanager
def one_port(settings: Settings, _folder: DataFolder, certificates: Certificates | None) -> Iterator[HTTPFront]:
    """Bind for HTTP/1.1 and HTTP/2 in the event loop; the first bytes of a connection decide.

    Raises:
        SettingsError: the address cannot be bound.
    """
    with closing(bind(settings.http.address, "HTTP", "--http")) as listener:
        yield _OnePort(settings, listener, certificates)


@contextmanager
def shared_port(
    listener: socket, settings: Settings, _folder: DataFolder, certificates: Certificates | None
) -> Iterator[HTTPFront]:
    """Serve as `one_port` does, on the socket of a worker, which is bound already."""
    yield _OnePort(settings, listener, certificates)


class _OnePort:
    def __init__(self, settings: Settings, listener: socket, certificates: Certificates | None) -> None:
        self._settings = settings
        self._listener = listener
        self._certificates = certificates
        self._host: HTTPHost
        host, port = listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)

    def carry(self, gateway: Gateway) -> None:
        http, grpc = self._settings.http, self._settings.grpc
        self._host = HTTPHost(
            gateway,
            self._listener,
            at_once=gateway.at_once,
            tls=None if self._certificates is None else self._certificates.context,
            max_header_bytes=http.max_header_bytes,
            header_timeout=http.receive_timeout.total_seconds(),
            ping_every=grpc.keepalive_time.total_seconds(),
            ping_timeout=grpc.keepalive_timeout.total_seconds(),
        )

    async def start(self) -> None:
        await self._host.start()

    async def stop(self, grace: float) -> None:
        await self._host.stop(grace)

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        self._host.replace_tls(tls)
