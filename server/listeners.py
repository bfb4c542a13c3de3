"""Sockets, bound before anything starts, and the TLS that they may speak."""

import socket
import ssl
import tempfile
from pathlib import Path
from typing import Final

from server.settings import Pem, SettingsError, split_address

BACKLOG: Final = 2048


def bind(address: str, speaks: str, flag: str) -> socket.socket:
    """Bind and listen on `HOST:PORT`; errors name what is spoken there and the flag that names another address.

    Raises:
        SettingsError: the port is in use, or the address is not this machine's.
    """
    host, port = split_address(address)
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A port that a stopped server has left connections on is free; one that is listened on is not.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(resolved)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"cannot listen for {speaks} on {address}: {error.strerror}; choose another with {flag} HOST:PORT"
        ) from error
    listener.setblocking(False)  # noqa: FBT003 - the library takes it by position
    return listener


def bind_shared(address: str, speaks: str, flag: str, count: int) -> list[socket.socket]:
    """Bind `count` sockets to `HOST:PORT`, which nobody else may listen on; port 0 is one free port for all of them.

    None of them listens yet, and until one does, no connection comes. Of those that do, each gets some of the
    connections (SO_REUSEPORT), and so does any other socket of this user's that is bound so.

    Raises:
        SettingsError: the port is in use, or the address is not this machine's.
    """
    with bind(address, speaks, flag) as listener:
        family, name = listener.family, listener.getsockname()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(socket.socket(family, socket.SOCK_STREAM))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sockets[-1].bind(name)
            sockets[-1].setblocking(False)  # noqa: FBT003 - the library takes it by position
    except OSError as error:
        for made in sockets:
            made.close()
        raise SettingsError(
            f"cannot listen for {speaks} on {address}: {error.strerror}; choose another with {flag} HOST:PORT"
        ) from error
    return sockets


def shown(host: str, port: int) -> str:
    """Write an address as `HOST:PORT`, IPv6 hosts in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tls_context(pem: Pem) -> ssl.SSLContext:
    """Make the TLS of a listener.

    Raises:
        SettingsError: something is no PEM, or certificate and key do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory() as folder:
        # The ssl module reads files only; the folder is ours alone and gone in a moment.
        certificate, key = Path(folder) / "certificate", Path(folder) / "key"
        certificate.write_bytes(pem.certificate)
        key.write_bytes(pem.key)
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise SettingsError(f"TLS: the certificate and key cannot be used: {error.reason or error}") from error
    if pem.client_ca is not None:
        try:
            context.load_verify_locations(cadata=pem.client_ca.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise SettingsError(
                "TLS: the authorities of client certificates cannot be used: they are no PEM"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
        # A resumed session is not checked again, and would outlive a change of the authorities.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context
