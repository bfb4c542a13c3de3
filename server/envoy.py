"""The fast host: how `instanced serve --host pyvoy` becomes Envoy. `server.inside_envoy` is what serves in it.

What is imported here is imported again inside, so it is no more than becoming Envoy takes.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from gateway.hosts.pyvoy import Certificate, HostUnavailable, Limits, become_envoy, check_available
from server.listeners import bind, tls_context
from server.settings import Pem, Settings, SettingsError
from server.store.folder import DataFolder

_APPLICATION = "server.inside_envoy:host"


def serve_in_envoy(settings: Settings, config: Path | None, flags: Mapping[str, object]) -> NoReturn:
    """Replace this process by Envoy, in which `server.inside_envoy` reads the same settings and serves.

    What can be refused is refused here, before Envoy starts; the data folder is let go of, and taken again inside.

    Raises:
        SettingsError, StoreRefused: it cannot start; the message says what to do.
    """
    try:
        check_available()
    except HostUnavailable as error:
        raise SettingsError(
            f"the host pyvoy cannot be used: {error}; pip install 'instanced[pyvoy]' (Linux with glibc 2.31 or newer, "
            "or macOS on arm64), or serve with --host asyncio"
        ) from error
    pem = settings.tls.read()
    if pem is not None:
        tls_context(pem)
    with DataFolder.open(settings.data) as folder:
        private = folder.path
    reserved = _reserve(settings.http.address)
    host, port = reserved.getsockname()[:2]
    try:
        become_envoy(
            _APPLICATION,
            (host, port),
            Limits(
                max_header_bytes=settings.http.max_header_bytes,
                header_timeout=settings.http.receive_timeout.total_seconds(),
                ping_every=settings.grpc.keepalive_time.total_seconds(),
                ping_timeout=settings.grpc.keepalive_timeout.total_seconds(),
            ),
            private,
            tls=None if pem is None else certificate(pem),
            handed_over={
                "config": None if config is None else str(config),
                "flags": dict(flags),
                "reserved": reserved.fileno(),
            },
        )
    except OSError as error:
        raise SettingsError(f"the host pyvoy cannot be used: {error}") from error


def certificate(pem: Pem) -> Certificate:
    """Give the settings' certificate as the host takes it."""
    return Certificate(pem.certificate, pem.key, pem.client_ca)


def _reserve(address: str) -> socket.socket:
    """Return a socket that keeps a free port from being given to others until Envoy listens on it.

    Raises:
        SettingsError: the port is in use, or the address is not this machine's.
    """
    with bind(address, "HTTP", "--http") as listener:
        family, name = listener.family, listener.getsockname()
    reserved = socket.socket(family, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(name)
    reserved.set_inheritable(True)
    return reserved
