"""Requests whose messages stand in envelopes: one, or a stream of them."""

from typing import Final

from google.protobuf.message import Message

from gateway._base64_stream import Base64Decoder
from gateway._codec import Codec
from gateway._compression import decompress
from gateway._envelope import COMPRESSED, FrameReader, read_one
from gateway._protocol import Exchange, read_message


def read_enveloped(exchange: Exchange, body: bytes, codec: Codec, encoding: bytes) -> bytes | Message:
    """Give the one message of a body; `encoding` is how the headers say that it may be compressed.

    Raises:
        Refused: the body does not hold exactly one message that can be read.
    """
    limit = exchange.max_message_bytes
    flags, payload = read_one(body, limit)
    if flags & COMPRESSED:
        payload = decompress(payload, encoding, limit)
    return payload if codec.native and not exchange.captures else read_message(exchange, payload, codec)


class EnvelopedStream:
    """Cuts a streaming request into messages; `armour` undoes base64 around the envelopes."""

    __slots__ = ("_armour", "_codec", "_encoding", "_exchange", "_limit", "_reader")

    def __init__(self, exchange: Exchange, codec: Codec, encoding: bytes, armour: Base64Decoder | None = None) -> None:
        self._exchange = exchange
        self._codec = codec
        self._encoding = encoding
        self._armour = armour
        self._limit: Final = exchange.max_message_bytes
        self._reader = FrameReader(self._limit)

    def feed(self, data: bytes) -> list[bytes | Message]:
        """See `RequestStream.feed`."""
        return self._messages(data if self._armour is None else self._armour.feed(data))

    def finish(self) -> list[bytes | Message]:
        """See `RequestStream.finish`."""
        messages = [] if self._armour is None else self._messages(self._armour.finish())
        self._reader.finish()
        return messages

    def _messages(self, data: bytes) -> list[bytes | Message]:
        return [
            read_message(
                self._exchange,
                decompress(payload, self._encoding, self._limit) if flags & COMPRESSED else payload,
                self._codec,
            )
            for flags, payload in self._reader.feed(data)
        ]
