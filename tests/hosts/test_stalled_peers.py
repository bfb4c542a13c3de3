"""Peers that stall, at each stage of a connection to the one port: each is let go in time, and nobody else notices."""

import os
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.hosts import http2
from tests.hosts.http2 import CHECK, END_HEADERS, OPENING, PREFACE, connect, frame, is_closed
from tests.servers import Server, start, wait_until

REQUEST = frame(http2.HEADERS, END_HEADERS, 1, CHECK)
POST = b"POST /system/v1/instances HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
STAGES = {
    "nothing": b"",
    "half a preface": PREFACE[:12],
    "the preface without SETTINGS": PREFACE,
    "half of SETTINGS": OPENING[:-4],
    "half a header block": OPENING + REQUEST[:40],
    "a header block that goes on": OPENING + frame(http2.HEADERS, 0, 1, CHECK),
    "half a frame of the body": OPENING + REQUEST + frame(http2.DATA, 0, 1, bytes(5))[:-2],
    "half a message": OPENING + REQUEST + frame(http2.DATA, 0, 1, b"\0\0\0\0\x09abc"),
    "a message without an end": OPENING + REQUEST + frame(http2.DATA, 0, 1, bytes(5)),
    "half a header of HTTP/1.1": POST[:40],
    "half a body of HTTP/1.1": POST + b"\r\n{",
}
# One second for the start of a connection, one until a ping is sent, one for its answer, and the machine's own time.
LET_GO_WITHIN = 8.0
HURRIED = {
    "INSTANCED_HTTP_RECEIVETIMEOUT": "1s",
    "INSTANCED_GRPC_KEEPALIVETIME": "1s",
    "INSTANCED_GRPC_KEEPALIVETIMEOUT": "1s",
}


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits a second for anything."""
    server = start(tmp_path_factory.mktemp("hurried") / "data", env=HURRIED)
    yield server
    assert server.stop() == 0


def descriptors(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def resident(server: Server) -> int:
    """Return the bytes of memory that the server holds."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def processor_time(server: Server) -> float:
    """Return the seconds of processor time that the server has taken."""
    columns = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def test_a_peer_that_stalls_is_let_go_at_every_stage_and_others_are_served(hurried: Server) -> None:
    with ExitStack() as stack, grpc.insecure_channel(hurried.http) as channel, requests.Session() as session:
        health: Any = health_pb2_grpc.HealthStub(channel)
        health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        stalled = {}
        for stage, sent in STAGES.items():
            stalled[stage] = stack.enter_context(connect(hurried))
            stalled[stage].sendall(sent)
        began, longest = time.monotonic(), 0.0
        while stalled and time.monotonic() - began < LET_GO_WITHIN:
            stalled = {stage: peer for stage, peer in stalled.items() if not is_closed(peer)}
            called = time.monotonic()
            health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert session.get(f"{hurried.url}/admin/v1/healthz", timeout=10).status_code == 200
            longest = max(longest, time.monotonic() - called)
            time.sleep(0.05)
        assert set(stalled) == set()
        assert longest < 2


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_peers_that_reset_their_connection_leave_nothing_behind(hurried: Server) -> None:
    before = descriptors(hurried)
    for number in range(40):
        sent = list(STAGES.values())[number % len(STAGES)]
        with connect(hurried) as peer:
            peer.sendall(sent)
            if number % 3:
                time.sleep(0.005)
            # Closing resets the connection.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: descriptors(hurried) <= before)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_stream_that_is_silent_costs_no_time_and_stays_open(starting: Callable[..., Server]) -> None:
    server = starting()
    with grpc.insecure_channel(server.http) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        before = processor_time(server)
        time.sleep(3)
        assert processor_time(server) - before < 0.3
        watch.cancel()
        wait_until(lambda: any(line["code"] == "CANCELLED" for line in server.lines()))
    assert server.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("one_port", [True, False], ids=["one-port", "grpc-port"])
def test_memory_is_bounded_while_a_peer_does_not_read_and_its_end_harms_nothing(server: Server, one_port: bool) -> None:
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="zitadel.system.v1.SystemService")
    message = asked.SerializeToString()
    data = frame(http2.DATA, 0, 1, struct.pack(">BI", 0, len(message)) + message)
    head = http2.request("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    wide = struct.pack(">HI", 4, (1 << 31) - 1)
    # As much as the window for a request's body takes: the replies would be 28 MB.
    count = 60_000 // (len(data) - 9)
    with connect(server, one_port=one_port) as peer:
        peer.sendall(PREFACE + frame(http2.SETTINGS, 0, 0, wide))
        peer.sendall(frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 70000)))
        peer.sendall(frame(http2.HEADERS, END_HEADERS, 1, head))
        time.sleep(0.3)
        before = resident(server)
        peer.sendall(data * count)
        time.sleep(2)
        grown = resident(server) - before
        with grpc.insecure_channel(server.http) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status
            ended = _reflections(server) + 1
            peer.close()
            wait_until(lambda: _reflections(server) >= ended)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status
    assert count * 18_000 > 24 << 20
    assert grown < 12 << 20, f"{grown >> 20} MiB"


def _reflections(server: Server) -> int:
    return sum("ServerReflectionInfo" in str(line["method"]) for line in server.lines())


@pytest.mark.parametrize("opening", [b"", OPENING], ids=["silent", "http2"])
def test_a_call_among_ten_thousand_idle_connections(starting: Callable[..., Server], opening: bytes) -> None:
    # As many as the system lets a process have.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(soft, 20_000 if hard == resource.RLIM_INFINITY else min(hard, 20_000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    count = min(10_000, allowed - 1_000)
    server = starting()
    with ExitStack() as stack:
        for _ in range(count):
            peer = stack.enter_context(connect(server))
            if opening:
                peer.sendall(opening)
        with grpc.insecure_channel(server.http) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            health.Check(empty_pb2.Empty(), timeout=60)
            began = time.monotonic()
            for _ in range(20):
                health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert (time.monotonic() - began) / 20 < 0.25
        assert requests.get(f"{server.url}/admin/v1/healthz", timeout=20).status_code == 200
