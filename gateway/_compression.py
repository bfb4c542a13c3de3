"""Compression of messages and bodies, as `grpc-encoding`, `connect-content-encoding` and `content-encoding` name it.

https://github.com/grpc/grpc/blob/master/doc/compression.md, https://connectrpc.com/docs/protocol/
"""

import re
import zlib
from typing import Final

import grpc

from gateway._status import refused

IDENTITY: Final = b"identity"
GZIP: Final = b"gzip"
ACCEPTED: Final = b"identity, gzip"

_GZIP_WINDOW: Final = 31  # zlib's largest window, plus 16 for the gzip header


def check_encoding(name: bytes, header: str = "grpc-encoding") -> None:
    """Check that messages of this encoding, which `header` names, can be read.

    Raises:
        Refused: UNIMPLEMENTED.
    """
    if name not in (GZIP, IDENTITY):
        raise refused(grpc.StatusCode.UNIMPLEMENTED, f"{header} must be identity or gzip")


def accepts_gzip(accepted: bytes) -> bool:
    """Say whether a list of encodings names gzip, and not with a weight of nothing (RFC 9110, 12.5.3)."""
    for item in accepted.split(b","):
        name, _, parameters = item.partition(b";")
        if name.strip().lower() == GZIP:
            return _WEIGHTLESS.fullmatch(parameters) is None
    return False


_WEIGHTLESS: Final = re.compile(rb"[ \t]*[qQ]=0(\.0*)?[ \t]*")


def decompress(data: bytes, encoding: bytes, limit: int, broken: grpc.StatusCode = grpc.StatusCode.INTERNAL) -> bytes:
    """Give a message that is marked as compressed, never more than `limit` bytes of it.

    Raises:
        Refused: INTERNAL where no compression was announced, `broken` where the data is not of it, RESOURCE_EXHAUSTED
        past the limit.
    """
    if encoding == IDENTITY:
        raise refused(
            grpc.StatusCode.INTERNAL, "a message is marked as compressed, but the headers name no compression"
        )
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        message = decompressor.decompress(data, limit + 1)
    except zlib.error:
        raise refused(broken, "a message is not gzip as its headers say") from None
    if len(message) > limit:
        raise refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the message has more than {limit} bytes", 413)
    if not decompressor.eof:
        raise refused(broken, "a compressed message is cut short")
    return message


def gzipped(data: bytes) -> bytes:
    """Compress one message with gzip."""
    compressor = zlib.compressobj(level=6, wbits=_GZIP_WINDOW)
    return compressor.compress(data) + compressor.flush()
