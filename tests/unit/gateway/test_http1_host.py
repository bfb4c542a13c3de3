"""The host on real sockets: limits that act while receiving, draining, TLS, and the calls that it carries."""

import asyncio
import http.client
import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import requests
from sonora.client import insecure_web_channel

from gateway import Gateway
from gateway.hosts.http_host import HTTPHost
from tests.hosts.http2 import DATA, END_STREAM, RST_STREAM
from tests.hosts.http2 import frame as frame2
from tests.unit.gateway.client import GRPC_WEB, GRPC_WEB_TEXT, frame, text_frame
from tests.unit.gateway.conftest import MakeGateway, Serve
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer
from tests.unit.gateway.http2_peer import head, peer

RPC = f"/{SERVICE}/Unary"
Result = TypeVar("Result")


async def off_loop(function: Callable[..., Result], *arguments: Any) -> Result:
    async with asyncio.timeout(10):
        return await asyncio.to_thread(function, *arguments)


def exchange(port: int, *pieces: bytes, pause: float = 0.0, timeout: float = 5.0) -> bytes:
    """Send bytes, then read until the server closes or says nothing for half a second after its first bytes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        except OSError:
            pass
        try:
            while data := connection.recv(65536):
                received += data
                connection.settimeout(0.3)
        except OSError:
            pass
    return received


def status_of(reply: bytes) -> int:
    assert reply.startswith(b"HTTP/1.1 "), reply
    return int(reply[9:12])


def refusal(reply: bytes) -> Any:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    assert b"connection: close" in head.lower()
    return json.loads(body)


GET = b"GET /v1/ping HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_json_and_grpc_web_are_served_over_a_socket(gateway: Gateway, serve: Serve) -> None:
    url = f"http://127.0.0.1:{await serve(gateway)}"

    def calls() -> None:
        with requests.Session() as session:
            reply = session.post(f"{url}/v1/echo", json={"text": "a"})
            assert (reply.status_code, reply.json()) == (200, {"request": {"text": "a"}})
            assert "server" not in reply.headers
            assert "date" not in reply.headers
            reply = session.get(f"{url}/v1/items/b%2Fc?tags=x&tags=y")
            assert reply.json() == {"request": {"text": "b/c", "tags": ["x", "y"]}}
            head = session.head(f"{url}/v1/items/b")
            assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "24")
            for kind, make in ((GRPC_WEB, frame), (GRPC_WEB_TEXT, text_frame)):
                reply = session.post(url + RPC, data=make(EchoRequest(text="a")), headers={"content-type": kind})
                assert (reply.status_code, reply.headers["content-type"]) == (200, kind)

    await off_loop(calls)


async def test_client_of_sonora_calls_every_kind_it_knows(
    make_gateway: MakeGateway, servicer: EchoServicer, serve: Serve
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        if received.is_set:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nö")
        return EchoReply(text=received.text)

    servicer.unary = unary
    port = await serve(make_gateway())

    def calls() -> None:
        with insecure_web_channel(f"http://127.0.0.1:{port}") as channel:
            call = channel.unary_unary(RPC, EchoRequest.SerializeToString, EchoReply.FromString)
            assert call(EchoRequest(text="a")).text == "a"
            with pytest.raises(grpc.RpcError) as raised:
                call(EchoRequest(is_set=True))
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            assert raised.value.details() == "nö"
            stream = channel.unary_stream(
                f"/{SERVICE}/ServerStream", EchoRequest.SerializeToString, EchoReply.FromString
            )
            assert [reply.text for reply in stream(EchoRequest(count=3))] == ["0", "1", "2"]

    await off_loop(calls)


async def test_stream_arrives_message_by_message(
    make_gateway: MakeGateway, servicer: EchoServicer, serve: Serve
) -> None:
    go_on = asyncio.Event()

    async def stream(received: Any, context: Any) -> Any:
        yield EchoReply(text="0")
        await go_on.wait()
        yield EchoReply(text="1")

    servicer.server_stream = stream
    port = await serve(make_gateway())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = frame(EchoRequest())
    head = f"POST /{SERVICE}/ServerStream HTTP/1.1\r\nHost: a\r\nContent-Type: {GRPC_WEB}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(3):
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(frame(EchoReply(text="0")))
        go_on.set()
        assert await reader.readuntil(b"grpc-status: 0\r\n\r\n0\r\n\r\n")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("after", [0.0, 0.3])
@pytest.mark.parametrize("http2", [False, True])
async def test_client_that_hangs_up_cancels_the_servicer(
    make_gateway: MakeGateway, servicer: EchoServicer, serve: Serve, http2: bool, after: float
) -> None:
    """Also where it is long before or after anybody begins to look."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def unary(received: Any, context: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            ended.set()
            raise

    servicer.unary = unary
    port = await serve(make_gateway())
    async with asyncio.timeout(5):
        if http2:
            async with peer(port) as caller:
                body = frame2(DATA, END_STREAM, 1, b"{}")
                caller.send(caller.request(1, head(RPC, "POST"), last=False), body)
                await started.wait()
                await asyncio.sleep(after)
                caller.send(frame2(RST_STREAM, 0, 1, (8).to_bytes(4)))
                await ended.wait()
            return
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {RPC} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        await started.wait()
        await asyncio.sleep(after)
        writer.close()
        await writer.wait_closed()
        await ended.wait()


