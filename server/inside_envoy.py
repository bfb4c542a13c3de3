"""What Envoy loads when the host is pyvoy: the server, as `PyvoyHost` runs it. Importing this anywhere else fails."""

import functools
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway import Gateway
from gateway.hosts.pyvoy import PyvoyHost
from server import logs
from server.application import serve
from server.certificates import Certificates
from server.envoy import certificate
from server.http_front import HTTPFront
from server.identity.errors import ConfigurationError
from server.settings import Settings, SettingsError, load
from server.store.folder import DataFolder
from server.store.interface import StoreRefused


@contextmanager
def _front(
    host: PyvoyHost, _settings: Settings, folder: DataFolder, certificates: Certificates | None
) -> Iterator[HTTPFront]:
    """Serve by the Envoy that this process is."""
    for path in folder.path.glob("envoy-*"):
        # Of a server that was killed: this one holds the folder.
        if not path.name.startswith(f"envoy-{os.getpid()}"):
            path.unlink(missing_ok=True)
    yield _Envoy(host, certificates)


class _Envoy:
    def __init__(self, host: PyvoyHost, certificates: Certificates | None) -> None:
        self._host = host
        self._certificates = certificates
        self._gateway: Gateway
        self.address = host.address

    def carry(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def start(self) -> None:
        await self._host.start(self._gateway)
        os.close(self._host.handed_over["reserved"])

    async def stop(self, grace: float) -> None:
        await self._host.stop(grace)

    def replace_tls(self, _tls: ssl.SSLContext) -> None:
        assert self._certificates is not None  # noqa: S101 - it is they who call
        self._host.replace_tls(certificate(self._certificates.pem))


async def _main(host: PyvoyHost) -> int:
    config = host.handed_over["config"]
    try:
        loaded = load(None if config is None else Path(config), host.handed_over["flags"])
        logs.set_up(loaded.settings.log)
        await serve(loaded, functools.partial(_front, host), host.stopping)
    except (SettingsError, ConfigurationError, StoreRefused) as error:
        for line in str(error).splitlines():
            print(f"instanced: {line}", file=sys.stderr)  # noqa: T201 - as the command line does
        return 1
    return 0


host = PyvoyHost(_main)
