"""Floods that HTTP/2 invites, bounded here: the server takes them or ends the connection, and serves all others."""

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.hosts import http2
from tests.hosts.http2 import CHECK, END_HEADERS, OPENING, connect, fields, frame, is_closed
from tests.servers import Server

CANCEL = struct.pack(">I", 8)
CALLS = 5_000
SERVING = health_pb2.HealthCheckResponse.SERVING


def rapid_reset() -> bytes:
    """Calls that are taken back as soon as they are made (CVE-2023-44487)."""
    return b"".join(
        frame(http2.HEADERS, END_HEADERS, stream, CHECK) + frame(http2.RST_STREAM, 0, stream, CANCEL)
        for stream in range(1, 2 * CALLS, 2)
    )


def continuation() -> bytes:
    """A header block without end (CVE-2024-27316 and its like)."""
    filler = fields([(f"x-{number}", "x" * 1000) for number in range(8)])
    return frame(http2.HEADERS, 0, 1, CHECK) + frame(http2.CONTINUATION, 0, 1, filler) * 2_000


def empty_continuation() -> bytes:
    """The same of frames that hold nothing."""
    return frame(http2.HEADERS, 0, 1, CHECK) + frame(http2.CONTINUATION, 0, 1) * 50_000


def hpack() -> bytes:
    """A header of 4,000 bytes, put into the table once and then named, a byte each, 16,000 times: 64 MB."""
    first = frame(http2.HEADERS, END_HEADERS, 1, CHECK + fields([("x", "x" * 3900)], indexed=True))
    again = b"".join(frame(http2.HEADERS, END_HEADERS, stream, CHECK + b"\xbe" * 4_000) for stream in range(3, 11, 2))
    return first + again


def pings() -> bytes:
    """Pings that all want an answer (CVE-2019-9512)."""
    return frame(http2.PING, 0, 0, bytes(8)) * 50_000


def settings() -> bytes:
    """Settings that all want an acknowledgement (CVE-2019-9515)."""
    return frame(http2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 50_000


def empty_data() -> bytes:
    """Frames of a body that hold nothing (CVE-2019-9518)."""
    return frame(http2.HEADERS, END_HEADERS, 1, CHECK) + frame(http2.DATA, 0, 1) * 50_000


FLOODS = (rapid_reset, continuation, empty_continuation, hpack, pings, settings, empty_data)


@pytest.mark.parametrize("one_port", [True, False], ids=["one-port", "grpc-port"])
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_others_are_answered_within_five_seconds_of_a_flood(server: Server, flood: Any, one_port: bool) -> None:
    sent = flood()
    before = resident(server)
    with grpc.insecure_channel(server.http) as channel, connect(server, one_port=one_port) as peer:
        health: Any = health_pb2_grpc.HealthStub(channel)
        _check_until_answered(health)
        sender = threading.Thread(target=_send, args=(peer, OPENING + sent))
        sender.start()
        longest, ends = 0.0, time.monotonic() + 20
        while True:
            called = time.monotonic()
            _check_until_answered(health)
            longest = max(longest, time.monotonic() - called)
            if not sender.is_alive():
                break
            assert time.monotonic() < ends, "the flood neither ended nor was it refused"
            # What the server answers is read, as a server may wait with what it sends.
            is_closed(peer)
            peer.settimeout(20)
        sender.join()
    assert longest < 5
    if before:
        assert resident(server) - before < 128 << 20


@pytest.mark.parametrize("one_port", [True, False], ids=["one-port", "grpc-port"])
def test_resets_over_and_over_do_not_add_up(starting: Callable[..., Server], one_port: bool) -> None:
    server = starting()
    sent = OPENING + rapid_reset()

    def flood() -> None:
        with connect(server, one_port=one_port) as peer:
            sender = threading.Thread(target=_send, args=(peer, sent))
            sender.start()
            while sender.is_alive():
                is_closed(peer)
                peer.settimeout(20)
                time.sleep(0.002)
            sender.join()
            time.sleep(0.1)

    flood()
    before = resident(server)
    for _ in range(8):
        flood()
    assert resident(server) - before < 96 << 20
    assert server.stop() == 0


@pytest.mark.parametrize("one_port", [True, False], ids=["one-port", "grpc-port"])
def test_two_thousand_calls_at_once_on_one_connection_are_all_answered(server: Server, one_port: bool) -> None:
    with grpc.insecure_channel(server.http if one_port else server.grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(3):
            calls = [health.Check.future(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(2_000)]
            assert {call.result().status for call in calls} == {SERVING}


def resident(server: Server) -> int:
    """Return the bytes of memory that the server holds, 0 where there is no /proc."""
    status = Path(f"/proc/{server.process.pid}/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0


def _check_until_answered(health: Any) -> None:
    # Where a flood has filled the queue of waiting calls, which bounds what it can hold, others are refused meanwhile.
    while True:
        try:
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == SERVING
        except grpc.RpcError as error:
            refused: Any = error
            assert refused.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}
            time.sleep(0.05)
        else:
            return


def _send(peer: Any, sent: bytes) -> None:
    # Refused in the middle, as it may be.
    with contextlib.suppress(OSError):
        peer.sendall(sent)
