"""The fast host: the server inside Envoy behaves to its user as the default does."""

import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.crash.stored import write_lock
from tests.hosts import http2
from tests.hosts.test_floods import resident
from tests.servers import INSTANCED, Server, start, wait_until
from tests.tools import unavailable

HOST = ("--host", "pyvoy")

Starting = Callable[..., Server]


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if importlib.util.find_spec("pyvoy") is None:
        unavailable("pyvoy is not installed; make pyvoy installs it")


@pytest.fixture(scope="module")
def server(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("pyvoy") / "data", *HOST)
    yield running
    assert running.stop() == 0


def refusal(*arguments: str) -> str:
    done = subprocess.run(
        [INSTANCED, "serve", *HOST, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1, done
    assert done.stdout == ""
    return done.stderr


def test_json_and_a_reply_over_either_version_of_http(server: Server) -> None:
    instance = server.add("Over Envoy")
    assert instance.isdecimal()


@pytest.mark.parametrize("listener", ["grpc", "http"])
def test_grpc_is_spoken_on_both_ports(server: Server, listener: str) -> None:
    with grpc.insecure_channel(getattr(server, listener)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        reply = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_the_process_that_was_started_is_the_one_that_serves(server: Server) -> None:
    written = json.loads((server.data / "server.json").read_text())
    assert written == {
        "pid": server.process.pid,
        "external_url": f"http://localhost:{server.http.rpartition(':')[2]}",
        "grpc": server.grpc,
        "http": server.http,
    }


def test_the_log_says_how_to_get_a_token_with_the_command_that_was_called(server: Server) -> None:
    said = next(
        line
        for line in server.lines(
            "no system user is configured, so there is one of the server's own; this prints a token of it"
        )
    )
    assert str(said["command"]).startswith(str(INSTANCED))


def test_the_peer_is_who_connected_whatever_a_header_says(server: Server) -> None:
    headers = {"x-forwarded-for": "203.0.113.7", "x-request-id": "mine"}
    requests.get(f"{server.url}/system/v1/healthz", headers=headers, timeout=10)
    assert str(server.line_of("mine")["peer"]).startswith("ipv4:127.0.0.1:")


def test_what_envoy_is_commanded_by_is_reached_by_this_user_alone(server: Server) -> None:
    (admin,) = server.data.glob("envoy-*.sock")
    assert admin.stat().st_mode & 0o777 == 0o600
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert len(listening_ports(server.process.pid)) == 2


def listening_ports(pid: int) -> set[int]:
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                ports.add(int(columns[1].rpartition(":")[2], 16))
    return ports


def test_a_second_server_on_the_folder_is_refused(server: Server) -> None:
    said = refusal("--data", str(server.data), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    assert f"in use by process {server.process.pid}" in said
    assert server.add("Still there")


def test_a_second_server_on_the_port_is_refused(server: Server, tmp_path: Path) -> None:
    said = refusal("--data", str(tmp_path / "other"), "--grpc", "127.0.0.1:0", "--http", server.http)
    assert said == (
        f"instanced: cannot listen for HTTP on {server.http}: Address already in use; "
        "choose another with --http HOST:PORT\n"
    )


def test_a_grpc_port_in_use_is_refused_from_inside(server: Server, tmp_path: Path) -> None:
    said = refusal("--data", str(tmp_path / "other"), "--grpc", server.grpc, "--http", "127.0.0.1:0")
    assert f"instanced: cannot listen for gRPC on {server.grpc}: Address already in use" in said
    assert "Traceback" not in said


def test_what_is_refused_inside_leaves_nothing_behind(tmp_path: Path) -> None:
    said = refusal("--data", str(tmp_path / "data"), "--grpc", "127.0.0.1:0", "--http", "0.0.0.0:0")
    assert said.startswith("instanced: SystemAPIUsers: it is not set, and other machines may reach 0.0.0.0:0")
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"lock"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_leaves_nothing_behind(starting: Starting, how: signal.Signals) -> None:
    server = starting(*HOST)
    server.add()
    assert server.stop(how) == 0
    assert {path.name for path in server.data.iterdir()} == {"instanced.db", "local-user.key", "lock"}
    assert server.lines("stopped")


def test_a_running_call_finishes_after_sigterm_and_new_connections_are_refused(starting: Starting) -> None:
    server = starting(*HOST, env={"INSTANCED_SHUTDOWNGRACE": "300s"})
    token = server.token()
    with ThreadPoolExecutor(1) as pool:
        with write_lock(server.data):
            running = pool.submit(server.add, "Running")
            wait_until(lambda: active(server) == 1)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.lines("draining"))
            wait_until(lambda: refuses(server))
            assert server.process.poll() is None
        assert token
        assert running.result(30)
    assert server.wait() == 0


def test_a_second_signal_ends_it_at_once(starting: Starting) -> None:
    server = starting(*HOST, env={"INSTANCED_SHUTDOWNGRACE": "300s"})
    server.token()
    with ThreadPoolExecutor(1) as pool, write_lock(server.data):
        running = pool.submit(server.add, "Running")
        wait_until(lambda: active(server) == 1)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.lines("draining"))
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        with pytest.raises(requests.exceptions.ConnectionError):
            running.result(30)


def test_a_call_that_outlasts_the_grace_is_cut(starting: Starting) -> None:
    server = starting(*HOST, env={"INSTANCED_SHUTDOWNGRACE": "500ms"})
    server.token()
    with ThreadPoolExecutor(1) as pool, write_lock(server.data):
        running = pool.submit(server.add, "Running")
        wait_until(lambda: active(server) == 1)
        assert server.stop() == 0
        assert isinstance(running.exception(30), Exception)


def active(server: Server) -> int:
    """Return how many requests Envoy has under way, as its administration interface says."""
    (admin,) = server.data.glob("envoy-*.sock")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(admin))
        connection.sendall(b"GET /stats?filter=downstream_rq_active HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        with connection.makefile("rb") as reply:
            return int(reply.read().partition(b"http.http.downstream_rq_active: ")[2].split()[0])


def refuses(server: Server) -> bool:
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_a_killed_server_left_is_removed_by_the_next(starting: Starting) -> None:
    killed = starting(*HOST)
    instance = killed.add()
    killed.kill()
    assert list(killed.data.glob("envoy-*"))
    server = starting(*HOST)
    assert {path.name.partition(".")[0] for path in server.data.glob("envoy-*")} == {f"envoy-{server.process.pid}"}
    assert server.add() > instance
    assert server.stop() == 0


def test_a_data_folder_with_a_long_name(starting: Starting, tmp_path: Path) -> None:
    server = starting(*HOST, data=tmp_path / ("long" * 30))
    assert server.add()
    assert server.stop() == 0


def test_a_folder_of_the_working_folder_does_not_shadow_the_server(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    process = subprocess.Popen(
        [INSTANCED, "serve", *HOST, "--data", "relative", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("grpc 127.0.0.1:")
    assert process.stdout.readline().startswith("http 127.0.0.1:")
    assert (tmp_path / "relative" / "server.json").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    process.stdout.close()


def test_it_says_what_to_install_where_it_is_missing(tmp_path: Path) -> None:
    # A module of this name that cannot be imported stands before the one that is installed.
    (tmp_path / "envoy.py").write_text("raise ImportError")
    done = subprocess.run(
        [INSTANCED, "serve", *HOST, "--data", str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("instanced: the host pyvoy cannot be used: pyvoy is not installed; pip install ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_an_unknown_host_is_refused_with_those_there_are() -> None:
    said = refusal("--host", "0.0.0.0")
    assert "the setting host is wrong: Input should be 'asyncio' or 'pyvoy' (given: 0.0.0.0)" in said


def connect(server: Server) -> socket.socket:
    host, _, port = server.http.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def answer(server: Server, request: bytes, within: float) -> bytes:
    """Send bytes and return all that comes until the server closes the connection."""
    with connect(server) as connection:
        connection.settimeout(within)
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n%s\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (GET % (b"/%ff", b""), 400, {"code": 3, "message": "the path is not UTF-8", "details": []}),
        (GET % (b"/%ed%a0%80", b""), 400, {"code": 3, "message": "the path is not UTF-8", "details": []}),
        (GET % (b"/\xff", b""), 400, {"code": 3, "message": "the HTTP request is malformed", "details": []}),
        (GET % ("/日本".encode(), b""), 400, {"code": 3, "message": "the HTTP request is malformed", "details": []}),
        (GET % (b"/%E6%97%A5?%ff", b""), 404, {"code": 5, "message": "there is nothing at this path", "details": []}),
        (
            b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\nconnection: close\r\n\r\n",
            404,
            {"code": 5, "message": "there is nothing at this path", "details": []},
        ),
        (b"NO HTTP\r\n\r\n", 400, {"code": 3, "message": "the HTTP request is malformed", "details": []}),
        (
            GET % (b"/", b"x: " + b"x" * 40_000 + b"\r\n"),
            431,
            {"code": 8, "message": "the request's headers are too large", "details": []},
        ),
        (
            GET % (b"/", b"x: y\r\n" * 1_001),
            431,
            {"code": 8, "message": "the request's headers are too large", "details": []},
        ),
    ],
)
def test_what_is_no_request_of_ours_is_answered_in_our_json(
    server: Server, request_: bytes, status: int, body: dict[str, object]
) -> None:
    received = answer(server, request_, 10)
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(received.partition(b"\r\n\r\n")[2]) == body


@pytest.mark.parametrize("size", [1 << 20, 4_000_000])
def test_a_message_within_the_limit_arrives_whole(server: Server, size: int) -> None:
    # The name is too long, which only who has read all of it can say.
    body = json.dumps({"instanceName": "x" * size, "ownerEmail": {"email": "owner@acme.example"}})
    reply = requests.post(f"{server.url}/system/v1/instances", data=body, headers=typed(server), timeout=30)
    assert (reply.status_code, reply.json()["code"]) == (400, 3)


def test_a_message_above_the_limit_is_refused_while_it_arrives(server: Server) -> None:
    body = json.dumps({"instanceName": "x" * 20_000_000})
    reply = requests.post(f"{server.url}/system/v1/instances", data=body, headers=typed(server), timeout=30)
    assert (reply.status_code, reply.json()["code"]) == (413, 8)


def typed(server: Server) -> dict[str, str]:
    return {**server.bearer(), "content-type": "application/json"}


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ", b"HTTP/1.1 408 "),
        (
            (
                b"POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: 10\r\n\r\n{"
            ),
            b"HTTP/1.1 408 ",
        ),
        (b"PRI * HT", b"HTTP/1.1 408 "),
        (b"", b""),
    ],
)
def test_a_peer_that_stalls_is_cut_off_and_others_are_not(starting: Starting, sent: bytes, answered: bytes) -> None:
    server = starting(*HOST, env={"INSTANCED_HTTP_RECEIVETIMEOUT": "1s"})
    assert answer(server, sent, 10).startswith(answered)
    assert server.add()
    assert server.stop() == 0


def test_a_stream_that_is_silent_costs_no_time_and_stays_open(server: Server) -> None:
    with grpc.insecure_channel(server.http) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        before = processor_time(server)
        time.sleep(3)
        assert processor_time(server) - before < 0.3
        watch.cancel()
        wait_until(lambda: any(line["code"] == "CANCELLED" for line in server.lines()))
    assert not server.lines("envoy")


def processor_time(server: Server) -> float:
    """Return the seconds of processor time that a server has taken."""
    columns = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def test_replies_that_a_caller_does_not_read_wait_with_little_memory(server: Server) -> None:
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="zitadel.system.v1.SystemService")
    message = asked.SerializeToString()
    data = http2.frame(http2.DATA, 0, 1, struct.pack(">BI", 0, len(message)) + message)
    head = http2.request("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    # As much as the window for a request's body takes: the replies would be 28 MB.
    count = 60_000 // (len(data) - 9)
    with http2.connect(server) as peer:
        peer.sendall(http2.OPENING + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, head))
        time.sleep(0.3)
        before = resident(server)
        peer.sendall(data * count)
        time.sleep(2)
        grown = resident(server) - before
        assert not http2.is_closed(peer)
        assert requests.get(f"{server.url}/admin/v1/healthz", timeout=5).status_code == 200
    assert count * 18_000 > 24 << 20
    assert grown < 12 << 20, f"{grown >> 20} MiB"
