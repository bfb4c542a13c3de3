"""Native gRPC by grpc.aio: a listener on a port of its own."""

from datetime import timedelta

import grpc

from server.listeners import bind
from server.settings import GRPC, SettingsError

# How many calls may wait to be taken up. By default grpc core cancels 4 to 9 in 100 of 2,000 calls that arrive at once.
# Calls that are reset at once wait too, with some 17 KB each: with 100,000, 180,000 such calls (21 MB on the wire) left
# the server with 1.7 GB, with 4,000 with some 70 MB. A limit on streams would refuse calls of honest clients meanwhile.
_PENDING = 4_000


def native_server(
    settings: GRPC,
    methods: grpc.GenericRpcHandler,
    *,
    handshake_timeout: timedelta,
    share_port: bool = False,
) -> grpc.aio.Server:
    """Make the server, with all that it serves; a port is still to be added.

    A connection that has not sent its TLS handshake, preface and SETTINGS within `handshake_timeout` is closed.
    `share_port`: other processes of this server listen on its port too, and each gets some of the connections.
    """
    keepalive = int(settings.keepalive_time.total_seconds() * 1000)
    answer = int(settings.keepalive_timeout.total_seconds() * 1000)
    return grpc.aio.server(
        handlers=[methods],
        maximum_concurrent_rpcs=settings.max_concurrent_calls,
        options=[
            # Else a second server binds the same port, and each gets some of the calls.
            ("grpc.so_reuseport", int(share_port)),
            ("grpc.server.max_pending_requests", _PENDING),
            ("grpc.server.max_pending_requests_hard_limit", _PENDING),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_metadata_size", settings.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
            ("grpc.server_handshake_timeout_ms", int(handshake_timeout.total_seconds() * 1000)),
            ("grpc.keepalive_time_ms", keepalive),
            ("grpc.keepalive_timeout_ms", answer),
            # Any byte of the peer's ends the wait of the option above; a peer stalled inside of a frame meets this one.
            ("grpc.http2.ping_timeout_ms", answer),
            ("grpc.keepalive_permit_without_calls", 1),
            # A client may ping as often as every ten seconds, with calls under way or without.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ],
    )


def listen(
    server: grpc.aio.Server, address: str, tls: grpc.ServerCredentials | None, *, share_port: bool = False
) -> int:
    """Bind `HOST:PORT` and return the port; one that is shared is a definite one, and found free before.

    Raises:
        SettingsError: the address cannot be bound, or the certificate or key cannot be read.
    """
    if not share_port:
        # grpc core does not say why an address cannot be bound; the system does, and lets go of it again.
        bind(address, "gRPC", "--grpc").close()
    try:
        return server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)
    except RuntimeError as error:
        raise SettingsError(
            f"cannot listen for gRPC on {address}: grpc refuses it; choose another with --grpc HOST:PORT"
        ) from error
