"""Requests that came before to the byte: what they are answered, and that it is what reading them anew would give."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway._types import Address, Answer, Headers, Reply, Scope
from gateway.hosts.http1 import HTTP1Connection
from gateway.hosts.http1_known import KnownRequests
from gateway.hosts.served import Served
from tests.hosts.http2 import DATA, END_STREAM, frame
from tests.unit.gateway.conftest import Serve
from tests.unit.gateway.http2_peer import Answer as Answered
from tests.unit.gateway.http2_peer import Peer as Http2Peer
from tests.unit.gateway.http2_peer import head, peer
from tests.unit.gateway.test_http1_protocol import Peer, connected


class Application:
    """Answers all requests at once with what they say, and again while `holds`; counts both."""

    def __init__(self) -> None:
        self.asked = 0
        self.clients: list[Address | None] = []
        self.holds = True
        self.own: Headers = [(b"x-number", b"1")]
        self.status = 200
        self.more: Headers = []
        self.trailers: Headers | None = None

    def at_once(self, scope: Scope, body: bytes) -> Answer | None:
        return None if scope["path"] == "/later" else self.answer(scope, body)

    def answer(self, scope: Scope, body: bytes) -> Answer:
        self.asked += 1
        said = b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], body)
        headers = [(b"content-length", b"%d" % len(said)), *self.more]
        return Answer(Reply(self.status, headers, said, self.trailers), self.own, self.again)

    def again(self, client: Address | None) -> Headers | None:
        if not self.holds:
            return None
        self.clients.append(client)
        return self.own

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer what waited for another request, or came in pieces, and `/later` after a while."""
        body = b""
        while (event := await receive()).get("more_body"):
            body += event["body"]
        await asyncio.sleep(0.05 if scope["path"] == "/later" else 0)
        answer = self.answer(scope, body + event["body"])
        status, headers, said, _ = answer.reply
        await send({"type": "http.response.start", "status": status, "headers": headers + answer.headers})
        await send({"type": "http.response.body", "body": said})