# Headers.


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 1_048_576,
        b"GET /v1/ping HTTP/1.1\r\nHost: a\r\n" + b"X-Many: b\r\n" * 100_000,
        b"GET /" + b"a" * 1_048_576 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /v1/ping?" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["value", "many", "target", "whole-block", "whole-target"],
)
async def test_header_block_over_the_limit_is_431_and_the_connection_closes(
    gateway: Gateway, serve: Serve, head: bytes
) -> None:
    port = await serve(gateway)

    def send() -> tuple[bytes, int]:
        received, sent = b"", 0
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.setblocking(False)
            ends = time.monotonic() + 3
            while sent < len(head) and not received and time.monotonic() < ends:
                try:
                    sent += connection.send(head[sent : sent + 8192])
                except BlockingIOError:
                    time.sleep(0.001)
                except OSError:
                    break
                time.sleep(0.0005)
                try:
                    received += connection.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    break
            connection.settimeout(1)
            try:
                while data := connection.recv(65536):
                    received += data
            except OSError:
                pass
        return received, sent

    received, sent = await off_loop(send)
    assert status_of(received) == 431
    assert refusal(received)["code"] == 8
    assert sent < 300_000, "the limit acted late"


async def test_header_block_below_the_limit_is_served_also_beside_a_large_body(gateway: Gateway, serve: Serve) -> None:
    port = await serve(gateway)
    body = b'{"text":"' + b"a" * 100_000 + b'"}'
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nX-Long: %s\r\nContent-Length: %d\r\n\r\n" % (
        RPC.encode(),
        b"a" * 30_000,
        len(body),
    )
    # Twice on one connection, in one piece: what is counted for the one must not count for the other.
    reply = await off_loop(exchange, port, (head + body) * 2)
    assert reply.count(b"HTTP/1.1 200 OK") == 2


async def test_limit_holds_for_each_request_of_a_connection(gateway: Gateway, serve: Serve) -> None:
    port = await serve(gateway, max_header_bytes=2000)
    small = b"GET /v1/ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1500 + b"\r\n\r\n"
    large = b"GET /v1/ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2500 + b"\r\n\r\n"
    reply = await off_loop(lambda: exchange(port, *[small] * 5, large, pause=0.02))
    assert reply.count(b"HTTP/1.1 200 OK") == 5
    assert reply.count(b"HTTP/1.1 431") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/ping HTTP/1.1\r\nHost a\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nX\x00Y: a\r\n\r\n",
        b"GET /v1/ping HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"GET \xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_400(gateway: Gateway, serve: Serve, sent: bytes) -> None:
    reply = await off_loop(exchange, await serve(gateway), sent)
    assert status_of(reply) == 400
    assert refusal(reply)["code"] == 3
    assert reply.count(b"HTTP/1.1") == 1


