"""Whatever the frames: nothing is raised, nothing hangs, the peer is told or answered, and others are served."""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import Gateway
from gateway.hosts.http_host import HTTPHost
from tests.hosts.http2 import OPENING, PREFACE, fields, frame
from tests.unit.gateway.client import frame as message
from tests.unit.gateway.echo import SERVICE, EchoRequest, EchoServicer, add_EchoServicer_to_server
from tests.unit.gateway.http2_peer import head, peer

# More where there is time: INSTANCED_EXAMPLES=5000.
EXAMPLES = int(os.environ.get("INSTANCED_EXAMPLES", "300"))
GATEWAY = Gateway()
add_EchoServicer_to_server(EchoServicer(), GATEWAY)

GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
BLOCKS = [
    fields(head("/v1/ping")),
    fields(head(f"/{SERVICE}/Unary", "POST", *GRPC)),
    fields(head(f"/{SERVICE}/Bidi", "POST", *GRPC), indexed=True),
    fields(head("/v1/echo", "POST", ("content-length", "5"))),
    b"\x82\x86\x84\xbe\xbf",
    fields([("grpc-status", "0")]),
    fields(head("/v1/ping", "GET", ("X-A", "1"))),
    b"\x82\x86\x84",
    b"",
]
blocks = (
    st.sampled_from(BLOCKS)
    | st.binary(max_size=40)
    | st.tuples(st.sampled_from(BLOCKS), st.binary(max_size=5)).map(b"".join)
)
bodies = st.sampled_from([b"", message(EchoRequest(text="x")), b"hello", b"\0\0\0", bytes(16_384)]) | st.binary(
    max_size=30
)
numbers = st.sampled_from([0, 1, 5, 1 << 14, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]).map(struct.Struct(">I").pack)
settings_ = st.lists(
    st.tuples(st.integers(0, 10), st.sampled_from([0, 1, 2, 16_384, 65_535, (1 << 31) - 1, (1 << 32) - 1])), max_size=4
).map(lambda pairs: b"".join(struct.pack(">HI", *pair) for pair in pairs))
flags = st.sampled_from([0, 1, 4, 5, 8, 12, 13, 0x25, 0x2D, 0xFF])
# As an honest client numbers them, for the most part.
streams = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 0, 2, (1 << 31) - 1])
payloads = {
    0: bodies,
    1: blocks,
    2: st.binary(min_size=5, max_size=5) | st.binary(max_size=8),
    3: numbers,
    4: settings_,
    5: blocks,
    6: st.binary(min_size=8, max_size=8),
    7: st.binary(min_size=8, max_size=20),
    8: numbers,
    9: blocks,
    0xBE: st.binary(max_size=20),
}
# What belongs together, and what does not.
calls = st.tuples(st.sampled_from([1, 3, 5, 7]), blocks, bodies, st.booleans()).map(
    lambda each: frame(1, 4, each[0], each[1]) + frame(0, 1 if each[3] else 0, each[0], each[2])
)
frames = st.one_of(
    calls,
    st.sampled_from(list(payloads)).flatmap(
        lambda kind: st.builds(frame, st.just(kind), flags, streams, payloads[kind] | st.binary(max_size=12))
    ),
    st.binary(max_size=20),
)
OPENINGS = st.sampled_from([OPENING] * 6 + [PREFACE, PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 3))])


def whole(received: bytes) -> None:
    """See that what the server says is frames, to the last, and its header blocks ones that can be read."""
    decoder = hpack.Decoder()
    while received:
        assert len(received) >= 9
        length = int.from_bytes(received[:3], "big")
        assert len(received) >= 9 + length
        if received[3] == 1:
            decoder.decode(received[9 : 9 + length])
        received = received[9 + length :]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(opening=OPENINGS, sent=st.lists(frames, max_size=12), cuts=st.lists(st.integers(1, 200), max_size=6))
async def test_any_frames_are_answered_or_refused_and_others_are_served(
    caplog: pytest.LogCaptureFixture, *, opening: bytes, sent: Sequence[bytes], cuts: Sequence[int]
) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    host = HTTPHost(GATEWAY, sock, header_timeout=0.05, ping_every=0.05, ping_timeout=0.05)
    await host.start()
    port: int = sock.getsockname()[1]
    caplog.clear()
    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    received = b""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = opening + b"".join(sent)
        for cut in cuts:
            writer.write(data[:cut])
            data = data[cut:]
            await asyncio.sleep(0)
        writer.write(data)
        async with peer(port) as other:
            assert (await other.get(1, "/v1/ping")).status == 200
        # The peer says nothing more, and is let go.
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                received += piece
        writer.close()
        async with peer(port) as other:
            assert (await other.get(1, "/v1/ping")).status == 200
    await host.stop(0)
    await asyncio.sleep(0)
    assert failures == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    if received.startswith(b"\0"):
        whole(received)
