"""Message compression as gRPC names it in `grpc-encoding`.

https://github.com/grpc/grpc/blob/master/doc/compression.md
"""

import zlib
from typing import Final

import grpc

from gateway._status import refused

IDENTITY: Final = b"identity"
GZIP: Final = b"gzip"
ACCEPTED: Final = b"identity, gzip"

_GZIP_WINDOW: Final = 31  # zlib's largest window, plus 16 for the gzip header


def check_encoding(name: bytes) -> None:
    """Check that messages of this `grpc-encoding` can be read.

    Raises:
        Refused: UNIMPLEMENTED.
    """
    if name not in (GZIP, IDENTITY):
        raise refused(grpc.StatusCode.UNIMPLEMENTED, "grpc-encoding must be identity or gzip")


def decompress(data: bytes, encoding: bytes, limit: int) -> bytes:
    """Give the message of a frame whose compressed flag is set, never more than `limit` bytes of it.

    Raises:
        Refused: INTERNAL where no compression was announced or the data is not of it, RESOURCE_EXHAUSTED past the
        limit.
    """
    if encoding == IDENTITY:
        raise refused(
            grpc.StatusCode.INTERNAL, "a message is marked as compressed, but grpc-encoding names no compression"
        )
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        message = decompressor.decompress(data, limit + 1)
    except zlib.error:
        raise refused(grpc.StatusCode.INTERNAL, "a message is not gzip as its grpc-encoding says") from None
    if len(message) > limit:
        raise refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the message has more than {limit} bytes", 413)
    if not decompressor.eof:
        raise refused(grpc.StatusCode.INTERNAL, "a compressed message is cut short")
    return message


def gzipped(data: bytes) -> bytes:
    """Compress one message with gzip."""
    compressor = zlib.compressobj(level=6, wbits=_GZIP_WINDOW)
    return compressor.compress(data) + compressor.flush()
