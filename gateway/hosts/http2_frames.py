"""The frames of HTTP/2, RFC 9113, sections 4 to 7."""

import struct
from typing import Final

# Kinds.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# Flags.
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

# Errors.
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11

# Settings.
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# What a peer may send, and what holds for each side until its peer says otherwise.
DEFAULT_FRAME_BYTES: Final = 1 << 14
LARGEST_FRAME_BYTES: Final = (1 << 24) - 1
DEFAULT_WINDOW: Final = (1 << 16) - 1
LARGEST_WINDOW: Final = (1 << 31) - 1
LARGEST_STREAM: Final = (1 << 31) - 1

HEAD: Final = struct.Struct(">BHBBI")
HEAD_BYTES: Final = HEAD.size
NUMBER: Final = struct.Struct(">I")
SETTING: Final = struct.Struct(">HI")

_pack: Final = HEAD.pack


class ConnectionBroken(Exception):
    """Ends the connection (RFC 9113, 5.4.1): the peer is told an error code and, for whoever debugs it, a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame, whose payload is no longer than the peer takes."""
    size = len(payload)
    return _pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def header_frames(stream: int, block: bytes, largest: int, *, last: bool) -> bytes:
    """Write the frames of a header block, CONTINUATION where it is longer than a frame may be."""
    flags = END_STREAM if last else 0
    if len(block) <= largest:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    frames = [frame(HEADERS, flags, stream, block[:largest])]
    for at in range(largest, len(block), largest):
        end = END_HEADERS if at + largest >= len(block) else 0
        frames.append(frame(CONTINUATION, end, stream, block[at : at + largest]))
    return b"".join(frames)


def rst_stream(stream: int, code: int) -> bytes:
    """Write what ends a stream at once."""
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def window_update(stream: int, size: int) -> bytes:
    """Write that so many bytes more may be sent, on the connection for stream 0."""
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(size))


def goaway(last: int, code: int, reason: str = "") -> bytes:
    """Write that no stream above `last` is served."""
    return frame(GOAWAY, 0, 0, NUMBER.pack(last) + NUMBER.pack(code) + reason.encode())


def settings(values: dict[int, int]) -> bytes:
    """Write settings."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in values.items()))


def unpadded(flags: int, payload: bytes) -> bytes:
    """Give the payload of DATA or HEADERS without its padding (6.1).

    Raises:
        ConnectionBroken: there is more padding than payload.
    """
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionBroken(FRAME_SIZE_ERROR, "a padded frame is empty")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionBroken(PROTOCOL_ERROR, "a frame has more padding than it has bytes")
    return payload[1 : len(payload) - padding]
