"""HTTP/2 frame by frame, as a peer that errs, stalls or means harm sends it, and what the application sees of it."""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.hosts.answers import CallerGone
from gateway.hosts.http_host import HTTPHost
from tests.hosts.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OPENING,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    fields,
    frame,
)
from tests.unit.gateway.conftest import Serve
from tests.unit.gateway.http2_peer import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    head,
    number,
    peer,
)

PRIORITY, PUSH_PROMISE = 2, 5
PADDED, WITH_PRIORITY = 8, 32
GET = fields(head())
POST = fields(head(method="POST"))
CALL = frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)
UPLOAD = frame(HEADERS, END_HEADERS, 1, POST)
WINDOW = 256 * 1024


def setting(name: int, value: int) -> bytes:
    return struct.pack(">HI", name, value)


class Application:
    """Answers with what it got; what is asked of it by the path is done by the methods of that name."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.ended: list[str] = []
        self.pieces = 0
        self.may_go_on = asyncio.Event()
        self.reads = asyncio.Event()
        self._end = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        ask: Callable[[Any, Any, Any], Awaitable[None]] = getattr(self, scope["path"][1:] or "echo")
        try:
            await ask(scope, receive, send)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        else:
            self.ended.append("done")
        finally:
            self._end.set()

    async def ends(self, count: int) -> None:
        """Wait until as many calls have ended."""
        async with asyncio.timeout(10):
            while len(self.ended) < count:
                self._end.clear()
                await self._end.wait()

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body, more = body + event["body"], event["more_body"]
        await self.say(send, body)

    async def say(self, send: Any, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        await send({"type": "http.response.body", "body": body})

    async def early(self, scope: Any, receive: Any, send: Any) -> None:
        await self.say(send, b"early", 413)

    async def trailers(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})

    async def large(self, scope: Any, receive: Any, send: Any) -> None:
        await self.say(send, b"x" * int(scope["query_string"]))

    async def stream(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(int(scope["query_string"])):
            await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
            self.pieces += 1
        await send({"type": "http.response.body", "body": b""})

    async def head(self, scope: Any, receive: Any, send: Any) -> None:
        await self.say(send, b"", 200, (b"x-large", b"y" * 50_000))

    async def wait(self, scope: Any, receive: Any, send: Any) -> None:
        await self.may_go_on.wait()
        await self.say(send, b"waited")

    async def slow(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reads.wait()
        await self.echo(scope, receive, send)

    async def gone(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await self.say(send, b"to nobody")

    async def fail(self, scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("fails")

    async def fail_late(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("fails late")

    async def nothing(self, scope: Any, receive: Any, send: Any) -> None:
        return

    async def short(self, scope: Any, receive: Any, send: Any) -> None:
        await self.say(send, b"a", 200, (b"content-length", b"2"))

    async def forged(self, scope: Any, receive: Any, send: Any) -> None:
        await self.say(send, b"", 200, (b"a", b"b\r\nc: d"))

    async def bodiless(self, scope: Any, receive: Any, send: Any) -> None:
        await self.say(send, b"body", int(scope["query_string"] or 200), (b"content-length", b"4"))


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
async def port(app: Application, serve: Serve) -> int:
    return await serve(app)


# What is in order.


async def test_a_request_and_its_reply_are_whole(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(
            one.request(1, head("/echo?a=%20", "POST", ("x-a", "1")), last=False),
            frame(DATA, 0, 1, b"one "),
            frame(DATA, PADDED | END_STREAM, 1, b"\3two\0\0\0"),
        )
        answer = await one.answer(1)
    assert (answer.status, answer.body, answer.trailers, answer.reset) == (200, b"one two", [], None)
    [scope] = app.scopes
    assert scope["http_version"] == "2"
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
        "POST",
        "/echo",
        b"/echo",
        b"a=%20",
    )
    assert scope["headers"] == [(b"host", b"a.example"), (b"x-a", b"1")]
    assert (scope["scheme"], scope["server"], scope["root_path"]) == ("http", ("127.0.0.1", port), "")
    assert scope["client"][0] == "127.0.0.1"
    assert scope["extensions"] == {"http.response.trailers": {}}


async def test_the_same_headers_again_are_of_the_application_alone(app: Application, port: int) -> None:
    async with peer(port) as one:
        for stream in (1, 3, 5):
            one.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, GET))
            await one.answer(stream)
            app.scopes[-1]["headers"].append((b"added", b"1"))
            app.scopes[-1]["extensions"]["added"] = {}
    assert [len(scope["headers"]) for scope in app.scopes] == [2, 2, 2]


async def test_trailers_follow_the_body_and_those_of_a_request_are_read_over(port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/trailers")))
        answer = await one.answer(1)
        assert (answer.body, answer.trailers) == (b"body", [(b"grpc-status", b"0")])
        one.send(one.request(3, head("/echo", "POST"), last=False), frame(DATA, 0, 3, b"a"))
        one.send(one.request(3, [("x-checksum", "1")]))
        assert (await one.answer(3)).body == b"a"


async def test_calls_on_one_connection_are_answered_as_they_are_ready(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/wait")), one.request(3, head()))
        assert (await one.answer(3)).status == 200
        app.may_go_on.set()
        assert (await one.answer(1)).body == b"waited"


async def test_a_header_block_may_come_in_many_frames(port: int) -> None:
    block = fields(head("/echo", "GET", *((f"x-{each}", "y" * 100) for each in range(100))))
    pieces = [block[at : at + 1000] for at in range(0, len(block), 1000)]
    async with peer(port) as one:
        one.send(frame(HEADERS, END_STREAM, 1, pieces[0]))
        for piece in pieces[1:-1]:
            one.send(frame(CONTINUATION, 0, 1, piece))
            await asyncio.sleep(0)
        one.send(frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
        assert (await one.answer(1)).status == 200


async def test_frames_are_read_however_they_arrive(port: int) -> None:
    async with peer(port, opening=b"") as one:
        for byte in OPENING + UPLOAD + frame(DATA, END_STREAM, 1, b"ab"):
            one.send(bytes([byte]))
            await one.writer.drain()
            await asyncio.sleep(0)
        assert (await one.answer(1)).body == b"ab"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/bodiless", "HEAD", 200), ("/bodiless?204", "GET", 204), ("/bodiless?304", "GET", 304)],
)
async def test_some_replies_have_no_body(port: int, path: str, method: str, status: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head(path, method)))
        answer = await one.answer(1)
    assert (answer.status, answer.body, answer.reset) == (status, b"", None)


async def test_a_peer_without_a_table_is_told_that_none_is_used(port: int) -> None:
    closed = PREFACE + frame(SETTINGS, 0, 0, setting(4, 0))
    async with peer(port, opening=closed) as one:
        one.send(one.request(1, head("/trailers")))
        await one.next(HEADERS, 1)
        # The trailers wait; by the time they go out the peer has a smaller table, of which the first block is to tell.
        one.send(frame(SETTINGS, 0, 0, setting(1, 0)), frame(WINDOW_UPDATE, 0, 1, number(100)))
        one.decoder.max_allowed_table_size = 0
        assert (await one.answer(1)).body == b"body"
        one.send(frame(SETTINGS, 0, 0, setting(4, 100) + setting(1, 10)))
        assert (await one.get(3)).status == 200


async def test_headers_of_a_reply_may_take_many_frames(port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/head")))
        frames = [await one.next(HEADERS, 1)]
        while not frames[-1].flags & END_HEADERS:
            frames.append(await one.next(CONTINUATION, 1))
        assert all(len(each.payload) <= 16_384 for each in frames)
        block = b"".join(each.payload for each in frames)
        assert dict(one.decoder.decode(block, raw=True))[b"x-large"] == b"y" * 50_000


async def test_a_caller_who_asks_first_is_told_to_send_its_body(port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/echo", "POST", ("expect", "100-continue")), last=False))
        interim = await one.next(HEADERS, 1)
        assert [tuple(each) for each in one.decoder.decode(interim.payload, raw=True)] == [(b":status", b"100")]
        one.send(frame(DATA, END_STREAM, 1, b"asked for"))
        assert (await one.answer(1)).body == b"asked for"


async def test_pings_and_settings_are_acknowledged_and_unknown_frames_left_alone(port: int) -> None:
    async with peer(port) as one:
        assert (await one.next(SETTINGS)).flags == 0
        assert (await one.next(SETTINGS)) == (SETTINGS, ACK, 0, b"")
        one.send(frame(0xBE, 0xFF, 1, b"?"), frame(PING, 0, 0, b"12345678"), frame(PRIORITY, 0, 7, number(3) + b"\1"))
        assert (await one.next(PING)) == (PING, ACK, 0, b"12345678")
        assert (await one.get(1)).status == 200


async def test_a_reply_before_the_end_of_the_request_says_that_the_rest_is_not_wanted(port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/early", "POST"), last=False))
        answer = await one.answer(1)
        assert (answer.status, answer.body) == (413, b"early")
        assert (await one.next(RST_STREAM, 1)).number == NO_ERROR
        # What was under way is no mistake.
        one.send(frame(DATA, 0, 1, b"rest"), frame(DATA, END_STREAM, 1), one.request(1, [("x-late", "1")]))
        assert (await one.get(3)).status == 200


# What the application does wrong.


@pytest.mark.logs_errors
@pytest.mark.parametrize("path", ["/fail", "/nothing", "/forged"])
async def test_an_application_that_fails_before_its_reply_is_a_500(port: int, path: str) -> None:
    async with peer(port) as one:
        answer = await one.get(1, path)
        assert answer.status == 500
        assert (b"content-type", b"application/json") in answer.headers
        assert (await one.get(3)).status == 200


@pytest.mark.logs_errors
@pytest.mark.parametrize("path", ["/fail_late", "/short"])
async def test_an_application_that_fails_within_its_reply_resets_the_stream(port: int, path: str) -> None:
    async with peer(port) as one:
        assert (await one.get(1, path)).reset == INTERNAL_ERROR
        assert (await one.get(3)).status == 200


# A caller who goes away.


async def test_a_reset_is_a_caller_who_is_gone(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/gone")))
        assert (await one.get(3)).status == 200
        one.send(frame(RST_STREAM, 0, 1, number(8)))
        await app.ends(2)
        assert app.ended[1] == CallerGone.__name__
        assert (await one.get(5)).status == 200


async def test_a_connection_that_ends_takes_all_callers_away(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/gone")), one.request(3, head("/gone")))
        assert (await one.get(5)).status == 200
    await app.ends(3)
    assert app.ended[1:] == [CallerGone.__name__] * 2


async def test_a_call_that_is_taken_back_at_once_is_not_begun(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(CALL, frame(RST_STREAM, 0, 1, number(8)))
        assert (await one.get(3)).status == 200
    assert len(app.scopes) == 1


# Flow control.


async def test_a_body_goes_out_as_the_windows_of_the_peer_allow(port: int) -> None:
    async with peer(port, opening=PREFACE + frame(SETTINGS, 0, 0, setting(4, 10))) as one:
        one.send(one.request(1, head("/large?30")))
        assert (await one.next(DATA, 1)).payload == b"x" * 10
        one.send(frame(WINDOW_UPDATE, 0, 1, number(5)))
        assert (await one.next(DATA, 1)).payload == b"x" * 5
        # Fewer than none: five more have to come before anything goes out.
        one.send(frame(SETTINGS, 0, 0, setting(4, 5)), frame(WINDOW_UPDATE, 0, 1, number(5)))
        one.send(frame(PING, 0, 0, bytes(8)))
        await one.next(PING)
        assert all(kept.kind != DATA for kept in one.kept)
        one.send(frame(WINDOW_UPDATE, 0, 1, number(1)))
        assert (await one.next(DATA, 1)).payload == b"x"
        one.send(frame(SETTINGS, 0, 0, setting(4, 1000)))
        last = await one.next(DATA, 1)
        assert (last.payload, last.flags) == (b"x" * 14, END_STREAM)


async def test_trailers_wait_for_the_body(port: int) -> None:
    async with peer(port, opening=PREFACE + frame(SETTINGS, 0, 0, setting(4, 0))) as one:
        one.send(one.request(1, head("/trailers")))
        one.send(frame(WINDOW_UPDATE, 0, 1, number(3)))
        assert (await one.next(DATA, 1)).payload == b"bod"
        one.send(frame(WINDOW_UPDATE, 0, 1, number(3)))
        answer = await one.answer(1)
        assert (answer.body, answer.headers[0], answer.trailers) == (
            b"y",
            (b":status", b"200"),
            [(b"grpc-status", b"0")],
        )


async def test_streams_share_the_window_of_the_connection(port: int) -> None:
    wide = PREFACE + frame(SETTINGS, 0, 0, setting(4, 1 << 20))
    async with peer(port, opening=wide) as one:
        one.send(one.request(1, head("/large?500000")), one.request(3, head("/large?500000")))
        one.send(one.request(5, head("/large?20")))
        taken = {1: 0, 3: 0, 5: 0}
        while sum(taken.values()) < 65_535:
            got = await one.read()
            if got.kind == DATA:
                taken[got.stream] += len(got.payload)
        for _ in range(20):
            one.send(frame(WINDOW_UPDATE, 0, 0, number(32_768)))
            wanted = sum(taken.values()) + 32_768
            while sum(taken.values()) < wanted:
                got = await one.read()
                if got.kind == DATA:
                    taken[got.stream] += len(got.payload)
        assert taken[5] == 20
        assert abs(taken[1] - taken[3]) <= 2 * 65_535


async def test_an_application_waits_for_a_peer_that_takes_nothing(app: Application, port: int) -> None:
    async with peer(port, opening=PREFACE + frame(SETTINGS, 0, 0, setting(4, 0))) as one:
        one.send(one.request(1, head("/stream?100")))
        assert (await one.get(3, "/bodiless?204")).status == 204
        await asyncio.sleep(0.05)
        # Of 5 MB a few pieces wait.
        assert app.ended == ["done"]
        one.send(frame(WINDOW_UPDATE, 0, 1, number(1 << 30)), frame(WINDOW_UPDATE, 0, 0, number(1 << 30)))
        assert len((await one.answer(1)).body) == 5_000_000


async def test_what_waits_on_a_connection_is_bounded_over_all_of_its_streams(app: Application, port: int) -> None:
    count = 200
    async with peer(port, opening=PREFACE + frame(SETTINGS, 0, 0, setting(4, 0))) as one:
        for stream in range(1, 2 * count, 2):
            one.send(one.request(stream, head("/stream?3")))
        assert (await one.get(2 * count + 1, "/bodiless?204")).status == 204
        await asyncio.sleep(0.05)
        # A piece of each at least, and a megabyte beside.
        assert count <= app.pieces < count + 30
        one.send(frame(WINDOW_UPDATE, 0, 0, number(1 << 30)), frame(SETTINGS, 0, 0, setting(4, 1 << 20)))
        for stream in range(1, 2 * count, 2):
            assert len((await one.answer(stream)).body) == 150_000


async def test_a_peer_may_send_as_much_as_is_read(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/slow", "POST"), last=False))
        left, sent = WINDOW, 0
        while left >= 16_000:
            one.send(frame(DATA, 0, 1, b"x" * 16_000))
            left, sent = left - 16_000, sent + 16_000
        one.send(frame(PING, 0, 0, bytes(8)))
        await one.next(PING)
        assert all((kept.kind, kept.stream) != (WINDOW_UPDATE, 1) for kept in one.kept)
        app.reads.set()
        assert (await one.next(WINDOW_UPDATE, 1)).number >= WINDOW // 4
        one.send(frame(DATA, END_STREAM, 1, b"end"))
        body = b""
        while len(body) < sent + 3:
            one.send(frame(WINDOW_UPDATE, 0, 1, number(16_384)), frame(WINDOW_UPDATE, 0, 0, number(16_384)))
            body += (await one.next(DATA, 1)).payload
        assert body == b"x" * sent + b"end"


async def test_more_than_the_window_of_a_stream_is_refused(port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/slow", "POST"), last=False))
        one.send(*[frame(DATA, 0, 1, bytes(16_384))] * (WINDOW // 16_384 + 1))
        assert (await one.answer(1)).reset == FLOW_CONTROL_ERROR
        assert (await one.get(3)).status == 200


async def test_more_than_the_window_of_the_connection_ends_it(port: int) -> None:
    async with peer(port) as one:
        for stream in range(1, 35, 2):
            one.send(one.request(stream, head("/slow", "POST"), last=False))
            one.send(*[frame(DATA, 0, stream, bytes(16_384))] * (WINDOW // 16_384))
        assert (await one.goaway()).code == FLOW_CONTROL_ERROR


async def test_what_nobody_reads_is_given_back_to_the_connection(port: int) -> None:
    async with peer(port) as one:
        for stream in range(1, 101, 2):
            one.send(one.request(stream, head("/slow", "POST"), last=False))
            one.send(*[frame(DATA, 0, stream, bytes(16_384))] * 10, frame(RST_STREAM, 0, stream, number(8)))
        assert (await one.get(101)).status == 200
        given = sum(each.number for each in one.kept if (each.kind, each.stream) == (WINDOW_UPDATE, 0))
        assert given > 50 * 10 * 16_384


async def test_small_calls_open_no_windows(port: int) -> None:
    async with peer(port) as one:
        for stream in range(1, 201, 2):
            one.send(one.request(stream, head("/echo", "POST"), last=False), frame(DATA, END_STREAM, stream, bytes(5)))
            assert (await one.answer(stream)).body == bytes(5)
        # The first opens the connection's.
        assert [each.stream for each in one.kept if each.kind == WINDOW_UPDATE] == [0]


# What a peer does wrong with one stream.


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(head("no-slash"))), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(head("/", "GET", ("X-A", "1")))), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(head("/", "GET", ("te", "gzip")))), PROTOCOL_ERROR),
        (
            frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(head("/", "POST", ("content-length", "1")))),
            PROTOCOL_ERROR,
        ),
        (frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, number(1) + b"\0" + GET), PROTOCOL_ERROR),
        (UPLOAD + frame(WINDOW_UPDATE, 0, 1, number(0)), PROTOCOL_ERROR),
        (UPLOAD + frame(WINDOW_UPDATE, 0, 1, number((1 << 31) - 1)), FLOW_CONTROL_ERROR),
        (UPLOAD + frame(HEADERS, END_HEADERS, 1, fields([("x-a", "1")])), PROTOCOL_ERROR),
        (UPLOAD + frame(HEADERS, END_HEADERS | END_STREAM, 1, fields([(":path", "/")])), PROTOCOL_ERROR),
        (UPLOAD + frame(PRIORITY, 0, 1, b"1234"), FRAME_SIZE_ERROR),
        (UPLOAD + frame(PRIORITY, 0, 1, number(1) + b"\0"), PROTOCOL_ERROR),
    ],
)
async def test_a_mistake_in_a_stream_ends_that_stream(port: int, frames: bytes, code: int) -> None:
    async with peer(port) as one:
        one.send(frames)
        assert (await one.answer(1)).reset == code
        assert (await one.get(3)).status == 200


@pytest.mark.parametrize("pieces", [(b"abc",), (b"a",), (b"a", b"b", b"c")])
async def test_a_body_of_another_length_than_was_said_is_refused(port: int, pieces: tuple[bytes, ...]) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/echo", "POST", ("content-length", "2")), last=False))
        one.send(*(frame(DATA, 0, 1, piece) for piece in pieces), frame(DATA, END_STREAM, 1))
        assert (await one.answer(1)).reset == PROTOCOL_ERROR
        one.send(one.request(3, head("/echo", "POST", ("content-length", "2")), last=False))
        one.send(frame(DATA, END_STREAM, 3, b"ab"))
        assert (await one.answer(3)).body == b"ab"


@pytest.mark.parametrize("late", [frame(DATA, 0, 1, b"late"), frame(HEADERS, END_HEADERS | END_STREAM, 1, fields([]))])
async def test_a_request_that_is_whole_has_no_more(app: Application, port: int, late: bytes) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/wait")), late)
        assert (await one.answer(1)).reset == STREAM_CLOSED
        app.may_go_on.set()
        assert (await one.get(3)).status == 200


# What a peer does wrong with the connection.


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(DATA, 0, 0, b"a"), PROTOCOL_ERROR),
        (frame(DATA, 0, 1, b"a"), PROTOCOL_ERROR),
        (frame(DATA, 0, 2, b"a"), PROTOCOL_ERROR),
        (UPLOAD + frame(DATA, PADDED, 1), FRAME_SIZE_ERROR),
        (UPLOAD + frame(DATA, PADDED, 1, b"\5abcd"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0, GET), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2, GET), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"abc"), FRAME_SIZE_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION_ERROR),
        (frame(HEADERS, END_HEADERS | END_STREAM, 5, GET) + CALL, PROTOCOL_ERROR),
        (CALL + frame(HEADERS, 0, 3, GET) + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, GET) + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1, GET), PROTOCOL_ERROR),
        (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, bytes(4)), PROTOCOL_ERROR),
        (CALL + frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, b"abc"), FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK, 0, setting(4, 1)), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, setting(2, 2)), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, setting(4, 1 << 31)), FLOW_CONTROL_ERROR),
        (frame(SETTINGS, 0, 0, setting(5, 16_383)), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, setting(5, 1 << 24)), PROTOCOL_ERROR),
        (frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + GET), PROTOCOL_ERROR),
        (frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
        (frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
        (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, number(0)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, number(1)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, number((1 << 31) - 1)), FLOW_CONTROL_ERROR),
        (frame(DATA, 0, 1, bytes(16_385)), FRAME_SIZE_ERROR),
    ],
)
async def test_a_mistake_in_the_connection_ends_it_and_says_why(port: int, frames: bytes, code: int) -> None:
    async with peer(port) as other, peer(port) as one:
        one.send(frames)
        assert (await one.goaway()).code == code
        assert (await other.get(1)).status == 200


async def test_a_stream_that_is_over_is_not_opened_again(port: int) -> None:
    async with peer(port) as one:
        assert (await one.get(1)).status == 200
        one.send(CALL)
        assert (await one.goaway()).code == STREAM_CLOSED


async def test_what_is_no_settings_after_the_preface_ends_the_connection(port: int) -> None:
    for first in (CALL, frame(SETTINGS, ACK), frame(PING, 0, 0, bytes(8))):
        async with peer(port, opening=PREFACE + first) as one:
            assert (await one.goaway()).code == PROTOCOL_ERROR


# Limits.


async def test_headers_beyond_the_limit_are_431_and_the_connection_goes_on(app: Application, serve: Serve) -> None:
    port = await serve(app, max_header_bytes=2_000)
    async with peer(port) as one:
        one.send(one.request(1, head("/", "GET", ("x-a", "y" * 2_000))))
        answer = await one.answer(1)
        assert (answer.status, answer.body[:9]) == (431, b'{"code":8')
        one.send(frame(HEADERS, END_HEADERS, 3, fields(head("/", "POST", ("x-a", "y" * 2_000)))))
        assert (await one.answer(3)).status == 431
        assert (await one.next(RST_STREAM, 3)).number == NO_ERROR
        assert (await one.get(5)).status == 200
    assert len(app.scopes) == 1


async def test_a_header_block_without_end_is_ended_while_it_comes(app: Application, serve: Serve) -> None:
    port = await serve(app, max_header_bytes=2_000)
    async with peer(port) as one:
        one.send(frame(HEADERS, END_STREAM, 1, GET))
        one.send(*[frame(CONTINUATION, 0, 1, fields([("x-a", "y" * 5_000)]))] * 10)
        assert (await one.answer(1)).status == 431
        assert (await one.goaway()).code == ENHANCE_YOUR_CALM
    assert app.scopes == []


async def test_a_small_block_that_stands_for_much_ends_the_connection(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, GET + fields([("x", "x" * 3900)], indexed=True)))
        assert (await one.answer(1)).status == 200
        one.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, GET + b"\xbe" * 10_000))
        assert (await one.goaway()).code == ENHANCE_YOUR_CALM
    assert len(app.scopes) == 1


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, 0, bytes(8)),
        frame(SETTINGS, 0, 0, setting(4, 65_535)),
        frame(SETTINGS, ACK),
        frame(PRIORITY, 0, 1, number(3) + b"\0"),
        frame(DATA, 0, 1),
        frame(WINDOW_UPDATE, 0, 1, number(1)),
        frame(0xBE),
    ],
    ids=["ping", "settings", "acknowledgement", "priority", "empty data", "window update", "unknown"],
)
async def test_frames_that_bring_nothing_end_the_connection_in_the_end(port: int, flood: bytes) -> None:
    async with peer(port) as other, peer(port) as one:
        one.send(one.request(1, head("/slow", "POST"), last=False))
        # As an honest client may send some hundred at once.
        one.send(flood * 1_000)
        assert (await one.get(3)).status == 200
        one.send(flood * 5_000)
        assert (await one.goaway()).code == ENHANCE_YOUR_CALM
        assert (await other.get(1)).status == 200


@pytest.mark.parametrize("late", [frame(DATA, 0, 1), frame(HEADERS, END_HEADERS | END_STREAM, 1, fields([("x", "y")]))])
async def test_what_comes_for_a_stream_that_was_reset_is_left_alone_but_not_for_ever(port: int, late: bytes) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/early", "POST"), last=False))
        assert (await one.answer(1)).status == 413
        one.send(late * 100)
        assert (await one.get(3)).status == 200
        one.send(late * 5_000)
        assert (await one.goaway()).code == ENHANCE_YOUR_CALM


async def test_calls_that_are_taken_back_over_and_over_end_the_connection(app: Application, port: int) -> None:
    async with peer(port) as other, peer(port) as one:
        for stream in range(1, 12_001, 2):
            one.send(frame(HEADERS, END_HEADERS, stream, POST), frame(RST_STREAM, 0, stream, number(8)))
            if stream % 101 == 0:
                await asyncio.sleep(0)
        assert (await one.goaway()).code == ENHANCE_YOUR_CALM
        assert (await other.get(1)).status == 200


async def test_more_calls_at_once_than_are_offered_are_refused_and_may_be_made_again(
    app: Application, port: int
) -> None:
    async with peer(port) as one:
        offered = dict(struct.iter_unpack(">HI", (await one.next(SETTINGS)).payload))[3]
        for stream in range(1, 2 * offered + 1, 2):
            one.send(one.request(stream, head("/wait")))
        over = 2 * offered + 1
        one.send(one.request(over, head()))
        assert (await one.answer(over)).reset == REFUSED_STREAM
        app.may_go_on.set()
        for stream in range(1, 2 * offered + 1, 2):
            assert (await one.answer(stream)).body == b"waited"
        assert (await one.get(over + 2)).status == 200


async def test_calls_that_were_reset_and_still_run_count(app: Application, port: int) -> None:
    async with peer(port) as one:
        streams = itertools.count(1, 2)
        for _ in range(4):
            # Calls that are answered pay for what resets cost, however fast they come.
            assert (await one.get(next(streams))).status == 200
            waiting = list(itertools.islice(streams, 500))
            one.send(*(one.request(each, head("/wait")) for each in waiting))
            one.send(frame(PING, 0, 0, bytes(8)))
            await one.next(PING)
            one.send(*(frame(RST_STREAM, 0, each, number(8)) for each in waiting))
        assert (await one.get(next(streams))).reset == REFUSED_STREAM
        app.may_go_on.set()
        await app.ends(4 + 2_000)
        assert (await one.get(next(streams))).status == 200


async def test_a_peer_that_does_not_read_is_not_heard_until_it_does(app: Application, port: int) -> None:
    wide = PREFACE + frame(SETTINGS, 0, 0, setting(4, (1 << 31) - 1))
    wide += frame(WINDOW_UPDATE, 0, 0, number((1 << 31) - 70_000))
    async with peer(port) as other, peer(port, opening=wide) as one:
        # So that it does not read by itself.
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]  # of asyncio's own
        one.send(one.request(1, head("/stream?400")))
        await asyncio.sleep(0.2)
        for _ in range(20):
            one.send(frame(PING, 0, 0, bytes(8)) * 50)
            await asyncio.sleep(0.01)
        assert (await other.get(1)).status == 200
        assert app.ended == ["done"]
        one.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await one.answer(1)).body) == 20_000_000
        for _ in range(1_000):
            assert (await one.next(PING)).flags == ACK


# Time.


@pytest.mark.parametrize(
    "sent",
    [PREFACE[:10], PREFACE, OPENING[:-3], OPENING + frame(HEADERS, 0, 1, GET)],
    ids=["half a preface", "no settings", "half of settings", "half a header block"],
)
async def test_a_start_that_does_not_come_is_not_waited_for(app: Application, serve: Serve, sent: bytes) -> None:
    port = await serve(app, header_timeout=0.2)
    async with peer(port, opening=sent) as one:
        with contextlib.suppress(EOFError):
            while True:
                await one.read()
    assert app.scopes == []


async def test_a_silent_peer_is_asked_whether_it_is_there(app: Application, serve: Serve) -> None:
    port = await serve(app, ping_every=0.1, ping_timeout=0.2)
    async with peer(port) as one:
        for _ in range(3):
            asked = await one.next(PING)
            one.send(frame(PING, ACK, 0, asked.payload))
        assert (await one.get(1)).status == 200
        await one.next(PING)
        assert (await one.goaway()).code == NO_ERROR


async def test_a_peer_that_stalls_in_a_frame_is_let_go(app: Application, serve: Serve) -> None:
    port = await serve(app, ping_every=0.1, ping_timeout=0.2)
    async with peer(port) as one:
        one.send(UPLOAD, frame(DATA, 0, 1, bytes(100))[:-50])
        for _ in range(4):
            # Bytes that make no frame whole are no sign of life.
            one.send(b"\0")
            await asyncio.sleep(0.02)
        assert (await one.goaway()).code == NO_ERROR


# The end.


@pytest.fixture
async def host(app: Application) -> tuple[HTTPHost, int]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    made = HTTPHost(app, sock)
    await made.start()
    return made, port


async def test_a_server_that_stops_says_so_and_answers_what_it_has(
    app: Application, host: tuple[HTTPHost, int]
) -> None:
    async with peer(host[1]) as idle, peer(host[1]) as one:
        assert (await idle.get(1)).status == 200
        one.send(one.request(1, head("/wait")))
        assert (await one.get(3)).status == 200
        stopping = asyncio.create_task(host[0].stop(5))
        assert (await idle.goaway()).code == NO_ERROR
        first = await one.next(GOAWAY)
        assert (first.payload[:4], first.code) == (b"\x7f\xff\xff\xff", NO_ERROR)
        # What was sent before the peer knew is answered.
        one.send(one.request(5, head()))
        assert (await one.answer(5)).status == 200
        one.send(frame(PING, ACK, 0, (await one.next(PING)).payload))
        assert (await one.next(GOAWAY)).payload[:4] == number(5)
        one.send(one.request(7, head()))
        assert (await one.answer(7)).reset == REFUSED_STREAM
        app.may_go_on.set()
        assert (await one.answer(1)).body == b"waited"
        assert (await one.goaway()).code == NO_ERROR
        await stopping


async def test_a_call_that_does_not_end_in_time_is_told_that_the_server_stops(host: tuple[HTTPHost, int]) -> None:
    async with peer(host[1]) as one:
        one.send(one.request(1, head("/wait")))
        assert (await one.get(3)).status == 200
        await host[0].stop(0.1)
        answer = await one.answer(1)
        assert (answer.status, answer.body[:10]) == (503, b'{"code":14')


async def test_a_peer_that_says_goodbye_gets_its_replies(app: Application, port: int) -> None:
    async with peer(port) as one:
        one.send(one.request(1, head("/wait")), frame(GOAWAY, 0, 0, bytes(8)))
        await asyncio.sleep(0.05)
        app.may_go_on.set()
        assert (await one.answer(1)).body == b"waited"
        assert (await one.goaway()).code == NO_ERROR
