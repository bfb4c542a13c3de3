"""Calls that repeat a call, with a servicer that counts: what is made once, and what never is."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from gateway import EncodedOnce, Gateway, Metadata, Repeatable
from gateway._recurring import Recurring
from tests.unit.gateway.client import JSON, Response, request
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoServicer

if TYPE_CHECKING:
    from gateway._repeats import Repeat

RPC = f"/{SERVICE}/Unary"


class Answers:
    """A servicer's method that may be repeated while `holds`; how often it ran, and how often it was repeated."""

    def __init__(self) -> None:
        self.ran = 0
        self.repeated: list[str] = []
        self.given: list[Metadata] = []
        self.holds = True
        self.error: Exception | None = None
        self.response = EncodedOnce(EchoReply(text="again"))

    async def __call__(self, received: Any, context: Any) -> Any:
        self.ran += 1
        await context.send_initial_metadata((("x-number", f"full {self.ran}"),))
        return Repeatable(self.response, self.again)

    def again(self, peer: str, apart: Metadata) -> Metadata | None:
        if self.error is not None:
            raise self.error
        if not self.holds:
            return None
        self.repeated.append(peer)
        self.given.append(apart)
        return (("x-number", f"again {len(self.repeated)}"),)


@pytest.fixture
def answers(servicer: EchoServicer) -> Answers:
    answers = Answers()

    async def unary(received: Any, context: Any) -> Any:
        return await answers(received, context)

    servicer.unary = unary
    return answers


@pytest.fixture
async def repeating(make_gateway: MakeGateway, answers: Answers) -> Gateway:
    """Give a gateway that repeats `post`: it has seen it once."""
    gateway = make_gateway(receive_timeout=0.2, repeat_regardless_of=["X-Trace", "x-other"])
    assert (await post(gateway)).status == 200
    return gateway


async def post(gateway: Gateway, body: Any = b"{}", path: str = RPC, **options: Any) -> Response:
    return await request(gateway, "POST", path, body, **{"content_type": JSON, **options})


async def test_the_second_of_the_same_calls_is_a_repetition(repeating: Gateway, answers: Answers) -> None:
    response = await post(repeating)
    assert (answers.ran, answers.repeated) == (1, ["ipv4:127.0.0.1:5000"])
    assert response.json() == {"text": "again"}
    assert response.header("x-number") == "again 1"


@pytest.mark.parametrize(
    ("content_type", "body", "headers"),
    [
        (JSON, b"{}", {}),
        ("application/grpc-web+proto", b"\0\0\0\0\0", {}),
        ("application/grpc-web-text", b"AAAAAAA=", {}),
        ("application/proto", b"", {"connect-protocol-version": "1"}),
        ("application/grpc", b"\0\0\0\0\0", {"te": "trailers"}),
        (JSON, b"{}", {"accept-encoding": "gzip", "origin": "https://page.example"}),
    ],
)
async def test_a_repetition_is_the_same_to_its_caller(
    make_gateway: MakeGateway, answers: Answers, content_type: str, body: bytes, headers: dict[str, str]
) -> None:
    gateway = make_gateway()
    scope: dict[str, Any] = {"extensions": {"http.response.trailers": {}}} if content_type == "application/grpc" else {}
    replies = [await post(gateway, body, content_type=content_type, headers=headers, scope=scope) for _ in range(5)]
    assert (answers.ran, len(answers.repeated)) == (1, 4)
    first = replies[0]
    for reply in replies:
        assert (reply.status, reply.body, reply.trailers) == (200, first.body, first.trailers)
        assert {k: v for k, v in reply.headers if k != b"x-number"} == {
            k: v for k, v in first.headers if k != b"x-number"
        }
    assert replies[-1].header("x-number") == "again 4"


