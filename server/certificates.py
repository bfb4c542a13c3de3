"""The certificate of both listeners, read anew when its files change: no restart, and no connection is cut."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import structlog

from server.listeners import tls_context
from server.settings import TLS, Pem, SettingsError

# How often the files are looked at, in seconds. No signal is needed, so that whatever renews a certificate need know
# nothing of this process.
_LOOK_EVERY = 1.0


class Certificates:
    """What the listeners show to whoever connects next.

    Raises:
        SettingsError: the certificate, its key or the authorities cannot be used.
    """

    def __init__(self, settings: TLS, pem: Pem) -> None:
        self._settings = settings
        self._seen = _state(settings.files)
        self._pem = pem
        self.context = tls_context(pem)

    def for_grpc(self) -> grpc.ServerCredentials:
        """Make credentials that ask here at each handshake. grpcio cannot ask for a certificate without insisting."""
        given = self._pem

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if given is self._pem:
                return None
            given = self._pem
            return _configuration(given)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given),
            changed,  # type: ignore[arg-type]  # None is what grpc's documentation asks for where nothing has changed
            require_client_authentication=given.client_ca is not None,
        )

    @contextmanager
    def watched(self, replace: Callable[[ssl.SSLContext], None]) -> Iterator[None]:
        """Look at the files while this is entered; what can be used is taken up, and handed to `replace`.

        Until then the old ones stay: files that are being written, or do not belong together, change nothing.
        """
        watching = asyncio.get_running_loop().create_task(self._watch(replace))
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, replace: Callable[[ssl.SSLContext], None]) -> None:
        log, said = structlog.get_logger(), ""
        while self._settings.files:
            await asyncio.sleep(_LOOK_EVERY)
            seen = _state(self._settings.files)
            if seen == self._seen:
                continue
            try:
                pem = self._settings.read()
                assert pem is not None  # noqa: S101 - settings do not change
                context = tls_context(pem)
            except SettingsError as error:
                if said != str(error):
                    said = str(error)
                    log.warning("the changed certificate cannot be used, the old one stays", reason=said)
                continue
            self._seen, self._pem, self.context, said = seen, pem, context, ""
            replace(context)
            log.info("certificate reloaded", files=[str(path) for path in self._settings.files])


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], root_certificates=pem.client_ca)


def _state(files: tuple[Path, ...]) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what changes when a file is written or replaced; None for one that is not there."""
    states: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            stat = path.stat()
            states.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
        except OSError:
            states.append(None)
    return tuple(states)
