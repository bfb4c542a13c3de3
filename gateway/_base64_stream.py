"""Base64 as grpc-web-text sends it: one stream, in which each chunk may carry padding of its own.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md, "Text-encoded (response) streams".
"""

import binascii
import re
from typing import Final

from gateway._status import invalid

_PADDED: Final = re.compile(rb"[^=]+(?:={1,2}|$)")
_QUANTUM: Final = 4


class Base64Decoder:
    """Decodes a stream in pieces of any size, padding allowed at the end of any group of four characters."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Take characters, give the bytes of the groups of four that they complete.

        Raises:
            Refused: INVALID_ARGUMENT where a character is not base64's or padding is out of place.
        """
        data = self._rest + data
        whole = len(data) - len(data) % _QUANTUM
        self._rest = data[whole:]
        return _decode(data[:whole])

    def finish(self) -> bytes:
        """Say that no more characters come; what is left may lack its padding."""
        rest, self._rest = self._rest, b""
        return _decode(rest + b"=" * (-len(rest) % _QUANTUM)) if rest else b""


def decode(data: bytes) -> bytes:
    """Decode a whole body.

    Raises:
        Refused: as `Base64Decoder.feed`.
    """
    decoder = Base64Decoder()
    return decoder.feed(data) + decoder.finish()


def _decode(data: bytes) -> bytes:
    try:
        if b"=" not in data[:-2]:
            return binascii.a2b_base64(data, strict_mode=True) if data else b""
        parts = _PADDED.findall(data)
        if sum(map(len, parts)) != len(data):
            raise invalid("the body has padding where base64 has none")
        return b"".join([binascii.a2b_base64(part, strict_mode=True) for part in parts])
    except binascii.Error:
        raise invalid("the body is not base64") from None
