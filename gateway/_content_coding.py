"""Content codings of HTTP bodies (RFC 9110, 8.4): gzip, br (RFC 7932) and zstd (RFC 8878, RFC 9659).

Unpacking gives small pieces, so that whoever takes them can stop at a limit of its own: a small body that unpacks to a
huge one costs no memory.
"""

import re
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Protocol

import brotli
import grpc

from gateway._status import Refused, invalid, refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE: Final = 64 * 1024
"""The usual size of an unpacked piece; brotli gives up to half as much again."""

WORTHWHILE: Final = 1024
"""Shorter replies stay as they are: they fit in one packet, and compressing costs more than it saves."""

_GZIP_WINDOW: Final = 31  # zlib's largest window, plus 16 for the gzip header
_GZIP_LEVEL: Final = 6
_BROTLI_QUALITY: Final = 4  # about gzip's time, and smaller
_ZSTD_LEVEL: Final = 3
# Compressing happens in the event loop: long replies get the lowest level of each, so that other calls do not wait.
_LONG: Final = 256 * 1024
_LEVEL_OF_LONG: Final = 1
# RFC 9659: a window of 8 MiB is the largest that a recipient has to take.
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
_MOST_MEMBERS: Final = 64


class Unpacker(Protocol):
    """Undoes a coding of bytes that arrive in pieces of any size."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, give what they unpack to; errors are the library's own."""
        ...

    @property
    def whole(self) -> bool:
        """Whether the coding's end has been seen, and nothing begun after it."""
        ...


class _Members:
    """gzip members or zstd frames, one after another; of either there may be several (RFC 1952, 2.2; RFC 8878, 3.1)."""

    def __init__(self, new: Callable[[], Any]) -> None:
        self._new = new
        self._stream = new()
        self._members = 1

    @property
    def whole(self) -> bool:
        return bool(self._stream.eof)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._stream.eof:
                if not data:
                    return
                self._members += 1
                if self._members > _MOST_MEMBERS:
                    # Each copies what is left, so that very many cost a lot.
                    raise ValueError("too many members")
                self._stream = self._new()
            piece = self._stream.decompress(data, PIECE)
            if piece:
                yield piece
            if self._stream.eof:
                data = self._stream.unused_data
            else:
                data = getattr(self._stream, "unconsumed_tail", b"")
                if not data and len(piece) < PIECE:
                    return


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    @property
    def whole(self) -> bool:
        return bool(self._stream.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.process(data, output_buffer_limit=PIECE)
            data = b""
            if piece:
                yield piece
            if self._stream.is_finished() or self._stream.can_accept_more_data():
                return


def _gzip_stream() -> Any:  # noqa: ANN401 - zlib does not export its type
    return zlib.decompressobj(_GZIP_WINDOW)


def _zstd_stream() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)


_UNPACKERS: Final[dict[str, Callable[[], Unpacker]]] = {
    "zstd": lambda: _Members(_zstd_stream),
    "br": _Brotli,
    "gzip": lambda: _Members(_gzip_stream),
}
_UNPACKERS["x-gzip"] = _UNPACKERS["gzip"]  # RFC 9110, 8.4.1.3

CODINGS: Final = b"zstd, br, gzip"
"""What requests may use, and replies do, in the order of preference where a caller has none."""

_BROKEN: Final = (zlib.error, brotli.error, zstd.ZstdError, EOFError, ValueError)


class ContentDecoder:
    """Undoes the `content-encoding` of a request.

    Raises:
        Refused: INVALID_ARGUMENT with HTTP 415 where the coding is unknown.
    """

    def __init__(self, coding: bytes) -> None:
        self._name = coding.decode("latin-1").strip().lower()
        new = _UNPACKERS.get(self._name)
        if new is None:
            raise refused(
                grpc.StatusCode.INVALID_ARGUMENT, "the content-encoding must be gzip, br, zstd or identity", 415
            )
        self._unpacker = new()
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, give what they unpack to.

        Raises:
            Refused: INVALID_ARGUMENT where the bytes are not of the coding.
        """
        if not data:
            return
        self._begun = True
        try:
            yield from self._unpacker.pieces(data)
        except _BROKEN:
            raise invalid(f"the body is not {self._name}, as its content-encoding says") from None

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            Refused: INVALID_ARGUMENT where the body is cut short.
        """
        if self._begun and not self._unpacker.whole:
            raise invalid(f"the body ends inside of its {self._name}")