def request(path: str = "/a", body: bytes = b"", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
async def port(serve: Serve, app: Application) -> int:
    return await serve(app, at_once=app.at_once)


async def said(caller: Peer) -> bytes:
    status, headers, body = await caller.reply()
    assert (status, headers[b"x-number"]) == (200, b"1")
    return body


async def head_alone(caller: Peer) -> bytes:
    """Read a reply that has no body, whatever its length is said to be."""
    return await caller.reader.readuntil(b"\r\n\r\n")


async def test_the_same_bytes_are_parsed_once(port: int, app: Application) -> None:
    async with connected(port) as caller:
        for _ in range(3):
            await caller.send(request("/a", b"body"))
            assert await caller.reply() == (200, {b"content-length": b"12", b"x-number": b"1"}, b"POST /a body")
        address = caller.writer.get_extra_info("sockname")
    assert (app.asked, app.clients) == (1, [address, address])


async def test_from_another_connection_they_are_known_too(port: int, app: Application) -> None:
    for _ in range(2):
        async with connected(port) as caller:
            await caller.send(request())
            assert await said(caller) == b"POST /a "
            await caller.send(request("/b"))
            assert await said(caller) == b"POST /b "
    assert (app.asked, len(app.clients)) == (2, 2)


async def test_what_does_not_hold_any_more_is_asked_for(port: int, app: Application) -> None:
    async with connected(port) as caller:
        for holds in (True, True, False, False, True, True):
            app.holds = holds
            await caller.send(request())
            assert await said(caller) == b"POST /a "
    assert (app.asked, len(app.clients)) == (3, 3)


async def test_headers_of_one_call_are_its_own(port: int, app: Application) -> None:
    async with connected(port) as caller:
        for number in (b"1", b"2", b"3"):
            app.own = [(b"x-number", number), (b"x-other", b"o" + number)]
            await caller.send(request())
            headers = (await caller.reply())[1]
            assert (headers[b"x-number"], headers[b"x-other"]) == (number, b"o" + number)
    assert app.asked == 1


@pytest.mark.logs_errors
@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
async def test_no_header_of_one_call_makes_another(port: int, app: Application, value: bytes) -> None:
    async with connected(port) as caller:
        await caller.send(request())
        await caller.reply()
        app.own = [(b"x-number", value)]
        await caller.send(request())
        assert (await caller.rest()).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("more", ["connection: close", "x-long: " + "a" * 5000])
async def test_such_a_request_is_parsed_each_time(port: int, app: Application, more: str) -> None:
    for _ in range(3):
        async with connected(port) as caller:
            await caller.send(request("/a", b"", more))
            assert (await caller.reply())[2] == b"POST /a "
    assert (app.asked, app.clients) == (3, [])


@pytest.mark.parametrize("status", [204, 304])
async def test_a_reply_without_a_body_is_made_each_time(port: int, app: Application, status: int) -> None:
    app.status = status
    async with connected(port) as caller:
        for _ in range(3):
            await caller.send(request())
            assert (await head_alone(caller)).startswith(b"HTTP/1.1 %d " % status)
    assert (app.asked, app.clients) == (3, [])


async def test_a_reply_that_ends_its_connection_is_made_each_time(port: int, app: Application) -> None:
    app.more = [(b"connection", b"close")]
    for _ in range(3):
        async with connected(port) as caller:
            await caller.send(request())
            assert (await caller.rest()).endswith(b"POST /a ")
    assert (app.asked, app.clients) == (3, [])


async def test_a_head_request_is_parsed_each_time(port: int, app: Application) -> None:
    async with connected(port) as caller:
        for _ in range(3):
            await caller.send(request(method="HEAD"))
            assert (await head_alone(caller)).startswith(b"HTTP/1.1 200 ")
    assert (app.asked, app.clients) == (3, [])


async def test_the_end_of_a_request_is_no_request(port: int, app: Application) -> None:
    end = request(method="T")
    for method in ("POST", "GET", "PUT", "POST"):
        async with connected(port) as caller:
            await caller.send(method[:-1].encode(), end)
            assert await said(caller) == f"{method} /a ".encode()
    async with connected(port) as caller:
        await caller.send(end)
        assert (await caller.rest()).startswith(b"HTTP/1.1 400 ")
    assert (app.asked, app.clients) == (4, [])


async def test_what_is_known_waits_for_what_runs(port: int, app: Application) -> None:
    async with connected(port) as caller:
        await caller.send(request())
        assert await said(caller) == b"POST /a "
        await caller.send(request("/later"), request())
        assert [await said(caller) for _ in range(2)] == [b"POST /later ", b"POST /a "]


async def test_a_peer_that_polls_is_let_go_when_it_stops(serve: Serve, app: Application) -> None:
    port = await serve(app, at_once=app.at_once, keep_alive=0.2)
    async with connected(port) as caller:
        for _ in range(6):
            await caller.send(request())
            await said(caller)
            await asyncio.sleep(0.1)
        assert await caller.rest() == b""
    assert (app.asked, len(app.clients)) == (1, 5)


class Forgetful(KnownRequests):
    def keep(self, data: bytes, answer: Answer) -> None: ...


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5000) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


