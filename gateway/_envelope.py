"""The five-byte prefix of gRPC and gRPC-Web: one byte of flags, four of length.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

import struct
from typing import Final

import grpc

from gateway._status import refused

COMPRESSED: Final = 0x01
TRAILERS: Final = 0x80

_PREFIX: Final = struct.Struct(">BI")
PREFIX_LENGTH: Final = _PREFIX.size


def pack(payload: bytes, flags: int = 0) -> bytes:
    """Put the prefix before a message or before trailers."""
    return _PREFIX.pack(flags, len(payload)) + payload


class FrameReader:
    """Cuts bytes that arrive in pieces of any size into frames.

    `limit` bounds one message, as announced: a frame too long is refused before its bytes are there.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes, give the flags and the payload of each frame that they complete.

        Raises:
            Refused: RESOURCE_EXHAUSTED for a frame over the limit, INTERNAL for flags that a request cannot have.
        """
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, bytes]] = []
        start = 0
        while len(buffer) - start >= PREFIX_LENGTH:
            flags, length = _PREFIX.unpack_from(buffer, start)
            if flags not in (0, COMPRESSED):
                raise refused(grpc.StatusCode.INTERNAL, f"a frame has the flags 0x{flags:02x}")
            if length > self._limit:
                raise refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the message has more than {self._limit} bytes", 413)
            end = start + PREFIX_LENGTH + length
            if len(buffer) < end:
                break
            frames.append((flags, bytes(buffer[start + PREFIX_LENGTH : end])))
            start = end
        del buffer[:start]
        return frames

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            Refused: INTERNAL where the last frame is cut short.
        """
        if self._buffer:
            raise refused(grpc.StatusCode.INTERNAL, "the body ends inside a message")


def read_one(body: bytes, limit: int) -> tuple[int, bytes]:
    """Give the flags and the payload of a body that must hold exactly one frame, as unary calls have it.

    Raises:
        Refused: UNIMPLEMENTED for no message or a second one, else as `FrameReader`.
    """
    if len(body) >= PREFIX_LENGTH:
        flags, length = _PREFIX.unpack_from(body)
        # The usual case, without the copies of the general one.
        if flags <= COMPRESSED and length == len(body) - PREFIX_LENGTH and length <= limit:
            return flags, body[PREFIX_LENGTH:]
    reader = FrameReader(limit)
    frames = reader.feed(body)
    if len(frames) > 1 or (frames and reader._buffer):  # noqa: SLF001 - the two stand in one file
        raise refused(grpc.StatusCode.UNIMPLEMENTED, "a unary call has one message, this one has more")
    reader.finish()
    if not frames:
        raise refused(grpc.StatusCode.UNIMPLEMENTED, "a unary call has one message, this one has none")
    return frames[0]
