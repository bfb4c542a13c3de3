"""HTTP/2 by hand (RFC 9113): frames as a client that means harm, or has stalled, would send them."""

import socket
import struct
from collections.abc import Iterable

from tests.servers import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _string(value: bytes) -> bytes:
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, written = len(value) - 127, bytearray([127])
    while rest >= 128:
        written.append(rest % 128 | 128)
        rest //= 128
    return bytes(written) + bytes([rest]) + value


def fields(pairs: Iterable[tuple[str, str]], *, indexed: bool = False) -> bytes:
    """Write header fields as literals (RFC 7541, 6.2), added to the dynamic table if `indexed`."""
    start = b"\x40" if indexed else b"\0"
    return b"".join(start + _string(name.encode()) + _string(value.encode()) for name, value in pairs)


def request(path: str) -> bytes:
    """Write the header block of a call."""
    return fields(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
    )


CHECK = request("/grpc.health.v1.Health/Check")
OPENING = PREFACE + frame(SETTINGS)


def connect(server: Server, *, one_port: bool = True) -> socket.socket:
    """Connect to one of a server's addresses."""
    host, _, port = (server.http if one_port else server.grpc).rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def is_closed(connection: socket.socket) -> bool:
    """Read what there is, and tell whether the server has closed the connection."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