async def test_nonsense_after_a_request_does_not_spoil_its_reply(
    make_gateway: MakeGateway, servicer: EchoServicer, serve: Serve
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await asyncio.sleep(0.05)
        return EchoReply()

    servicer.unary = unary
    reply = await off_loop(exchange, await serve(make_gateway()), GET + b"nonsense\r\n\r\n")
    assert reply.count(b"HTTP/1.1") == 1
    assert status_of(reply) == 200
    assert reply.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("piece", [b"", b"GET /v1/ping HT", b"GET /v1/ping HTTP/1.1\r\nHost: a\r\nX: "])
async def test_headers_that_do_not_arrive_in_time_close_the_connection(
    gateway: Gateway, serve: Serve, piece: bytes
) -> None:
    port = await serve(gateway, header_timeout=0.1)
    began = time.monotonic()
    reply = await off_loop(exchange, port, piece)
    assert time.monotonic() - began < 2
    assert reply == b"" if not piece else (status_of(reply), refusal(reply)["code"]) == (408, 4)


async def test_dripping_headers_do_not_buy_time(gateway: Gateway, serve: Serve) -> None:
    port = await serve(gateway, header_timeout=0.2)
    drops = [GET, *(bytes([byte]) for byte in GET[:-2] * 3)]
    began = time.monotonic()
    reply = await off_loop(lambda: exchange(port, *drops, pause=0.01))
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert reply.count(b"HTTP/1.1 408") == 1
    assert time.monotonic() - began < 3


async def test_time_for_headers_does_not_limit_body_servicer_or_idle_connection(
    make_gateway: MakeGateway, servicer: EchoServicer, serve: Serve
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await asyncio.sleep(0.15)
        return EchoReply(text="done")

    servicer.unary = unary
    port = await serve(make_gateway(), header_timeout=0.05)
    head = f"POST {RPC} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n".encode()
    reply = await off_loop(lambda: exchange(port, head, b"{", b"}", head, b"{}", pause=0.15))
    assert reply.count(b'{"text":"done"}') == 2


async def test_idle_connection_is_closed_after_its_time(gateway: Gateway, serve: Serve) -> None:
    port = await serve(gateway, keep_alive=0.1)

    def wait() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(GET)
            received = b""
            while data := connection.recv(65536):
                received += data
            return received

    assert status_of(await off_loop(wait)) == 200


# Bodies.


async def test_body_over_the_limit_gets_its_reply_though_the_client_sends_on(
    make_gateway: MakeGateway, serve: Serve
) -> None:
    url = f"http://127.0.0.1:{await serve(make_gateway(max_message_bytes=10_000))}"

    def post(chunked: bool) -> int:
        body: Any = b"a" * 5_000_000
        return requests.post(f"{url}/v1/echo", data=iter([body]) if chunked else body, timeout=5).status_code

    assert await off_loop(post, True) == 413
    assert await off_loop(post, False) == 413


async def test_client_that_asks_before_it_sends_is_spared_the_body(make_gateway: MakeGateway, serve: Serve) -> None:
    port = await serve(make_gateway(max_message_bytes=10_000))
    head = "POST /v1/echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    reply = await off_loop(exchange, port, (head % 1_000_000).encode())
    assert status_of(reply) == 413
    reply = await off_loop(lambda: exchange(port, (head % 2).encode(), b"{}", pause=0.05))
    assert reply.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


async def test_upgrade_is_not_followed_but_the_request_is_served(gateway: Gateway, serve: Serve) -> None:
    port = await serve(gateway)
    for upgrade in (b"h2c", b"websocket"):
        reply = await off_loop(
            exchange, port, b"GET /v1/ping HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n" % upgrade
        )
        assert status_of(reply) == 200
        head = b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\nConnection: Upgrade\r\nUPGRADE: %s\r\n\r\n"
        reply = await off_loop(exchange, port, head % upgrade + b'{"text":"all"}')
        assert status_of(reply) == 200
        assert b'"all"' in reply


async def test_pipelined_requests_are_answered_in_order_each_in_a_context_of_its_own(
    make_gateway: MakeGateway, servicer: EchoServicer, serve: Serve
) -> None:
    seen: ContextVar[str] = ContextVar("seen")

    async def unary(received: Any, context: Any) -> Any:
        before = seen.get("nothing")
        seen.set(received.text)
        await asyncio.sleep(0.01)
        return EchoReply(text=f"{received.text} after {before}")

    servicer.unary = unary
    port = await serve(make_gateway())
    requests_ = b"".join(b"GET /v1/items/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3))
    reply = await off_loop(exchange, port, requests_)
    texts = [json.loads(part.partition(b"\r\n\r\n")[2])["text"] for part in reply.split(b"HTTP/1.1 ")[1:]]
    assert texts == ["0 after nothing", "1 after nothing", "2 after nothing"]


# Stopping.


def bound() -> tuple[socket.socket, int]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


async def test_stop_lets_running_calls_finish_closes_idle_connections_and_refuses_new_ones(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    started = asyncio.Event()

    async def unary(received: Any, context: Any) -> Any:
        started.set()
        await asyncio.sleep(0.1)
        return EchoReply(text="done")

    servicer.unary = unary
    sock, port = bound()
    host = HTTPHost(make_gateway(), sock)
    await host.start()
    idle = await asyncio.open_connection("127.0.0.1", port)
    running = asyncio.create_task(asyncio.to_thread(requests.post, f"http://127.0.0.1:{port}/v1/echo", b"{}"))
    await started.wait()
    async with asyncio.timeout(2):
        await host.stop(5)
    reply = await running
    assert (reply.status_code, reply.json(), reply.headers["connection"]) == (200, {"text": "done"}, "close")
    assert await idle[0].read() == b""
    idle[1].close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_stop_cuts_calls_that_run_past_the_grace(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def unary(received: Any, context: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    servicer.unary = unary
    sock, port = bound()
    host = HTTPHost(make_gateway(), sock)
    await host.start()
    running = asyncio.create_task(asyncio.to_thread(requests.post, f"http://127.0.0.1:{port}/v1/echo", b"{}"))
    await started.wait()
    began = time.monotonic()
    await host.stop(0.1)
    assert time.monotonic() - began < 1
    assert ended.is_set()
    assert (await running).status_code == 503


async def test_stop_before_start_and_twice_is_harmless(gateway: Gateway) -> None:
    sock, _ = bound()
    host = HTTPHost(gateway, sock)
    await host.stop(1)
    await host.start()
    await host.stop(1)
    await host.stop(1)


async def test_host_installs_no_signal_handlers(gateway: Gateway, serve: Serve) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    await serve(gateway)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


async def test_tls_is_spoken_with_certificate_and_key(
    gateway: Gateway, servicer: EchoServicer, serve: Serve, certificate: tuple[Path, Path]
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    port = await serve(gateway, tls=tls)

    def get() -> tuple[int, str | None]:
        context = ssl.create_default_context(cafile=certificate[0])
        context.set_alpn_protocols(["http/1.1"])
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=3)
        connection.request("GET", "/v1/ping")
        status = connection.getresponse().status
        alpn = connection.sock.selected_alpn_protocol()
        connection.close()
        return status, alpn

    assert await off_loop(get) == (200, "http/1.1")
    assert servicer.context.auth_context() == {"transport_security_type": [b"ssl"]}
