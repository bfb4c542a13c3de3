"""Deadlines, callers that go away, bodies that do not arrive, a host that stops."""

import asyncio
from typing import Any

import grpc
import pytest

from tests.unit.gateway.client import GRPC_WEB, JSON, frame, request, web_result
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer

RPC = f"/{SERVICE}/Unary"
ONE = frame(EchoRequest(text="x"))


class Sleeper:
    """A behaviour that waits, and remembers how it ended."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled: list[bool] = []

    async def __call__(self, received: Any, context: Any) -> Any:
        self.started.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            self.cancelled.append(context.cancelled())
            raise
        return EchoReply()


@pytest.fixture
def sleeper(servicer: EchoServicer) -> Sleeper:
    sleeper = Sleeper()

    async def stream(received: Any, context: Any) -> Any:
        yield EchoReply(text="first")
        await sleeper(received, context)

    async def join(requests: Any, context: Any) -> Any:
        async for _ in requests:
            sleeper.started.set()
        return EchoReply()

    servicer.unary, servicer.server_stream, servicer.client_stream = sleeper, stream, join
    return sleeper


async def test_passed_deadline_is_deadline_exceeded_and_cancels_the_servicer(
    make_gateway: MakeGateway, sleeper: Sleeper
) -> None:
    gateway = make_gateway()
    headers = {"grpc-timeout": "20m"}
    result = web_result(await request(gateway, "POST", RPC, ONE, content_type=GRPC_WEB, headers=headers))
    assert (result.status, sleeper.cancelled) == (4, [True])
    response = await request(gateway, "POST", RPC, b"{}", content_type=JSON, headers=headers)
    assert (response.status, response.json()["code"], sleeper.cancelled) == (504, 4, [True, True])


async def test_deadline_of_zero_is_passed_at_once(make_gateway: MakeGateway, sleeper: Sleeper) -> None:
    response = await request(make_gateway(), "POST", RPC, b"{}", headers={"grpc-timeout": "0n"})
    assert response.status == 504


async def test_a_call_whose_deadline_has_passed_is_not_begun(make_gateway: MakeGateway, sleeper: Sleeper) -> None:
    # The event loop's timers are too coarse for it, and other tasks may run before they go off.
    for headers in ({"grpc-timeout": "1n"}, {"grpc-timeout": "1u"}):
        result = web_result(await request(make_gateway(), "POST", RPC, ONE, content_type=GRPC_WEB, headers=headers))
        assert result.status == 4
        response = await request(make_gateway(), "POST", RPC, b"{}", content_type=JSON, headers=headers)
        assert response.status == 504
    assert not sleeper.started.is_set()


async def test_deadline_ends_a_stream_after_its_messages(make_gateway: MakeGateway, sleeper: Sleeper) -> None:
    headers = {"grpc-timeout": "20m"}
    path = f"/{SERVICE}/ServerStream"
    result = web_result(await request(make_gateway(), "POST", path, ONE, content_type=GRPC_WEB, headers=headers))
    assert (len(result.messages), result.status, sleeper.cancelled) == (1, 4, [True])


async def test_servicer_that_turns_its_cancellation_into_a_reply_is_still_late(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return EchoReply()

    async def aborting(received: Any, context: Any) -> Any:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await context.abort(grpc.StatusCode.ABORTED, "no")

    for behaviour in (unary, aborting):
        servicer.unary = behaviour
        response = await request(make_gateway(), "POST", RPC, b"{}", headers={"grpc-timeout": "10m"})
        assert response.status == 504
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_deadline_that_passes_while_the_body_is_received_ends_the_call(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    headers = {"grpc-timeout": "20m"}
    for content_type in (JSON, GRPC_WEB):
        response = await request(
            make_gateway(), "POST", RPC, b"{", content_type=content_type, headers=headers, unfinished=True
        )
        assert response.status == 504 if content_type == JSON else web_result(response).status == 4
    path = f"/{SERVICE}/ClientStream"
    response = await request(make_gateway(), "POST", path, ONE, content_type=GRPC_WEB, headers=headers, unfinished=True)
    assert web_result(response).status == 4


async def test_body_that_does_not_arrive_in_time_is_refused(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    gateway = make_gateway(receive_timeout=0.06)
    response = await request(gateway, "POST", RPC, b"{", content_type=JSON, unfinished=True)
    assert (response.status, response.json()["code"]) == (408, 4)
    response = await request(gateway, "POST", RPC, b"\0", content_type=GRPC_WEB, unfinished=True)
    assert web_result(response).status == 4
    assert servicer.calls == 0


async def test_time_to_receive_does_not_limit_the_servicer_nor_a_stream(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await asyncio.sleep(0.15)
        return EchoReply()

    servicer.unary = unary
    gateway = make_gateway(receive_timeout=0.01)
    assert (await request(gateway, "POST", RPC, b"{}")).status == 200

    gone = asyncio.Event()
    path = f"/{SERVICE}/ClientStream"
    running = asyncio.create_task(
        request(gateway, "POST", path, ONE, content_type=GRPC_WEB, unfinished=True, gone=gone)
    )
    await asyncio.sleep(0.15)
    assert not running.done()
    gone.set()
    await running


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
async def test_caller_that_goes_away_cancels_the_servicer(
    make_gateway: MakeGateway, sleeper: Sleeper, method: str
) -> None:
    gone = asyncio.Event()
    running = asyncio.create_task(
        request(make_gateway(), "POST", f"/{SERVICE}/{method}", ONE, content_type=GRPC_WEB, gone=gone)
    )
    await sleeper.started.wait()
    gone.set()
    async with asyncio.timeout(1):
        await running
    assert sleeper.cancelled == [True]


async def test_caller_that_goes_away_inside_the_body_runs_nothing(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    for body in (ONE, b"{}"):
        gone = asyncio.Event()
        running = asyncio.create_task(
            request(make_gateway(), "POST", RPC, body, content_type=GRPC_WEB, unfinished=True, gone=gone)
        )
        await asyncio.sleep(0.01)
        gone.set()
        response = await running
        assert response.status == 0
    assert servicer.calls == 0


async def test_caller_that_goes_away_inside_a_request_stream_cancels_the_servicer(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    ended: list[str] = []

    async def join(requests: Any, context: Any) -> Any:
        try:
            while True:
                received = await anext(requests)
                ended.append(received.text)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return EchoReply()

    servicer.client_stream = join
    gone = asyncio.Event()
    running = asyncio.create_task(
        request(
            make_gateway(), "POST", f"/{SERVICE}/ClientStream", ONE, content_type=GRPC_WEB, unfinished=True, gone=gone
        )
    )
    await asyncio.sleep(0.01)
    gone.set()
    await running
    assert ended == ["x", "cancelled"]


async def test_host_that_gives_empty_events_for_ever_does_not_end_a_call(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await asyncio.sleep(0.12)
        return EchoReply()

    servicer.unary = unary
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"{}" if asked == 1 else b"", "more_body": False}

    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    await make_gateway()({"type": "http", "method": "POST", "path": RPC, "headers": []}, receive, send)
    assert sent[0]["status"] == 200
    assert asked < 5


async def test_call_that_the_host_cancels_is_unavailable(make_gateway: MakeGateway, sleeper: Sleeper) -> None:
    running = asyncio.create_task(request(make_gateway(), "POST", RPC, b"{}"))
    await sleeper.started.wait()
    running.cancel()
    response = await running
    assert (response.status, response.json()["code"], len(sleeper.cancelled)) == (503, 14, 1)


async def test_nothing_is_left_running_after_a_call(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await asyncio.sleep(0.07)
        return EchoReply()

    servicer.unary = unary
    await request(make_gateway(), "POST", RPC, b"{}", headers={"grpc-timeout": "10S"})
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_host_that_says_while_sending_that_the_caller_is_gone_cancels_the_call(
    make_gateway: MakeGateway, servicer: EchoServicer, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[bool] = []

    async def stream(received: Any, context: Any) -> Any:
        context.add_done_callback(lambda _: ended.append(context.cancelled()))
        for _ in range(3):
            yield EchoReply(text="x")

    servicer.server_stream = stream
    gateway, left = make_gateway(), asyncio.Event()

    async def leave(scope: Any, receive: Any, send: Any) -> None:
        async def lose(event: Any) -> None:
            if event["type"] == "http.response.body":
                raise BrokenPipeError
            await send(event)

        await gateway(scope, receive, lose)
        left.set()

    with caplog.at_level("ERROR"):
        await request(leave, "POST", f"/{SERVICE}/ServerStream", ONE, content_type=GRPC_WEB, gone=left)
    assert ended == [True]
    assert not caplog.records


async def test_more_calls_at_once_than_the_limit_are_refused_and_later_ones_are_not(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    go = asyncio.Event()

    async def wait(received: Any, context: Any) -> Any:
        await go.wait()
        return EchoReply()

    servicer.unary = wait
    gateway = make_gateway(max_concurrent_calls=2)
    running = [asyncio.create_task(request(gateway, "POST", RPC, b"{}", content_type=JSON)) for _ in range(2)]
    await asyncio.sleep(0)
    refused = await request(gateway, "POST", RPC, b"{}", content_type=JSON)
    assert (refused.status, refused.json()["code"]) == (429, 8)
    web = web_result(await request(gateway, "POST", RPC, ONE, content_type=GRPC_WEB))
    assert web.status == 8
    go.set()
    assert [reply.status for reply in await asyncio.gather(*running)] == [200, 200]
    assert (await request(gateway, "POST", RPC, b"{}", content_type=JSON)).status == 200