def decoder_of(content_encoding: bytes | None) -> ContentDecoder | None:
    """Give what undoes the coding of a request; None where it has none.

    Raises:
        Refused: as `ContentDecoder`.
    """
    if content_encoding is None or content_encoding.strip().lower() in (b"identity", b""):
        return None
    return ContentDecoder(content_encoding)


def unpacked(body: bytes, decoder: ContentDecoder, limit: int) -> bytes:
    """Give a whole body unpacked.

    Raises:
        Refused: RESOURCE_EXHAUSTED (413) as soon as it has more than `limit` bytes; else as `ContentDecoder`.
    """
    whole = bytearray()
    for piece in decoder.pieces(body):
        whole += piece
        if len(whole) > limit:
            raise too_large(limit)
    decoder.finish()
    return bytes(whole)


def too_large(limit: int) -> Refused:
    """Give the refusal of a body that unpacks to more than it may have."""
    return refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the unpacked body has more than {limit} bytes", 413)


# Replies.


@lru_cache(maxsize=256)
def choose(accept_encoding: bytes) -> bytes | None:
    """Give the coding for a reply (RFC 9110, 12.5.3): of the highest weight, ours to choose among equals.

    None: the reply goes out as it is, which also a caller gets that refuses `identity` and all that is offered.
    """
    weights: dict[bytes, float] = {}
    for item in accept_encoding.lower().split(b","):
        name, _, parameters = item.partition(b";")
        weight = _WEIGHT.fullmatch(parameters)
        # A weight that is none counts as nothing.
        weights[name.strip()] = 1.0 if not parameters else float(weight[1]) if weight else 0.0
    offered = [(weights.get(coding, weights.get(b"*", 0.0)), coding) for coding in CODINGS.split(b", ")]
    best, coding = max(offered, key=lambda each: each[0])
    return coding if best > weights.get(b"identity", 0.0) else None


_WEIGHT: Final = re.compile(rb"[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*")

_COMPRESSIBLE: Final = re.compile(
    rb"(?:text/[^;]+|application/(?:json|x-ndjson|xml|javascript|wasm)|[^;]+\+(?:json|xml))(?:[ \t]*;.*)?"
)


@lru_cache(maxsize=256)
def is_compressible(content_type: bytes) -> bool:
    """Say whether bytes of this type shrink; images, video and archives are compressed as they are."""
    return _COMPRESSIBLE.fullmatch(content_type.lower()) is not None


def packed(data: bytes, coding: bytes) -> bytes:
    """Compress a whole reply."""
    long = len(data) > _LONG
    if coding == b"zstd":
        return zstd.compress(data, _LEVEL_OF_LONG if long else _ZSTD_LEVEL)
    if coding == b"br":
        return bytes(brotli.compress(data, quality=_LEVEL_OF_LONG if long else _BROTLI_QUALITY))
    compressor = zlib.compressobj(level=_LEVEL_OF_LONG if long else _GZIP_LEVEL, wbits=_GZIP_WINDOW)
    return compressor.compress(data) + compressor.flush()


class StreamPacker:
    """Compresses a reply that goes out in pieces, each readable when it arrives."""

    def __init__(self, coding: bytes) -> None:
        self.coding = coding
        if coding == b"zstd":
            frame = zstd.ZstdCompressor(_ZSTD_LEVEL)
            self._pack: Callable[[bytes], bytes] = lambda data: frame.compress(data, frame.FLUSH_BLOCK)
            self._end: Callable[[], bytes] = frame.flush
        elif coding == b"br":
            stream = brotli.Compressor(quality=_BROTLI_QUALITY)
            self._pack = lambda data: bytes(stream.process(data) + stream.flush())
            self._end = lambda: bytes(stream.finish())
        else:
            member = zlib.compressobj(level=_GZIP_LEVEL, wbits=_GZIP_WINDOW)
            self._pack = lambda data: member.compress(data) + member.flush(zlib.Z_SYNC_FLUSH)
            self._end = member.flush

    def pack(self, data: bytes) -> bytes:
        """Compress one piece."""
        return self._pack(data)

    def finish(self) -> bytes:
        """Give what closes the stream."""
        return self._end()
