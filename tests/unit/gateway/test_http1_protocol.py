"""HTTP/1.1 as the host speaks it, with ASGI applications of a few lines: framing, order, back-pressure, odd peers."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.unit.gateway.conftest import Serve

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """The other end of one connection, which sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a segment of its own."""
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.02)
            self.writer.write(piece)
            await self.writer.drain()

    async def reply(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Read one reply with a length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        return int(first.split()[1]), headers, body

    async def rest(self) -> bytes:
        """Read until the connection ends."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b"reset"


@contextlib.asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncIterator[Peer]:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        try:
            yield Peer(reader, writer)
        finally:
            # What is left to be sent is for nobody.
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def read_whole(receive: Any) -> bytes:
    """Receive a body; the task ends where the caller goes."""
    body: bytes = b""
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise asyncio.CancelledError
        body += event["body"]
        if not event["more_body"]:
            return body


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


LENGTH = (b"content-length", b"2")
BODY = {"type": "http.response.body", "body": b"ab"}


async def answer(send: Any, body: bytes = b"", status: int = 200) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send(start(length, status=status))
    await send({"type": "http.response.body", "body": body})


async def mirror(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what has come."""
    body = await read_whole(receive)
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
        "http_version": scope["http_version"],
    }
    await answer(send, json.dumps(seen).encode())


async def mirrored(peer: Peer) -> dict[str, Any]:
    status, _, body = await peer.reply()
    assert status == 200
    seen: dict[str, Any] = json.loads(body)
    return seen


# What the application is given.


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/a/b?c=d&e", "/a/b", "/a/b", "c=d&e"),
        ("/a?b?c", "/a", "/a", "b?c"),
        ("/", "/", "/", ""),
        ("//a/b", "//a/b", "//a/b", ""),
        ("/a%2Fb%20c%C3%A9?d=%20", "/a/b cé", "/a%2Fb%20c%C3%A9", "d=%20"),
        ("/%ff", "/�", "/%ff", ""),
        ("/a#b", "/a", "/a", ""),
        ("*", "*", "*", ""),
        ("http://b:1/c?d", "/c", "/c", "d"),
        ("http://b", "/", "/", ""),
    ],
)
async def test_request_target_is_path_and_query(
    serve: Serve, target: str, path: str, raw_path: str, query: str
) -> None:
    async with connected(await serve(mirror)) as peer:
        await peer.send(f"OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        seen = await mirrored(peer)
    assert (seen["path"], seen["raw_path"], seen["query"]) == (path, raw_path, query)


async def test_host_of_an_absolute_target_is_the_one_that_counts(serve: Serve) -> None:
    async with connected(await serve(mirror)) as peer:
        await peer.send(b"GET http://u:p@b.example:81/c HTTP/1.1\r\nA: b\r\nHost: a.example\r\n\r\n")
        seen = await mirrored(peer)
    assert seen["headers"] == [["host", "b.example:81"], ["a", "b"]]


async def test_scope_is_that_of_asgi(serve: Serve) -> None:
    scopes = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        scopes.append((scope, task.get_name()))
        await answer(send)

    port = await serve(application)
    async with connected(port) as peer:
        await peer.send(b"PATCH /a HTTP/1.1\r\nHost: a\r\nX-A: \xe9\r\nx-a:  c\r\n\r\n")
        await peer.reply()
        client = peer.writer.get_extra_info("sockname")
    [(scope, name)] = scopes
    assert name == "/a"
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "PATCH",
        "scheme": "http",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"a"), (b"x-a", b"\xe9"), (b"x-a", b"c")],
        "client": client,
        "server": ("127.0.0.1", port),
    }


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_request_may_come_in_pieces_of_any_size(serve: Serve, size: int) -> None:
    head = b"POST /abc?d HTTP/1.1\r\nHost: a\r\nX-Long: value\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = head + b"5\r\nhallo\r\n2\r\n, \r\n0\r\n\r\n"
    async with connected(await serve(mirror)) as peer:
        peer.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for at in range(0, len(sent), size):
                peer.writer.write(sent[at : at + size])
                await asyncio.sleep(0.0005)
            seen = await mirrored(peer)
            assert (seen["path"], seen["query"], seen["body"]) == ("/abc", "d", "hallo, ")
            assert ["x-long", "value"] in seen["headers"]


async def test_trailers_are_part_of_no_head(serve: Serve) -> None:
    async with connected(await serve(mirror)) as peer:
        await peer.send(CHUNKED + b"1\r\na\r\n0\r\nX-Admin: yes\r\nHost: b\r\n\r\n" + GET)
        for body in ("a", ""):
            seen = await mirrored(peer)
            assert seen["body"] == body
            assert [value for name, value in seen["headers"] if name == "host"] == ["a"]
            assert "x-admin" not in dict(seen["headers"])


async def test_each_request_is_received_once_and_then_the_disconnect(serve: Serve) -> None:
    events: list[Any] = []
    refused = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while not events or events[-1]["type"] == "http.request":
            events.append(await receive())
        with pytest.raises(OSError, match="gone"):
            await answer(send)
        refused.set()

    async with connected(await serve(application)) as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", b"cd")
        await asyncio.sleep(0.1)
        # The third has to wait.
        assert [event.get("body") for event in events] == [b"ab", b"cd"]
    async with asyncio.timeout(5):
        await refused.wait()
    assert events[2] == {"type": "http.disconnect"}


async def test_caller_who_is_gone_is_no_error_of_the_application(serve: Serve) -> None:
    over = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(start())
            while True:
                await send({"type": "http.response.body", "body": b"a", "more_body": True})
                await asyncio.sleep(0.01)
        finally:
            over.set()

    async with connected(await serve(application)) as peer:
        await peer.send(GET)
        await peer.reader.readuntil(b"1\r\na\r\n")
    async with asyncio.timeout(5):
        await over.wait()


async def test_receive_ends_with_the_reply_for_whoever_still_waits(serve: Serve) -> None:
    received: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = [asyncio.create_task(receive()) for _ in range(2)]
        await asyncio.sleep(0)
        await answer(send)
        received.extend(await asyncio.gather(*waiting))

    async with connected(await serve(application)) as peer:
        await peer.send(GET)
        await peer.reply()
        await asyncio.sleep(0.05)
    assert received == [{"type": "http.disconnect"}] * 2


# Replies.


async def test_head_of_a_stream_goes_out_before_there_is_a_body(serve: Serve) -> None:
    go_on = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": [(b"A", b"b")]})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"x" * 300_000, "more_body": True})
        await send({"type": "http.response.body"})

    async with connected(await serve(application), limit=1 << 20) as peer:
        await peer.send(GET)
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert head == b"HTTP/1.1 201 Created\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"
        go_on.set()
        assert await peer.reader.readuntil(b"\r\n0\r\n\r\n") == b"493e0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n"


async def test_reply_of_known_length_is_one_piece(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * (200_000 if scope["path"] == "/large" else 10))

    async with connected(await serve(application)) as peer:
        await peer.send(GET)
        assert await peer.reader.read(1000) == b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n" + b"x" * 10
        await peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await peer.reply())[2] == b"x" * 200_000


async def test_http_1_0_gets_no_chunks_and_the_connection_ends(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["http_version"] == "1.0"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    async with connected(await serve(application)) as peer:
        await peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert await peer.rest() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"


@pytest.mark.logs_errors
async def test_unfinished_reply_is_seen_to_be_unfinished(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"5")] if scope["path"] == "/length" else []
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.sleep(0.05)

    port = await serve(application)
    for head, end in (
        (GET, b"1\r\na\r\n"),
        (b"GET /length HTTP/1.1\r\nHost: a\r\n\r\n", b"content-length: 5\r\n\r\na"),
    ):
        async with connected(port) as peer:
            await peer.send(head)
            assert (await peer.rest()).endswith(end)


@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("with_length", [True, False])
async def test_replies_that_have_no_body_are_followed_by_the_next(serve: Serve, status: int, with_length: bool) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"3")] if with_length else []
        await send({"type": "http.response.start", "status": status, "headers": length})
        await send({"type": "http.response.body", "body": b"abc"})

    method = b"HEAD" if status == 200 else b"GET"
    async with connected(await serve(application)) as peer:
        await peer.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n" + method + LAST[3:])
        heads = (await peer.rest()).split(b"\r\n\r\n")
    assert [head[:12] for head in heads] == [b"HTTP/1.1 %d" % status] * 2 + [b""]
    assert all((b"content-length: 3" in head) is with_length for head in heads[:2])
    assert not any(b"chunked" in head for head in heads)


@pytest.mark.parametrize("option", [b"close", b"Close, x", b"keep-alive"])
async def test_application_can_end_the_connection_and_say_nothing_else_of_it(serve: Serve, option: bytes) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Connection", option), (b"Transfer-Encoding", b"identity"), (b"Content-Length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async with connected(await serve(application)) as peer:
        await peer.send(GET)
        status, headers, _ = await peer.reply()
        assert status == 200
        assert b"transfer-encoding" not in headers
        assert headers.get(b"connection") == (b"close" if b"lose" in option else None)
        if b"lose" in option:
            assert await peer.rest() == b""


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    "events",
    [
        [],
        [BODY],
        [start((b"a", b"b\r\nc: d"), LENGTH), BODY],
        [start((b"a", b"b\nc: d"), LENGTH), BODY],
        [start((b"a", b"b\rc: d"), LENGTH), BODY],
        [start((b"a", b"b\0"), LENGTH), BODY],
        [start((b"a\r\nc", b"d"), LENGTH), BODY],
        [start((b"a b", b"c"), LENGTH), BODY],
        [start((b"", b"c"), LENGTH), BODY],
        [start(LENGTH, LENGTH), BODY],
        [start((b"content-length", b"-2")), BODY],
        [start(LENGTH, status=101), BODY],
        [start(LENGTH, status=999), BODY],
        [start(LENGTH)],
        [start(LENGTH), start(LENGTH)],
        [start(LENGTH), {**BODY, "body": b"abc"}],
        [start(LENGTH), {**BODY, "body": b"a"}],
        [start(LENGTH), {"type": "http.response.trailers"}],
    ],
)
async def test_application_that_fails_before_its_reply_has_begun_is_500(serve: Serve, events: list[Any]) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for event in events:
            await send(event)

    async with connected(await serve(application)) as peer:
        await peer.send(GET)
        status, headers, body = await peer.reply()
        assert (status, json.loads(body)["code"]) == (500, 13)
        assert headers[b"connection"] == b"close"
        assert await peer.rest() == b""


@pytest.mark.logs_errors
async def test_events_after_the_end_are_the_applications_error_alone(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ab")
        await send(BODY)

    async with connected(await serve(application)) as peer:
        for _ in range(2):
            await peer.send(GET)
            assert (await peer.reply())[2] == b"ab"


# Order and back-pressure.


async def test_pipelined_requests_are_answered_one_at_a_time_also_those_with_bodies(serve: Serve) -> None:
    running: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        running.append(scope["path"])
        assert len(running) == 1
        body = await read_whole(receive)
        await asyncio.sleep(0.001)
        running.clear()
        await answer(send, scope["path"].encode() + body)

    sent = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (number, number * 3000, b"x" * number * 3000)
        for number in range(50)
    )
    async with connected(await serve(application)) as peer:
        sender = asyncio.create_task(peer.send(sent))
        for number in range(50):
            assert (await peer.reply())[2] == b"/%d" % number + b"x" * number * 3000
        await sender


async def test_requests_wait_in_the_network_while_one_runs(serve: Serve) -> None:
    go_on = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send)

    count = 400_000
    async with connected(await serve(application)) as peer:
        sender = asyncio.create_task(peer.send(GET * count))
        await asyncio.sleep(0.3)
        # What the sockets hold is less than half of it.
        assert not sender.done()
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender
        go_on.set()
        for _ in range(1000):
            await peer.reply()


async def test_body_waits_in_the_network_while_nobody_receives_it(serve: Serve) -> None:
    go_on = asyncio.Event()
    pieces: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        more = True
        while more:
            event = await receive()
            pieces.append(len(event["body"]))
            more = event["more_body"]
        await answer(send)

    size = 20_000_000
    async with connected(await serve(application)) as peer:
        sender = asyncio.create_task(
            peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        )
        await asyncio.sleep(0.3)
        assert not sender.done()
        go_on.set()
        await peer.reply()
        await sender
    assert sum(pieces) == size
    assert max(pieces) < 1_000_000


async def test_application_waits_for_a_peer_that_does_not_read(serve: Serve) -> None:
    sent = 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    async with connected(await serve(application), limit=1 << 16) as peer:
        await peer.send(LAST)
        await asyncio.sleep(0.3)
        assert 0 < sent < 500
        received = 0
        while data := await peer.reader.read(1 << 20):
            received += len(data)
        assert received > 100_000_000
    assert sent == 1000


async def test_peer_that_never_reads_its_last_reply_is_let_go(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * 20_000_000)

    port = await serve(application, header_timeout=0.2)
    async with connected(port, limit=1024) as peer:
        await peer.send(LAST)
        await asyncio.sleep(0.8)
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := await peer.reader.read(1 << 20):
                received += len(data)
        assert received < 20_000_000


async def test_rest_of_a_body_that_nobody_wants_has_a_limit_in_time(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    port = await serve(application, header_timeout=0.2)
    async with connected(port) as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab")
        await peer.reply()
        assert await peer.rest() == b""
    async with connected(port) as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", b"cd", GET)
        for _ in range(2):
            assert (await peer.reply())[0] == 200


# Peers that are odd, or mean harm.


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="both"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", id="both-reversed"),
        pytest.param(b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", id="length-twice"),
        pytest.param(b"Content-Length: 3, 3\r\n\r\nabc", id="length-list"),
        pytest.param(b"Content-Length: +3\r\n\r\nabc", id="length-signed"),
        pytest.param(b"Content-Length: 0x3\r\n\r\nabc", id="length-hex"),
        pytest.param(b"Content-Length: 3 3\r\n\r\nabc", id="length-spaced"),
        pytest.param(b"Content-Length: 99999999999999999999\r\n\r\nabc", id="length-overflow"),
        pytest.param(b"Content-Length : 3\r\n\r\nabc", id="space-before-colon"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="other-coding"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", id="coding-after-chunked"),
        pytest.param(b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", id="identity"),
        pytest.param(b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", id="vertical-tab"),
        pytest.param(b"Transfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n", id="folded-name"),
        pytest.param(b"X: a\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", id="line-feeds"),
        pytest.param(b"X: a\r\rContent-Length: 3\r\n\r\nabc", id="returns"),
        pytest.param(b"X: a\0b\r\n\r\n", id="nul"),
        pytest.param(b"Host: b\r\n\r\n", id="two-hosts"),
        pytest.param(b"HOST: a\r\n\r\n", id="host-twice"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n", id="chunk-negative"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", id="chunk-hex"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", id="chunk-space"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", id="chunk-line-feed"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1\r\nab0\r\n\r\n", id="chunk-too-long"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na", id="chunk-overflow"),
    ],
)
async def test_requests_that_two_parties_may_read_differently_are_refused(serve: Serve, sent: bytes) -> None:
    served: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        event = await receive()
        while event["type"] == "http.request" and event["more_body"]:
            event = await receive()
        if event["type"] == "http.request":
            served.append(scope["path"])
            await answer(send)

    async with connected(await serve(application)) as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + sent + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        status, headers, body = await peer.reply()
        assert (status, json.loads(body)["code"]) == (400, 3)
        assert headers[b"connection"] == b"close"
        assert await peer.rest() in {b"", b"reset"}
    assert served == []


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"1;" + b"x" * 500, id="extension"),
        pytest.param(b"0\r\nX: " + b"x" * 500, id="trailer"),
        pytest.param(b"0\r\n" + b"X: y\r\n" * 90, id="trailers"),
        pytest.param(b"1;" + b"x" * 98 + b"\r\na\r\n", id="extensions"),
    ],
)
async def test_what_surrounds_a_body_has_a_limit_as_headers_have(serve: Serve, piece: bytes) -> None:
    again = piece if piece.endswith(b"a\r\n") else piece[-500:]
    async with connected(await serve(mirror, max_header_bytes=2000)) as peer:
        await peer.send(CHUNKED)
        await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            await peer.send(piece, *[again] * 40)
        sent = await asyncio.wait_for(peer.rest(), 5)
    assert sent == b"reset" or sent.startswith(b"HTTP/1.1 431 ")


async def test_chunks_of_a_byte_are_no_harm(serve: Serve) -> None:
    async with connected(await serve(mirror, max_header_bytes=2000)) as peer:
        await peer.send(CHUNKED, b"1\r\na\r\n" * 3000, b"1\r\na\r\n" * 3000 + b"0\r\n\r\n")
        assert (await mirrored(peer))["body"] == "a" * 6000


async def test_nothing_after_the_last_request_is_served(serve: Serve) -> None:
    paths: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await asyncio.sleep(0.02)
        await answer(send)

    port = await serve(application)
    later = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
    for count, sent in (
        (2, GET + LAST),
        (2, GET + b"GET / HTTP/1.0\r\n\r\n"),
        (1, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    ):
        async with connected(port) as peer:
            await peer.send(sent + later)
            assert (await peer.rest()).count(b"HTTP/1.1 200 OK") == count
    assert set(paths) == {"/"}


async def test_broken_body_takes_no_reply_from_the_requests_before_it(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await read_whole(receive)
        await asyncio.sleep(0.05)
        await answer(send)

    async with connected(await serve(application)) as peer:
        await peer.send(GET + GET + CHUNKED + b"nonsense\r\n")
        assert (await peer.rest()).count(b"HTTP/1.1 200 OK") == 2


async def test_offer_of_another_protocol_leaves_the_connection_as_it_is(serve: Serve) -> None:
    offer = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"
    by_length = offer + b"Content-Length: 5\r\n\r\nhallo"
    by_chunks = offer + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhallo\r\n0\r\n\r\n"
    whole = [by_length, by_chunks, offer + b"\r\n", GET]
    sent = b"".join(whole)
    async with connected(await serve(mirror)) as peer:
        for pieces in ([sent], whole, [sent[at : at + 50] for at in range(0, len(sent), 50)]):
            await peer.send(*pieces)
            assert [(await mirrored(peer))["body"] for _ in whole] == ["hallo", "hallo", "", ""]
        await peer.send(by_length[:-5] + b"ha", b"llo" + GET)
        assert [(await mirrored(peer))["body"] for _ in range(2)] == ["hallo", ""]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Host: b\r\n\r\n", 400),
        (b"X: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    ],
)
async def test_request_that_offers_another_protocol_is_read_as_strictly(serve: Serve, sent: bytes, status: int) -> None:
    async with connected(await serve(mirror)) as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + sent)
        assert (await peer.reply())[0] == status
        assert await peer.rest() in {b"", b"reset"}
    async with connected(await serve(mirror)) as peer:
        await peer.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            b"GET / HTTP/1.1\r\nHost: a\r\n" + sent
        )
        await mirrored(peer)
        assert await peer.rest() in {b"", b"reset"}


async def test_flood_behind_the_last_request_ends_its_call(serve: Serve) -> None:
    gone = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await read_whole(receive)
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with connected(await serve(application)) as peer:
        await peer.send(LAST)
        with contextlib.suppress(ConnectionError):
            while not gone.is_set():
                await peer.send(b"x" * 4_000_000)
        await gone.wait()


async def test_caller_that_was_not_asked_for_its_body_is_not_taken_to_send_it(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wanted":
            await read_whole(receive)
        await answer(send, status=417)

    port = await serve(application)
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
    async with connected(port) as peer:
        await peer.send(head % b"/")
        status, headers, _ = await peer.reply()
        assert (status, headers[b"connection"]) == (417, b"close")
        assert await peer.rest() == b""
    async with connected(port) as peer:
        for _ in range(2):
            await peer.send(head % b"/wanted")
            assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await peer.send(b"{}")
            assert (await peer.reply())[0] == 417
        # Who does not wait needs no answer to that.
        await peer.send(head % b"/wanted" + b"{}")
        assert (await peer.reply())[0] == 417


async def test_peer_that_resets_its_connection_is_gone(serve: Serve) -> None:
    gone = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await read_whole(receive)
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with connected(await serve(application)) as peer:
        await peer.send(GET)
        await asyncio.sleep(0.02)
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
        await gone.wait()


# Time.


async def test_head_that_begins_behind_a_request_has_its_own_time(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        await answer(send)

    async with connected(await serve(application, header_timeout=0.1)) as peer:
        await peer.send(GET + GET[:10])
        # The reply is not lost, and nothing follows.
        assert (await peer.reply())[0] == 200
        assert await peer.rest() == b""


async def test_connection_lives_on_as_long_as_it_is_used(serve: Serve) -> None:
    async with connected(await serve(mirror, keep_alive=1.5, header_timeout=0.2)) as peer:
        began = asyncio.get_running_loop().time()
        for _ in range(8):
            await peer.send(GET)
            await mirrored(peer)
            await asyncio.sleep(0.25)
        assert await peer.rest() == b""
        assert asyncio.get_running_loop().time() - began > 3


@pytest.mark.parametrize("make", [lambda: GET[:-2], lambda: GET + GET[:-2]])
async def test_head_that_is_not_finished_is_408_also_on_a_connection_in_use(
    serve: Serve, make: Callable[[], bytes]
) -> None:
    async with connected(await serve(mirror, header_timeout=0.1, keep_alive=5)) as peer:
        await peer.send(GET)
        await mirrored(peer)
        await peer.send(make())
        assert b"HTTP/1.1 408" in await peer.rest()
