"""A peer that speaks HTTP/2 frame by frame, on a real connection, and writes and reads them by itself."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import hpack

from tests.hosts.http2 import END_HEADERS, END_STREAM, GOAWAY, HEADERS, OPENING, RST_STREAM, frame

WITHIN = 10.0
Pairs = list[tuple[bytes, bytes]]
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 5, 6, 7, 9, 11


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """Return the last number in the payload: of RST_STREAM the error, of WINDOW_UPDATE the size."""
        return int.from_bytes(self.payload[-4:], "big")

    @property
    def code(self) -> int:
        """Return the error of GOAWAY."""
        return int.from_bytes(self.payload[4:8], "big")


@dataclass
class Answer:
    """What came of one stream."""

    headers: Pairs = field(default_factory=list)
    body: bytes = b""
    trailers: Pairs = field(default_factory=list)
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.headers)[b":status"])


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def head(path: str = "/", method: str = "GET", *more: tuple[str, str], scheme: str = "http") -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", "a.example"), *more]


class Peer:
    """The client's end of a connection; `kept` are the frames that nobody asked for yet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.decoder = hpack.Decoder()
        self.encoder = hpack.Encoder()
        self.kept: list[Frame] = []

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def request(self, stream: int, pairs: Iterable[tuple[str, str]], *, last: bool = True) -> bytes:
        """Write the HEADERS of a request."""
        return frame(HEADERS, END_HEADERS | (END_STREAM if last else 0), stream, self.encoder.encode(pairs))

    async def read(self) -> Frame:
        """Read a frame.

        Raises:
            EOFError: there is none any more.
        """
        async with asyncio.timeout(WITHIN):
            try:
                start = await self.reader.readexactly(9)
                length = int.from_bytes(start[:3], "big")
                payload = await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise EOFError from error
        return Frame(start[3], start[4], int.from_bytes(start[5:], "big"), payload)

    async def next(self, kind: int, stream: int = 0) -> Frame:
        """Return the next frame of a kind, and keep what comes before it."""
        for at, kept in enumerate(self.kept):
            if (kept.kind, kept.stream) == (kind, stream):
                return self.kept.pop(at)
        while True:
            got = await self.read()
            if (got.kind, got.stream) == (kind, stream):
                return got
            self.kept.append(got)

    async def answer(self, stream: int) -> Answer:
        """Read until a stream has ended, and return what came of it."""
        answer, body = Answer(), bytearray()
        kept, self.kept = self.kept, []
        while True:
            got = kept.pop(0) if kept else await self.read()
            if got.stream != stream:
                self.kept.append(got)
                continue
            if got.kind == HEADERS:
                pairs: Pairs = [
                    (bytes(name), bytes(value)) for name, value in self.decoder.decode(got.payload, raw=True)
                ]
                if answer.headers:
                    answer.trailers = pairs
                else:
                    answer.headers = pairs
            elif got.kind == 0:
                body += got.payload
            elif got.kind == RST_STREAM:
                answer.reset = got.number
            if got.kind == RST_STREAM or (got.kind in {0, HEADERS} and got.flags & END_STREAM):
                self.kept += kept
                answer.body = bytes(body)
                return answer

    async def get(self, stream: int, path: str = "/") -> Answer:
        """Make a call without a body."""
        self.send(self.request(stream, head(path)))
        return await self.answer(stream)

    async def goaway(self) -> Frame:
        """Read until the server says that it ends, and then until it has closed its end."""
        got = await self.next(GOAWAY)
        async with asyncio.timeout(WITHIN):
            with suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
        return got


@asynccontextmanager
async def peer(port: int, *, opening: bytes = OPENING) -> AsyncIterator[Peer]:
    """Connect, and open the connection as a client does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(opening)
        yield Peer(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
