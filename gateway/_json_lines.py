"""Streams of messages as newline-delimited JSON: one value a line, https://github.com/ndjson/ndjson-spec.

In a reply each message is `{"result": ...}`, and a call that fails after its first message ends with `{"error": ...}`,
a google.rpc.Status. That is how grpc-gateway has them, so that clients of it read these too; and without a name around
each, a message with the fields of a status could not be told from the end. The media type says that there are several
values, which grpc-gateway's application/json does not. In a request each line is a message as it is.
"""

from collections.abc import Iterator
from typing import Final

import grpc

from gateway._status import invalid, refused

MEDIA_TYPE: Final = "application/x-ndjson"

# They are let through, as some peers keep a connection alive with them; without an end they would keep the loop busy.
_MOST_BLANK_LINES: Final = 100


def result_line(message: bytes) -> bytes:
    """Give the line of a message."""
    return b'{"result":' + message + b"}\n"


def error_line(status: bytes) -> bytes:
    """Give the line that ends a call that failed."""
    return b'{"error":' + status + b"}\n"


class LineReader:
    """Cuts bytes that arrive in pieces of any size into lines of at most `limit` bytes; blank ones are left out."""

    __slots__ = ("_blank", "_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._blank = 0
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, give the lines that they complete.

        Raises:
            Refused: RESOURCE_EXHAUSTED for a line over the limit, INVALID_ARGUMENT for very many blank ones in a row.
        """
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            yield from self._line(data[start:end])
            start = end + 1
        self._take(data[start:])

    def finish(self) -> Iterator[bytes]:
        """Say that no more bytes come; the last line may lack its end."""
        yield from self._line(b"")

    def _line(self, rest: bytes) -> Iterator[bytes]:
        self._take(rest)
        line = bytes(self._buffer)
        self._buffer.clear()
        if line.strip(b" \t\r"):
            self._blank = 0
            yield line
            return
        self._blank += 1
        if self._blank > _MOST_BLANK_LINES:
            raise invalid(f"the body has more than {_MOST_BLANK_LINES} blank lines in a row")

    def _take(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > self._limit:
            raise refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a line has more than {self._limit} bytes", 413)
