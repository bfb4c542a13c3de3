"""What a host answers without a task: whole requests, on both versions of HTTP, and what follows them."""

import asyncio
from typing import Any

import pytest

from gateway._types import Answer, Reply, Scope
from tests.hosts.http2 import DATA, END_STREAM, frame
from tests.unit.gateway.conftest import Serve
from tests.unit.gateway.http2_peer import head, peer
from tests.unit.gateway.test_http1_protocol import connected

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"4")]


class Application:
    """Answers `/later` by itself, all else at once; keeps how."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply = reply or Reply(200, HEADERS, b"once")
        self.asked: list[tuple[str, bytes]] = []
        self.ran: list[str] = []

    def at_once(self, scope: Scope, body: bytes) -> Answer | None:
        self.asked.append((scope["path"], body))
        return None if scope["path"] == "/later" else Answer(self.reply, [])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.ran.append(scope["path"])
        body = b""
        while (event := await receive()).get("more_body"):
            body += event["body"]
        body += event["body"]
        await asyncio.sleep(0.01)
        reply = b"later %d" % len(body)
        headers = [(b"content-length", b"%d" % len(reply))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})


def request(path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_a_whole_request_is_answered_without_the_application(serve: Serve) -> None:
    app = Application()
    async with connected(await serve(app, at_once=app.at_once)) as caller:
        for body in (b"", b"body"):
            await caller.send(request("/", body))
            assert await caller.reply() == (200, dict(HEADERS), b"once")
    assert (app.asked, app.ran) == ([("/", b""), ("/", b"body")], [])


async def test_what_is_not_answered_at_once_goes_to_the_application_whole(serve: Serve) -> None:
    app = Application()
    async with connected(await serve(app, at_once=app.at_once)) as caller:
        await caller.send(request("/later", b"body"))
        assert (await caller.reply())[2] == b"later 4"
    assert (app.asked, app.ran) == ([("/later", b"body")], ["/later"])


@pytest.mark.parametrize("cut", [1, 20, -3])
async def test_a_request_in_pieces_is_the_applications(serve: Serve, cut: int) -> None:
    app = Application()
    whole = request("/x", b"a body")
    async with connected(await serve(app, at_once=app.at_once)) as caller:
        await caller.send(whole[:cut], whole[cut:])
        reply = (await caller.reply())[2]
    # Where the head is whole with the second piece, so is all of it.
    assert (reply, len(app.asked)) == ((b"later 6", 0) if cut == -3 else (b"once", 1))


async def test_pipelined_requests_are_answered_in_their_order(serve: Serve) -> None:
    app = Application()
    paths = ["/1", "/later", "/2", "/later", "/3"]
    async with connected(await serve(app, at_once=app.at_once)) as caller:
        await caller.send(b"".join(request(path, b"xy") for path in paths))
        replies = [(await caller.reply())[2] for _ in paths]
        await caller.send(request("/4"))
        assert (await caller.reply())[2] == b"once"
    assert replies[0] == b"once"
    # Those that waited for another are the application's.
    assert replies[1:] == [b"later 2"] * 4
    assert app.ran == paths[1:]


async def test_the_last_request_of_a_connection_ends_it(serve: Serve) -> None:
    app = Application()
    async with connected(await serve(app, at_once=app.at_once)) as caller:
        await caller.send(request("/", b"", "connection: close"))
        assert (await caller.rest()).endswith(b"connection: close\r\n\r\nonce")
    assert app.ran == []


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    "reply", [Reply(200, [(b"content-length", b"9")], b"once"), Reply(200, [(b"a", b"b\r\nc: d"), *HEADERS], b"once")]
)
async def test_a_reply_that_http_cannot_carry_is_500(serve: Serve, reply: Reply) -> None:
    app = Application(reply)
    port = await serve(app, at_once=app.at_once)
    async with connected(port) as caller:
        await caller.send(request("/"))
        assert (await caller.rest()).startswith(b"HTTP/1.1 500 ")
    async with peer(port) as other:
        other.send(other.request(1, head()))
        answer = await other.answer(1)
        assert answer.reset is not None or answer.status == 500


async def test_over_http_2_it_is_the_same_with_trailers(serve: Serve) -> None:
    app = Application(Reply(200, [(b"content-type", b"application/grpc")], b"once", [(b"grpc-status", b"0")]))
    async with peer(await serve(app, at_once=app.at_once)) as caller:
        caller.send(
            caller.request(1, head("/", "POST"), last=False),
            frame(DATA, END_STREAM, 1, b"body"),
            caller.request(3, head("/later", "POST")),
            caller.request(5, head("/", "POST")),
        )
        first, second, third = [await caller.answer(number) for number in (1, 3, 5)]
        assert (first.body, first.trailers) == (b"once", [(b"grpc-status", b"0")])
        assert (second.body, second.trailers) == (b"later 0", [])
        assert (third.body, third.trailers) == (first.body, first.trailers)
        # In a chunk of its own, the end of a body is no more than a body that came late.
        caller.send(caller.request(7, head("/", "POST"), last=False))
        await asyncio.sleep(0.05)
        caller.send(frame(DATA, END_STREAM, 7, b"late"))
        assert (await caller.answer(7)).body == b"later 4"
    assert app.asked == [("/", b"body"), ("/later", b""), ("/", b"")]
    assert app.ran == ["/later", "/"]
