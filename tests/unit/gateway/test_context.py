"""What a servicer sees of its call, and what it can do with it."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway import ServicerContext
from tests.unit.gateway.client import GRPC_WEB, GRPC_WEB_TEXT, JSON, frame, request, text_frame, web_result
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer

RPC = f"/{SERVICE}/Unary"
ONE = frame(EchoRequest(text="x"))


async def context_of(gateway: Any, servicer: EchoServicer, **options: Any) -> Any:
    await request(gateway, "POST", RPC, b"{}", content_type=JSON, **options)
    return servicer.context


async def test_context_is_one_of_grpc_aio(gateway: Any, servicer: EchoServicer) -> None:
    context = await context_of(gateway, servicer)
    assert isinstance(context, grpc.aio.ServicerContext)
    assert isinstance(context, ServicerContext)


@pytest.mark.parametrize(
    ("content_type", "body", "protocol"),
    [(GRPC_WEB, ONE, "grpc-web"), (GRPC_WEB_TEXT, text_frame(EchoRequest()), "grpc-web-text"), (JSON, b"{}", "json")],
)
async def test_context_names_its_protocol(
    gateway: Any, servicer: EchoServicer, content_type: str, body: bytes, protocol: str
) -> None:
    await request(gateway, "POST", RPC, body, content_type=content_type)
    assert servicer.context.protocol == protocol
    with pytest.raises(AttributeError):
        servicer.context.protocol = "other"


async def test_metadata_is_a_tuple_with_the_host_as_authority(gateway: Any, servicer: EchoServicer) -> None:
    headers = [(b"X-One", b"1"), (b"x-bin", b"/w"), (b"x-caf\xe9", b"caf\xe9"), (b"connection", b"close")]
    context = await context_of(gateway, servicer, headers=headers)
    assert context.invocation_metadata() == (
        (":authority", "echo.test:8080"),
        ("x-one", "1"),
        ("x-bin", b"\xff"),
        ("x-café", "café"),
    )


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("127.0.0.1", 1234), "ipv4:127.0.0.1:1234"),
        (["10.0.0.1", 80], "ipv4:10.0.0.1:80"),
        (("::1", 1234), "ipv6:[::1]:1234"),
        (None, "unix:"),
    ],
)
async def test_peer_is_written_as_grpc_writes_it(gateway: Any, servicer: EchoServicer, client: Any, peer: str) -> None:
    assert (await context_of(gateway, servicer, scope={"client": client})).peer() == peer


async def test_identity_of_the_connection_is_what_is_known_of_it(gateway: Any, servicer: EchoServicer) -> None:
    context = await context_of(gateway, servicer)
    assert (context.peer_identities(), context.peer_identity_key()) == (None, None)
    assert context.auth_context() == {"transport_security_type": [b"insecure"]}
    context = await context_of(gateway, servicer, scope={"scheme": "https"})
    assert context.auth_context() == {"transport_security_type": [b"ssl"]}


async def test_time_remaining_counts_down_from_the_timeout(gateway: Any, servicer: EchoServicer) -> None:
    assert (await context_of(gateway, servicer)).time_remaining() is None
    context = await context_of(gateway, servicer, headers={"grpc-timeout": "20S"})
    assert 19 < context.time_remaining() <= 20
    context = await context_of(gateway, servicer, headers={"grpc-timeout": "99999999H"})
    assert context.time_remaining() > 1e11


async def test_callbacks_run_once_the_call_has_ended(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    done: list[Any] = []

    async def unary(received: Any, context: Any) -> Any:
        assert not context.done()
        context.add_done_callback(lambda given: done.append((given is context, given.done(), given.code())))
        await context.abort(grpc.StatusCode.NOT_FOUND, "no")

    servicer.unary = unary
    await request(make_gateway(), "POST", RPC, b"{}")
    assert done == [(True, True, grpc.StatusCode.NOT_FOUND)]


@pytest.mark.logs_errors
async def test_callback_that_fails_does_not_keep_the_others(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    done: list[int] = []

    async def unary(received: Any, context: Any) -> Any:
        context.add_done_callback(lambda _: 1 / 0)
        context.add_done_callback(lambda _: done.append(1))
        return EchoReply()

    servicer.unary = unary
    assert (await request(make_gateway(), "POST", RPC, b"{}")).status == 200
    assert done == [1]


async def test_abort_keeps_details_and_metadata_that_were_set(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_details("before")
        context.set_trailing_metadata((("x", "1"),))
        await context.abort(grpc.StatusCode.NOT_FOUND)

    servicer.unary = unary
    result = web_result(await request(make_gateway(), "POST", RPC, ONE, content_type=GRPC_WEB))
    assert (result.message, result.trailer("x")) == ("before", "1")


async def test_abort_that_a_servicer_swallows_still_ends_the_call(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        with pytest.raises(grpc.aio.AbortError):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no")
        with pytest.raises(grpc.aio.UsageError):
            await context.abort(grpc.StatusCode.ABORTED, "again")
        return EchoReply()

    servicer.unary = unary
    result = web_result(await request(make_gateway(), "POST", RPC, ONE, content_type=GRPC_WEB))
    assert (result.status, result.messages) == (5, [])


@pytest.mark.logs_errors
@pytest.mark.parametrize("code", [grpc.StatusCode.OK, 0, 99, "x", None])
async def test_abort_with_what_is_no_error_is_a_bug_of_the_servicer(
    make_gateway: MakeGateway, servicer: EchoServicer, code: Any
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(code, "no")

    servicer.unary = unary
    assert web_result(await request(make_gateway(), "POST", RPC, ONE, content_type=GRPC_WEB)).status == 2


@pytest.mark.parametrize("code", [5, grpc.StatusCode.NOT_FOUND, (5, "not found")])
async def test_code_may_be_a_number(make_gateway: MakeGateway, servicer: EchoServicer, code: Any) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_code(code)

    servicer.unary = unary
    assert web_result(await request(make_gateway(), "POST", RPC, ONE, content_type=GRPC_WEB)).status == 5


async def test_metadata_of_grpc_aio_is_sent(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.send_initial_metadata(grpc.aio.Metadata(("x-first", "1")))
        context.set_trailing_metadata(grpc.aio.Metadata(("x-last", "2"), ("x-bin", b"3")))
        return EchoReply()

    servicer.unary = unary
    response = await request(make_gateway(), "POST", RPC, ONE, content_type=GRPC_WEB)
    assert response.header("x-first") == "1"
    assert web_result(response).trailers == [("grpc-status", "0"), ("x-last", "2"), ("x-bin", "Mw")]


async def test_initial_metadata_is_sent_once(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x", "1"),))
        with pytest.raises(grpc.aio.UsageError):
            await context.send_initial_metadata((("x", "2"),))
        return EchoReply()

    servicer.unary = unary
    assert (await request(make_gateway(), "POST", RPC, b"{}")).header("x") == "1"


async def test_stream_begins_when_its_initial_metadata_is_sent(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def stream(received: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x", "1"),))
        with pytest.raises(grpc.aio.UsageError):
            await context.send_initial_metadata((("x", "2"),))
        await asyncio.sleep(0)
        yield EchoReply()

    servicer.server_stream = stream
    response = await request(make_gateway(), "POST", f"/{SERVICE}/ServerStream", ONE, content_type=GRPC_WEB)
    assert response.header("x") == "1"


async def test_reading_and_writing_is_for_streams(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        with pytest.raises(grpc.aio.UsageError):
            await context.read()
        with pytest.raises(grpc.aio.UsageError):
            await context.write(EchoReply())
        return EchoReply()

    servicer.unary = unary
    assert (await request(make_gateway(), "POST", RPC, b"{}")).status == 200