_WHOLE = [
    request("/a", method="GET"),
    request("/a", b"body"),
    request("/a", b"GE"),
    request("/a", b"\r\n\r\n"),
    b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"\r\n" + request("/b"),
]
_PIECES = [*_WHOLE, *_WHOLE, *_WHOLE, b"GE", b"POS", request()[3:], request("/a", method="GET")[2:], b"\r\n", b"x"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=3).map(b"".join), max_size=8), st.data())
def test_replies_are_those_of_requests_that_are_parsed(chunks: list[bytes], data: st.DataObject) -> None:
    """Over connections that come one after the other, whatever is cut where."""
    streams = [chunks]
    if len(chunks) > 1:
        at = data.draw(st.integers(1, len(chunks) - 1))
        streams = [chunks[:at], chunks[at:], chunks]

    async def replies(known: KnownRequests) -> list[tuple[bytes, bool]]:
        app = Application()
        served = Served(app, app.at_once, 32768, 10.0, 75.0, 120.0, 20.0)
        results = []
        for stream in streams:
            transport = Transport()
            connection = HTTP1Connection(served, known)
            connection.connection_made(transport)
            for chunk in stream:
                if transport.closed:
                    break
                connection.data_received(chunk)
                for _ in range(20):
                    await asyncio.sleep(0)
            results.append((transport.written, transport.closed))
            connection.connection_lost(None)
            await asyncio.sleep(0)
        return results

    assert asyncio.run(replies(KnownRequests())) == asyncio.run(replies(Forgetful()))


# Over HTTP/2, where a connection knows a head by the bytes of its block.


async def answered(caller: Http2Peer, number: int, path: str = "/a", body: bytes = b"", **headers: str) -> Answered:
    """Make a call in one chunk of bytes, and give what came."""
    fields = [*head(path, "POST"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    caller.send(caller.request(number, fields, last=False) + frame(DATA, END_STREAM, number, body))
    return await caller.answer(number)


async def test_a_head_that_came_before_is_answered_as_then(port: int, app: Application) -> None:
    async with peer(port) as caller:
        for number, body in ((1, b"a"), (3, b"a"), (5, b"a"), (7, b"b"), (9, b"b"), (11, b"a")):
            answer = await answered(caller, number, body=body)
            assert (answer.status, answer.body) == (200, b"POST /a " + body)
            assert (b"x-number", b"1") in answer.headers
    # The first block fills the table, and is not the second.
    assert (app.asked, len(app.clients)) == (3, 3)


async def test_another_head_is_another_request(port: int, app: Application) -> None:
    async with peer(port) as caller:
        for number in range(1, 20, 4):
            assert (await answered(caller, number, "/a")).body == b"POST /a "
            assert (await answered(caller, number + 2, "/b", x_other="header")).body == b"POST /b "
    async with peer(port) as caller:
        assert (await answered(caller, 1, "/b")).body == b"POST /b "


async def test_over_http_2_what_does_not_hold_any_more_is_asked_for(port: int, app: Application) -> None:
    async with peer(port) as caller:
        for number, holds in ((1, True), (3, True), (5, True), (7, False), (9, True), (11, True)):
            app.holds = holds
            app.own = [(b"x-number", b"%d" % number)]
            answer = await answered(caller, number)
            assert (b"x-number", b"%d" % number) in answer.headers
    assert (app.asked, len(app.clients)) == (3, 3)


async def test_trailers_are_known_too(port: int, app: Application) -> None:
    app.trailers = [(b"grpc-status", b"0")]
    async with peer(port) as caller:
        for number in (1, 3, 5, 7):
            answer = await answered(caller, number)
            assert (answer.body, answer.trailers) == (b"POST /a ", [(b"grpc-status", b"0")])
    assert (app.asked, len(app.clients)) == (2, 2)


async def test_of_a_head_only_so_many_bodies_are_known(port: int, app: Application) -> None:
    async with peer(port) as caller:
        for number in range(1, 81, 2):
            body = b"%d" % (number % 20)
            assert (await answered(caller, number, body=body)).body == b"POST /a " + body
        long = b"a" * 2000
        for number in range(81, 87, 2):
            assert (await answered(caller, number, body=long)).body == b"POST /a " + long
    assert len(app.clients) <= 4 * 4


@pytest.mark.logs_errors
async def test_over_http_2_no_header_of_one_call_makes_another(port: int, app: Application) -> None:
    async with peer(port) as caller:
        for number in (1, 3):
            await answered(caller, number)
        app.own = [(b"x-number", b"a\r\nset-cookie: b")]
        answer = await answered(caller, 5)
        assert answer.status == 500
