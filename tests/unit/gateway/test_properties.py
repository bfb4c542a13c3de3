"""Whatever the bytes: no 5xx, no UNKNOWN, INTERNAL for broken framing alone, nothing unhandled in the log."""

import asyncio
import gzip
import json
import logging
import os
import re
import socket
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import Gateway
from gateway.hosts.http_host import HTTPHost
from tests.unit.gateway.callers import NATIVE, Outcome, enveloped, read_grpc_end, text_pairs
from tests.unit.gateway.client import GRPC_WEB, GRPC_WEB_TEXT, JSON, frame, request, text_frame, web_result
from tests.unit.gateway.echo import SERVICE, EchoRequest, EchoServicer, add_EchoServicer_to_server

# More where there is time: INSTANCED_EXAMPLES=5000.
EXAMPLES = int(os.environ.get("INSTANCED_EXAMPLES", "300"))
bounded = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

UNKNOWN, INTERNAL = 2, 13
FRAMING = "frame|inside a message|marked as compressed|not gzip|cut short"

METHODS = ("Unary", "Get", "ServerStream", "ClientStream", "Bidi", "Nope")
paths = st.sampled_from(
    [
        *(f"/{SERVICE}/{method}" for method in METHODS),
        "/v1/echo",
        "/v1/items/x",
        "/v1/items/x:archive",
        "/v1/answer/1/2",
        "/v1/ping",
        "/v1/join",
        "/v1/chat",
        "/v1/chat/x",
        "/v1/stream/3",
        "/",
        "",
    ]
)
odd_paths = st.text(alphabet="/v1.:%aF2*{}?=&é", max_size=20).map(
    lambda text: "/" + "".join(c for c in text if c.isascii())
)
encoded_paths = st.binary(max_size=10).map(lambda data: "/v1/items/" + "".join(f"%{byte:02x}" for byte in data))
queries = st.text(alphabet="abcdeginorstux.=&%+0123456789ABCDEF[]", max_size=30) | st.lists(
    st.sampled_from(
        [
            "connect=v1",
            "encoding=json",
            "encoding=proto",
            "base64=1",
            "compression=gzip",
            "message={}",
            "message=%7b%7D",
        ]
    )
    | st.binary(max_size=10).map(lambda data: "message=" + "".join(f"%{byte:02x}" for byte in data))
    | st.text(alphabet="aA0-_=", max_size=12).map("message={}".format),
    max_size=5,
).map("&".join)
content_types = st.sampled_from(
    [
        GRPC_WEB,
        GRPC_WEB_TEXT,
        JSON,
        "application/grpc-web",
        "application/grpc-web+json",
        "application/grpc",
        "application/grpc+json",
        "application/proto",
        "application/connect+proto",
        "application/connect+json",
        "text/plain",
        f"{JSON};charset=utf-8",
        "application/x-ndjson",
        "",
    ]
) | st.binary(max_size=30).map(lambda data: data.decode("latin-1"))
bodies = (
    st.binary(max_size=200)
    | st.binary(max_size=100).map(frame)
    | st.binary(max_size=100).map(text_frame)
    | st.lists(st.binary(max_size=20).map(frame), max_size=4).map(b"".join)
    | st.binary(max_size=30).map(gzip.compress)
    | st.sampled_from([gzip.compress(b"{}\n" * 3), gzip.compress(b" " * 9000), b"{}\n{}\n"])
    | st.sampled_from([b"{}", b'{"text":"a"}', b"[]", b'{"count":"x"}', frame(EchoRequest(text="x"))])
    | st.text(alphabet='{}[]":,\\ud80aetxfnul0123456789.-', max_size=60).map(lambda text: text.encode())
)
names = st.sampled_from(
    [
        b"host",
        b"accept",
        b"accept-encoding",
        b"origin",
        b"content-length",
        b"content-encoding",
        b"grpc-timeout",
        b"grpc-encoding",
        b"grpc-accept-encoding",
        b"access-control-request-method",
        b"access-control-request-headers",
        b"authorization",
        b"x-bin",
        b"grpc-trace-bin",
        b"connect-protocol-version",
        b"connect-timeout-ms",
        b"connect-content-encoding",
        b"connect-accept-encoding",
        b"te",
        b":path",
    ]
) | st.binary(min_size=1, max_size=10)
values = st.binary(max_size=20) | st.sampled_from(
    [
        b"1",
        b"trailers",
        b"1S",
        b"0n",
        b"99999999H",
        b"gzip",
        b"br",
        b"zstd",
        b"identity",
        b"*",
        GRPC_WEB.encode(),
        b"5",
        b"0",
        b"-1",
    ]
)
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", ""])


def application() -> Gateway:
    gateway = Gateway(max_message_bytes=1000, receive_timeout=2)
    add_EchoServicer_to_server(EchoServicer(), gateway)
    return gateway


GATEWAY = application()


