"""The native gRPC listener: grpc.aio on a port of its own."""

from collections.abc import Sequence

import grpc

from server.listeners import bind
from server.settings import GRPC, SettingsError

# How many calls may wait to be taken up. By default grpc core cancels 4 to 9 in 100 of 2,000 calls that arrive at once.
_PENDING = 100_000


def native_server(settings: GRPC, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> grpc.aio.Server:
    """Make the server; servicers and a port are still to be added."""
    keepalive = int(settings.keepalive_time.total_seconds() * 1000)
    return grpc.aio.server(
        interceptors=interceptors,
        options=[
            # Else a second server binds the same port, and each gets some of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.server.max_pending_requests", _PENDING),
            ("grpc.server.max_pending_requests_hard_limit", _PENDING),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_metadata_size", settings.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
            ("grpc.keepalive_time_ms", keepalive),
            ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout.total_seconds() * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            # A client may ping as often as every ten seconds, with calls under way or without.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ],
    )


def listen(server: grpc.aio.Server, address: str, tls: tuple[bytes, bytes] | None) -> int:
    """Bind `HOST:PORT` and return the port; `tls` is the PEM of the certificate chain and its key.

    Raises:
        SettingsError: the address cannot be bound, or the certificate or key cannot be read.
    """
    # grpc core does not say why an address cannot be bound; the system does, and lets go of it again.
    bind(address, "gRPC", "--grpc").close()
    try:
        if tls is None:
            return server.add_insecure_port(address)
        certificate, key = tls
        return server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    except RuntimeError as error:
        raise SettingsError(
            f"cannot listen for gRPC on {address}: grpc refuses it; choose another with --grpc HOST:PORT"
        ) from error
