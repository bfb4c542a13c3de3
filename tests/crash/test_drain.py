"""SIGTERM: no new calls, what runs is finished, what would run for ever is ended; a second signal ends all."""

import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.crash.callers import (
    LOST,
    PATIENCE,
    AtOnce,
    Front,
    Load,
    Native,
    Wanted,
    both_fronts,
    codes,
    names,
    one_port,
    some,
)
from tests.crash.instruments import Instruments
from tests.crash.stored import assert_is, contents, write_lock
from tests.servers import Server, wait_until

# Far more than any of these tests waits: a server that waits for its grace to pass is told from one that does not.
LONG_GRACE = {"INSTANCED_SHUTDOWNGRACE": "300s"}

Reach = Callable[[Server], AbstractContextManager[tuple[Front, Front]]]


@pytest.mark.parametrize(
    ("how", "reached"),
    [(signal.SIGTERM, both_fronts), (signal.SIGINT, both_fronts), (signal.SIGTERM, one_port)],
)
def test_what_is_stored_when_a_loaded_server_stops_is_what_was_acknowledged(
    starting: Callable[..., Server], how: signal.Signals, reached: Reach
) -> None:
    server = starting(env=LONG_GRACE)
    with reached(server) as fronts:
        load = Load(fronts, 32, "drained")
        load.wait_for_first()
        time.sleep(0.3)
        status: list[int] = []
        outcomes = load.end(lambda: status.append(server.stop(how, within=60)))
    assert status == [0]
    # CANCELLED is what grpc core says to calls that it has taken in and handed to nobody when the server stops.
    assert codes(outcomes).keys() <= {"OK", LOST, "CANCELLED"}
    found = contents(server.data).instances
    # Not one acknowledged call is lost, and not one that ran was cut off before its reply.
    assert found.keys() == names(outcomes, ok=True)
    for outcome in outcomes:
        if outcome.ok:
            assert_is(outcome, found[outcome.wanted.name])


@pytest.mark.parametrize("reached", [both_fronts, one_port])
def test_running_calls_finish_and_new_ones_are_refused(
    starting: Callable[..., Server], tmp_path: Path, reached: Reach
) -> None:
    instruments = Instruments(tmp_path / "instruments")
    server = starting(wrapper=instruments.wrapper, env=LONG_GRACE)
    with reached(server) as fronts, reached(server) as late:
        with write_lock(server.data):
            running = AtOnce(fronts, some(32, "running"))
            instruments.wait_for_arrivals(32)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.lines("draining"))
            # On connections that it has, and on new ones.
            for front in (*fronts, *late):
                wait_until(partial(_refuses, front))
            assert server.process.poll() is None
        outcomes = running.outcomes()
    assert codes(outcomes) == {"OK": 32}, {outcome.said for outcome in outcomes}
    assert server.wait(60) == 0
    stored = contents(server.data).instances
    assert {name for name in stored if not name.startswith("late")} == names(outcomes, ok=True)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_server_at_once(
    starting: Callable[..., Server], tmp_path: Path, how: signal.Signals
) -> None:
    instruments = Instruments(tmp_path / "instruments")
    server = starting(wrapper=instruments.wrapper, env=LONG_GRACE)
    with both_fronts(server) as fronts:
        with write_lock(server.data):
            running = AtOnce(fronts, some(8, "running"))
            instruments.wait_for_arrivals(8)
            server.process.send_signal(how)
            wait_until(lambda: server.lines("draining"))
            assert server.stop(how, within=60) == 128 + how
        assert codes(running.outcomes()) == {LOST: 8}
    server = starting()
    assert contents(server.data).instances == {}
    assert server.stop() == 0


def test_a_call_that_outlasts_the_grace_is_told_so(starting: Callable[..., Server], tmp_path: Path) -> None:
    instruments = Instruments(tmp_path / "instruments")
    server = starting(wrapper=instruments.wrapper, env={"INSTANCED_SHUTDOWNGRACE": "500ms"})
    body = {"instanceName": "Late", "ownerEmail": {"email": "owner@acme.example"}}
    ask = partial(requests.post, f"{server.url}/system/v1/instances", headers=server.bearer(), timeout=PATIENCE)
    with ThreadPoolExecutor(1) as pool, write_lock(server.data):
        running = pool.submit(ask, json=body)
        instruments.wait_for_arrivals(1)
        assert server.stop() == 0
        reply = running.result()
    assert (reply.status_code, reply.json()["code"]) == (503, grpc.StatusCode.UNAVAILABLE.value[0])
    assert contents(server.data).instances == {}


@pytest.mark.parametrize("one_port", [False, True])
def test_health_and_reflection_streams_end_at_once(starting: Callable[..., Server], one_port: bool) -> None:
    server = starting(env=LONG_GRACE)
    native = Native(server, one_port=one_port)
    # The types that are published for these stubs leave out their methods.
    health: Any = health_pb2_grpc.HealthStub(native.channel)
    explorer: Any = reflection_pb2_grpc.ServerReflectionStub(native.channel)
    open_end = threading.Event()
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    reflection = explorer.ServerReflectionInfo(_asking(open_end), timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    assert next(reflection).list_services_response.service
    assert server.stop(within=60) == 0
    open_end.set()
    assert [reply.status for reply in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert watch.code() is grpc.StatusCode.OK
    assert list(reflection) == []
    assert reflection.code() is grpc.StatusCode.OK
    native.close()


def test_a_health_stream_through_the_gateway_ends_at_once(starting: Callable[..., Server]) -> None:
    server = starting(env=LONG_GRACE)
    with requests.post(
        f"{server.url}/grpc.health.v1.Health/Watch",
        data=bytes(5),  # one empty message
        headers={"content-type": "application/grpc-web+proto"},
        stream=True,
        timeout=PATIENCE,
    ) as reply:
        stream = reply.raw
        assert stream.read(7) == b"\0\0\0\0\2\x08\1"  # SERVING
        assert server.stop(within=60) == 0
        rest = stream.read()
    assert rest.startswith(b"\0\0\0\0\2\x08\2\x80")  # NOT_SERVING, then the trailers
    assert b"grpc-status:0\r\n" in rest.replace(b" ", b"")


def _refuses(front: Front) -> bool:
    """Tell whether a new call is refused; one that still gets in waits, like the others, for the database."""
    late = front.add(Wanted(f"late-{secrets.token_hex(8)}"), deadline=0.2)
    assert not late.ok
    return late.code in {LOST, "CANCELLED"}


def _asking(open_end: threading.Event) -> Iterator[reflection_pb2.ServerReflectionRequest]:
    """Ask one question and leave the stream open, as tools that explore a server do."""
    yield reflection_pb2.ServerReflectionRequest(list_services="*")
    open_end.wait(PATIENCE)