@pytest.mark.parametrize(
    "other",
    [
        {"body": b'{"text": "b"}'},
        {"body": b"{ }"},
        {"body": [b"{", b"}"]},
        {"path": "/v1/echo"},
        {"path": f"{RPC}?text=a"},
        {"headers": {"authorization": "Bearer other"}},
        {"headers": {"host": "other.example"}},
        {"headers": [(b"a", b"b"), (b"c", b"d")]},
        {"content_type": "application/json; charset=utf-8"},
        {"scope": {"scheme": "https"}},
        {"scope": {"root_path": "/below"}},
    ],
)
async def test_another_request_is_another_call(repeating: Gateway, answers: Answers, other: dict[str, Any]) -> None:
    await post(repeating, **other)
    assert answers.repeated == []


async def test_headers_that_run_together_differ(repeating: Gateway, answers: Answers) -> None:
    for headers in ([(b"a", b"b"), (b"c", b"d")], [(b"a", b"b\nc\nd")], [(b"a", b"b\nc"), (b"d", b"")]):
        await post(repeating, headers=headers)
    assert answers.repeated == []


async def test_headers_that_decide_nothing_may_differ(repeating: Gateway, answers: Answers) -> None:
    await post(repeating, headers={"x-trace": "1", "x-other": "2"})
    await post(repeating, headers=[(b"x-trace", b"1"), (b"x-trace", b"2")])
    await post(repeating, headers={"x-third": "1"})
    assert answers.given == [(("x-trace", "1"), ("x-other", "2")), (("x-trace", "1"), ("x-trace", "2"))]


@pytest.mark.parametrize(
    ("name", "value"),
    [("grpc-timeout", "1S"), ("grpc-timeout", "12345678u"), ("grpc-timeout", "1m"), ("connect-timeout-ms", "5000")],
)
async def test_a_deadline_is_no_part_of_a_request(repeating: Gateway, answers: Answers, name: str, value: str) -> None:
    assert (await post(repeating, headers={name: value})).status == 200
    assert answers.given == [()]


@pytest.mark.parametrize("value", ["0S", "1n", "999u", "1", "x", "123456789S", "-1S", ""])
async def test_one_that_is_none_or_next_to_none_is_the_calls_in_full(
    repeating: Gateway, answers: Answers, value: str
) -> None:
    for _ in range(2):
        await post(repeating, headers={"grpc-timeout": value})
    # What can still be met may be repeated, by requests that say just that.
    assert len(answers.repeated) <= 1


async def test_the_caller_may_be_another(repeating: Gateway, answers: Answers) -> None:
    await post(repeating, scope={"client": ("::1", 6000)})
    assert answers.repeated == ["ipv6:[::1]:6000"]


async def test_what_does_not_hold_any_more_is_made_in_full_and_then_repeated_again(
    repeating: Gateway, answers: Answers
) -> None:
    answers.holds = False
    answers.response = EncodedOnce(EchoReply(text="changed"))
    assert (await post(repeating)).json() == {"text": "changed"}
    answers.holds = True
    assert (await post(repeating)).json() == {"text": "changed"}
    assert (answers.ran, len(answers.repeated)) == (2, 1)