def check(response: Any, body: bytes) -> None:
    if response.status in (501, 504):
        # A streaming method called with JSON; a timeout of nothing.
        assert response.json()["code"] in (12, 4, "unimplemented", "deadline_exceeded")
        return
    assert 200 <= response.status < 500, (response.status, response.body)
    kind = response.header("content-type") or ""
    if kind.startswith("application/grpc-web") and response.body:
        result = web_result(response)
        assert result.status != UNKNOWN
        if result.status == INTERNAL:
            assert re.search(FRAMING, result.message), result.message
    elif kind.startswith("application/connect+") and response.body:
        error = json.loads(enveloped(response.body)[-1][1]).get("error", {})
        assert error.get("code") != "unknown"
        if error.get("code") == "internal":
            assert re.search(FRAMING, error["message"]), error
    elif response.trailers is not None:
        end = Outcome()
        read_grpc_end(end, text_pairs(response.trailers))
        assert end.code != UNKNOWN
        if end.code == INTERNAL:
            assert re.search(FRAMING, end.message), end
    elif kind == JSON and response.status >= 400 and response.body:
        assert response.json()["code"] not in (UNKNOWN, INTERNAL, "unknown", "internal")


@bounded
@given(
    method=methods,
    path=paths | odd_paths | encoded_paths,
    query=queries,
    content_type=content_types | st.none(),
    headers=st.lists(st.tuples(names, values), max_size=5),
    body=bodies,
    cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=3),
    scope=st.sampled_from([{}, NATIVE]),
)
async def test_any_request_gets_a_reply_that_blames_the_request(
    caplog: pytest.LogCaptureFixture,
    *,
    method: str,
    path: str,
    query: str,
    content_type: str | None,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    cuts: list[int],
    scope: Any,
) -> None:
    raw = list(headers)
    if content_type is not None:
        raw.append((b"content-type", content_type.encode("latin-1")))
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces: Any = [body[start:end] for start, end in pairwise(edges)] if cuts else body
    caplog.clear()
    async with asyncio.timeout(5):
        response = await request(GATEWAY, method, f"{path}?{query}", pieces, headers=raw, scope=scope)
    if method != "HEAD":
        check(response, body)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


encodings = st.sampled_from([b"gzip", b"identity", b"br"])


@bounded
@given(
    call=st.tuples(
        st.sampled_from(METHODS),
        st.sampled_from(["application/proto", JSON, "application/connect+proto", "application/connect+json"]),
    )
    | st.tuples(st.just("GET"), queries.map("connect=v1&{}".format)),
    headers=st.lists(
        st.tuples(st.sampled_from([b"content-encoding", b"connect-content-encoding"]), encodings)
        | st.tuples(st.just(b"connect-timeout-ms"), st.sampled_from([b"0", b"1", b"99999999999", b"x"])),
        max_size=2,
    ),
    body=bodies | bodies.map(gzip.compress) | bodies.map(lambda body: frame(gzip.compress(body), 1)),
)
async def test_any_call_of_connect_gets_a_reply_that_blames_it(
    caplog: pytest.LogCaptureFixture, *, call: tuple[str, str], headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    raw = [*headers, (b"connect-protocol-version", b"1")]
    caplog.clear()
    async with asyncio.timeout(5):
        if call[0] == "GET":
            response = await request(GATEWAY, "GET", f"/{SERVICE}/Get?{call[1]}", headers=raw)
        else:
            response = await request(GATEWAY, "POST", f"/{SERVICE}/{call[0]}", body, content_type=call[1], headers=raw)
    check(response, body)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def over_socket(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(1):
            while piece := await reader.read(65536):
                received += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return received


@settings(max_examples=max(40, EXAMPLES // 10), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=methods | st.binary(max_size=8).map(lambda data: data.decode("latin-1")),
    target=(paths | odd_paths | encoded_paths).map(str.encode) | st.binary(max_size=20),
    content_type=content_types.map(lambda text: text.encode("latin-1")),
    headers=st.lists(st.tuples(names, values), max_size=4),
    body=bodies,
)
async def test_any_bytes_on_a_socket_get_a_reply_that_blames_them(
    caplog: pytest.LogCaptureFixture,
    *,
    method: str,
    target: bytes,
    content_type: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    host = HTTPHost(GATEWAY, sock, header_timeout=0.2, keep_alive=0.2)
    await host.start()
    lines = [method.encode("latin-1") + b" " + target + b" HTTP/1.1", b"Host: a", b"Content-Type: " + content_type]
    lines += [name + b": " + value for name, value in headers]
    lines += [b"Content-Length: %d" % len(body), b"Connection: close", b"", body]
    caplog.clear()
    reply = await over_socket(sock.getsockname()[1], b"\r\n".join(lines))
    await host.stop(0)
    for status in re.findall(rb"HTTP/1\.1 (\d{3})", reply):
        assert int(status) < 500 or int(status) in (501, 504), reply
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
