"""The same servicer through every protocol and codec, and through plain grpc.aio: one outcome.

Each scenario is a behaviour of the servicer, which also notes what it saw of its call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from gateway import Gateway
from tests.unit.gateway.callers import CALLERS, KINDS, call_grpc_aio
from tests.unit.gateway.echo import EchoReply, EchoRequest, EchoServicer, add_EchoServicer_to_server

ATTRIBUTES: Final = {
    "Unary": "unary",
    "ServerStream": "server_stream",
    "ClientStream": "client_stream",
    "Bidi": "bidi",
}
SENT: Final = (("x-plain", "a, b"), ("x-bytes-bin", b"\x00\xff,"), ("x-empty-bin", b""))
INITIAL: Final = (("x-first", "1"), ("x-first-bin", b"\xfe\x00"), ("x-first", "2"))
TRAILING: Final = (("x-last", "3"), ("x-last-bin", b"\x00"), ("x-last", "4"))
REQUEST: Final = EchoRequest(
    text="hällo", big=-(2**62), data=b"\xff\x00", color=2, tags=["a", ""], labels={"k": 1}, count=3, ratio=0.5
)

Body = Callable[[Any, list[Any]], AsyncIterator[Any]]


async def replies(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    for each in requests:
        yield EchoReply(request=each)


async def nothing_sent(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    return
    yield


async def metadata(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    await context.send_initial_metadata(INITIAL)
    context.set_trailing_metadata(TRAILING)
    yield EchoReply(text="ü")


async def refused(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nicht so: ü % \n", TRAILING)
    yield


async def refused_after_metadata(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    await context.send_initial_metadata(INITIAL)
    context.set_trailing_metadata(TRAILING)
    await context.abort(grpc.StatusCode.CANCELLED, "")
    yield


async def refused_with_details(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    packed = []
    for message in (ErrorInfo(reason="R", domain="d", metadata={"k": "ü"}), RetryInfo(), REQUEST):
        detail = any_pb2.Any()
        detail.Pack(message)
        packed.append(detail)
    status = status_pb2.Status(code=8, message="zu viel: ü", details=packed)
    await context.abort_with_status(rpc_status.to_status(status))
    yield


async def code_set(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    context.set_code(grpc.StatusCode.NOT_FOUND)
    context.set_details("gone")
    context.set_trailing_metadata(TRAILING)
    yield EchoReply()


async def not_implemented(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details("Method not implemented!")
    raise NotImplementedError("Method not implemented!")
    yield


async def compressed(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    context.set_compression(grpc.Compression.Gzip)
    yield EchoReply(text="x" * 1000)


async def compressed_too_late(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    await context.send_initial_metadata(INITIAL)
    with pytest.raises(RuntimeError):
        context.set_compression(grpc.Compression.Gzip)
    context.set_trailing_metadata((("x-refused", "1"),))
    yield EchoReply(text="x" * 1000)


async def fails_late(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
    context.set_trailing_metadata(TRAILING)
    yield EchoReply(text="1")
    yield EchoReply(text="2")
    await context.abort(grpc.StatusCode.DATA_LOSS, "late")


ANY_KIND: Final[dict[str, Body]] = {
    each.__name__: each
    for each in (
        replies,
        metadata,
        refused,
        refused_after_metadata,
        refused_with_details,
        code_set,
        compressed,
        compressed_too_late,
    )
}
STREAMED: Final[dict[str, Body]] = {each.__name__: each for each in (nothing_sent, fails_late)}


def servicer_of(body: Body, seen: list[Any]) -> EchoServicer:
    """Give a servicer whose methods of all four kinds do the same; `seen` gets what they learn of the call."""

    def note(context: Any, requests: list[Any]) -> None:
        own = sorted((k, v) for k, v in context.invocation_metadata() if k.startswith("x-"))
        seen.append((own, requests, context.time_remaining() is not None, context.cancelled()))

    async def streamed(received: Any, context: Any) -> AsyncIterator[Any]:
        requests = [received] if isinstance(received, EchoRequest) else [each async for each in received]
        note(context, requests)
        async for reply in body(context, requests):
            yield reply

    async def single(received: Any, context: Any) -> Any:
        async for reply in streamed(received, context):
            return reply
        return None

    servicer = EchoServicer()
    servicer.unary = servicer.client_stream = single
    servicer.server_stream = servicer.bidi = streamed
    return servicer


class Plain:
    """The servicer on a grpc.aio server."""

    def __init__(self, servicer: EchoServicer) -> None:
        self.server = grpc.aio.server()
        add_EchoServicer_to_server(servicer, self.server)

    async def __aenter__(self) -> grpc.aio.Channel:
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self.channel

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.server.stop(0)


def cases() -> list[Any]:
    found = []
    for method, (_, many_out) in KINDS.items():
        bodies = {**ANY_KIND, **(STREAMED if many_out else {})}
        found += [pytest.param(method, body, id=f"{method}-{name}") for name, body in bodies.items()]
    return found


def gateway_of(servicer: EchoServicer) -> Gateway:
    gateway = Gateway()
    add_EchoServicer_to_server(servicer, gateway)
    return gateway


def requests_of(method: str) -> list[Any]:
    return [REQUEST, EchoRequest(), EchoRequest(text="3")] if KINDS[method][0] else [REQUEST]


@pytest.mark.parametrize(("method", "body"), cases())
async def test_every_protocol_and_codec_gives_what_grpc_aio_gives(method: str, body: Body) -> None:
    seen: list[Any] = []
    servicer = servicer_of(body, seen)
    requests = requests_of(method)
    async with Plain(servicer) as channel:
        expected = await call_grpc_aio(channel, method, requests, SENT, timeout_ms=60_000)
    for caller in CALLERS:
        if caller.can(method):
            outcome = await caller.call(gateway_of(servicer), method, requests, SENT, timeout_ms=60_000)
            assert outcome == expected, str(caller)
    assert seen == seen[:1] * len(seen)
    assert seen[0] == (sorted(SENT), requests, True, False)


@pytest.mark.parametrize("method", KINDS)
async def test_call_without_a_timeout_has_none_anywhere(method: str) -> None:
    seen: list[Any] = []
    servicer = servicer_of(replies, seen)
    async with Plain(servicer) as channel:
        expected = await call_grpc_aio(channel, method, requests_of(method))
    for caller in CALLERS:
        if caller.can(method):
            assert await caller.call(gateway_of(servicer), method, requests_of(method)) == expected, str(caller)
    assert {each[2] for each in seen} == {False}


@pytest.mark.parametrize("method", KINDS)
async def test_deadline_that_passes_ends_the_call_and_cancels_the_servicer(method: str) -> None:
    cancelled: list[str] = []

    async def sleeps(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
        if KINDS[method][1]:
            yield EchoReply(text="1")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(method)
            raise
        yield EchoReply()

    servicer = servicer_of(sleeps, [])
    async with Plain(servicer) as channel:
        expected = await call_grpc_aio(channel, method, requests_of(method), timeout_ms=100)
        await asyncio.sleep(0.05)
    called = 1
    for caller in CALLERS:
        if caller.can(method):
            called += 1
            outcome = await caller.call(gateway_of(servicer), method, requests_of(method), timeout_ms=30)
            assert (outcome.code, outcome.replies) == (expected.code, expected.replies), str(caller)
    assert expected.code == 4
    assert len(cancelled) == called


@pytest.mark.logs_errors
@pytest.mark.parametrize("method", KINDS)
async def test_bug_of_the_servicer_is_unknown_and_tells_nothing(method: str) -> None:
    async def fails(context: Any, requests: list[Any]) -> AsyncIterator[Any]:
        context.set_trailing_metadata(TRAILING)
        raise ValueError("secret")
        yield

    servicer = servicer_of(fails, [])
    async with Plain(servicer) as channel:
        expected = await call_grpc_aio(channel, method, requests_of(method))
    for caller in CALLERS:
        if caller.can(method):
            outcome = await caller.call(gateway_of(servicer), method, requests_of(method))
            assert (outcome.code, outcome.trailing) == (2, expected.trailing), str(caller)
            assert "secret" not in outcome.message
    assert expected.code == 2


@pytest.mark.logs_errors
@pytest.mark.parametrize("method", KINDS)
async def test_method_that_generated_code_leaves_out_is_unimplemented(method: str) -> None:
    servicer = servicer_of(not_implemented, [])
    async with Plain(servicer) as channel:
        expected = await call_grpc_aio(channel, method, requests_of(method))
    for caller in CALLERS:
        if caller.can(method):
            outcome = await caller.call(gateway_of(servicer), method, requests_of(method))
            # grpc.aio puts its own words before these.
            assert (outcome.code, outcome.message) == (expected.code, "Method not implemented!"), str(caller)
    assert expected.code == 12


@pytest.mark.parametrize("method", KINDS)
async def test_caller_that_goes_away_cancels_the_servicer(method: str) -> None:
    for caller in CALLERS:
        if not caller.can(method):
            continue
        gone, left = asyncio.Event(), asyncio.Event()

        async def waits(
            context: Any, requests: list[Any], gone: asyncio.Event = gone, left: asyncio.Event = left
        ) -> AsyncIterator[Any]:
            context.add_done_callback(lambda _: left.set())
            if KINDS[method][1]:
                yield EchoReply()
            gone.set()
            await asyncio.sleep(10)
            yield EchoReply()

        async with asyncio.timeout(5):
            await caller.call(gateway_of(servicer_of(waits, [])), method, requests_of(method), gone=gone)
        assert left.is_set(), str(caller)


@pytest.mark.parametrize("method", ["ServerStream", "Bidi"])
async def test_initial_metadata_go_out_when_they_are_sent_and_not_with_the_first_message(method: str) -> None:
    for caller in CALLERS:
        if not caller.can(method):
            continue
        events: list[str] = []

        async def starts(context: Any, requests: list[Any], events: list[str] = events) -> AsyncIterator[Any]:
            await context.send_initial_metadata(INITIAL)
            events.append("running")
            yield EchoReply()

        gateway = gateway_of(servicer_of(starts, []))

        async def noting(
            scope: Any, receive: Any, send: Any, gateway: Gateway = gateway, events: list[str] = events
        ) -> None:
            async def note(event: Any) -> None:
                events.append(event["type"].rpartition(".")[2])
                await send(event)

            await gateway(scope, receive, note)

        await caller.call(noting, method, requests_of(method))
        assert events[:3] == ["start", "running", "body"], str(caller)