@pytest.mark.logs_errors
async def test_one_that_fails_is_made_in_full(
    repeating: Gateway, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    answers.error = RuntimeError("a bug")
    assert (await post(repeating)).status == 200
    assert answers.ran == 2
    assert "could not be repeated" in caplog.text


async def test_a_body_that_comes_late_is_waited_for(repeating: Gateway, answers: Answers) -> None:
    class Late:
        """The client's receive, with the first event a moment later."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            late = [True]

            async def receive_late() -> Any:
                if late:
                    late.pop()
                    await asyncio.sleep(0.01)
                return await receive()

            await self.app(scope, receive_late, send)

    assert (await post(Late(repeating))).header("x-number") == "again 1"  # type: ignore[arg-type] # an application too
    assert (await post(Late(repeating), b'{"text":"b"}')).header("x-number") == "full 2"  # type: ignore[arg-type]


async def test_so_it_is_from_a_host_whose_receive_is_no_coroutine_function(
    repeating: Gateway, answers: Answers
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await repeating(scope, lambda: asyncio.ensure_future(receive()), send)

    assert (await post(app)).header("x-number") == "again 1"  # type: ignore[arg-type]


async def test_a_body_that_does_not_come_ends_as_any_other(repeating: Gateway) -> None:
    started = time.monotonic()
    response = await request(repeating, "POST", RPC, [b"{"], content_type=JSON, unfinished=True)
    assert response.status == 408
    never: Callable[..., Any] = asyncio.Event().wait

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await repeating(scope, never, send)

    assert (await post(app)).status == 408  # type: ignore[arg-type]
    assert time.monotonic() - started < 3


async def test_a_caller_that_is_gone_is_no_repetition(repeating: Gateway, answers: Answers) -> None:
    gone = asyncio.Event()
    gone.set()
    await post(repeating, gone=gone)
    assert (answers.ran, answers.repeated) == (1, [])


@pytest.mark.parametrize("ending", ["trailing", "code", "abort"])
async def test_only_what_went_well_and_is_said_in_full_is_kept(
    make_gateway: MakeGateway, answers: Answers, servicer: EchoServicer, ending: str
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        if ending == "trailing":
            context.set_trailing_metadata((("x-last", "word"),))
        elif ending == "code":
            context.set_code(grpc.StatusCode.NOT_FOUND)
        else:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no")
        return await answers(received, context)

    servicer.unary = unary
    gateway = make_gateway()
    for _ in range(4):
        await post(gateway)
    assert answers.repeated == []


@pytest.mark.parametrize(("size", "repeated"), [(1000, 3), (2000, 0)])
async def test_of_long_bodies_nothing_is_kept(
    make_gateway: MakeGateway, answers: Answers, size: int, repeated: int
) -> None:
    gateway = make_gateway()
    for _ in range(4):
        await post(gateway, b'{"text":"%s"}' % (b"a" * size))
    assert len(answers.repeated) == repeated


async def test_very_many_different_calls_are_not_kept(repeating: Gateway, answers: Answers) -> None:
    known: Recurring[Repeat] = Recurring(16)
    repeating._repeats.known = known
    await post(repeating)
    for number in range(100):
        await post(repeating, headers={"x-request-id": str(number)})
    assert len(known) == len(known._seen_once) == 16
    # Those that came only once have not pushed out what was there.
    answers.repeated.clear()
    await post(repeating)
    await post(repeating, headers={"x-request-id": "14"})
    assert len(answers.repeated) == 2


async def test_without_room_a_call_is_kept_when_it_comes_again(repeating: Gateway, answers: Answers) -> None:
    repeating._repeats.known = Recurring(1)
    await post(repeating)
    answers.ran = 0
    for ran, repeated in ((1, 0), (2, 0), (2, 1)):
        await post(repeating, headers={"x-request-id": "new"})
        assert (answers.ran, len(answers.repeated)) == (ran, repeated)
    await post(repeating)
    assert answers.ran == 3


@pytest.mark.parametrize(
    "headers", [{"user-agent": "other"}, {"cf-ray": "1"}, {"Cookie": "a=b"}, {"accept-language": "de"}]
)
async def test_metadata_that_nobody_reads_decides_nothing(
    make_gateway: MakeGateway, answers: Answers, headers: dict[str, str]
) -> None:
    gateway = make_gateway(repeat_by=["Authorization"])
    await post(gateway)
    await post(gateway, headers=headers)
    assert (answers.ran, answers.given) == (1, [()])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "Bearer other"),
        ("Authorization", "Bearer other"),
        ("host", "other.example"),
        (":authority", "other.example"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("origin", "https://page.example"),
        ("te", "trailers"),
        ("content-encoding", "identity"),
        ("connect-protocol-version", "1"),
        ("grpc-encoding", "identity"),
        ("access-control-request-method", "POST"),
        ("any-bin", "AAAA"),
        ("any-bin", "!"),
    ],
)
async def test_what_is_read_decides(make_gateway: MakeGateway, answers: Answers, name: str, value: str) -> None:
    gateway = make_gateway(repeat_by=["Authorization"])
    await post(gateway, headers={"authorization": "Bearer one"})
    await post(gateway, headers=[(b"authorization", b"Bearer one"), (name.encode(), value.encode())])
    assert answers.repeated == []
