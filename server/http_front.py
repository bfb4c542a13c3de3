"""What carries the HTTP port, as the settings have it."""

from socket import socket

from gateway import Gateway
from gateway.hosts.http_host import HTTPHost
from server.certificates import Certificates
from server.settings import Settings


def http_front(settings: Settings, gateway: Gateway, listener: socket, certificates: Certificates | None) -> HTTPHost:
    """Make what serves the gateway on a bound socket, over HTTP/1.1 and HTTP/2, in the event loop."""
    http, grpc = settings.http, settings.grpc
    return HTTPHost(
        gateway,
        listener,
        at_once=gateway.at_once,
        tls=None if certificates is None else certificates.context,
        max_header_bytes=http.max_header_bytes,
        header_timeout=http.receive_timeout.total_seconds(),
        ping_every=grpc.keepalive_time.total_seconds(),
        ping_timeout=grpc.keepalive_timeout.total_seconds(),
    )
