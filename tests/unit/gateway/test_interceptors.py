"""Interceptors: the chain that grpc.aio runs, in its order, before the request is read and around its failures too."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio
import pytest

from gateway import Gateway
from tests.unit.gateway.client import GRPC_WEB, JSON, frame, request, web_result
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer, add_EchoServicer_to_server

RPC = f"/{SERVICE}/Unary"
ONE = frame(EchoRequest(text="x"))
current: ContextVar[str] = ContextVar("current", default="unset")
Intercept = Callable[[Any, grpc.HandlerCallDetails], Awaitable[Any]]


class Interceptor(grpc.aio.ServerInterceptor):
    def __init__(self, intercept: Intercept) -> None:
        self._intercept = intercept

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return await self._intercept(continuation, handler_call_details)


def unary_around(handler: Any, around: Callable[[Any, Any, Any], Awaitable[Any]]) -> Any:
    """Wrap a unary handler as interceptors do."""

    async def behaviour(received: Any, context: Any) -> Any:
        return await around(handler.unary_unary, received, context)

    return grpc.unary_unary_rpc_method_handler(behaviour, handler.request_deserializer, handler.response_serializer)


async def test_interceptors_run_outermost_first_with_method_and_metadata(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    seen: list[Any] = []

    def named(name: str) -> Interceptor:
        async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
            seen.append((name, details.method, dict(details.invocation_metadata)["x-one"]))
            return await continuation(details)

        return Interceptor(intercept)

    gateway = make_gateway(interceptors=[named("outer"), named("inner")])
    for path, body, kind in ((RPC, ONE, GRPC_WEB), ("/v1/echo", b"{}", JSON), ("/v1/ping", ONE, GRPC_WEB)):
        seen.clear()
        await request(gateway, "POST", path, body, content_type=kind, headers={"x-one": "1"})
        method = f"/{SERVICE}/Ping" if "ping" in path else RPC
        assert seen == [("outer", method, "1"), ("inner", method, "1")]
    assert servicer.calls == 3


async def test_interceptors_run_before_the_body_is_read(servicer: EchoServicer, make_gateway: MakeGateway) -> None:
    order: list[str] = []

    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        order.append("interceptor")
        return await continuation(details)

    gateway = make_gateway(interceptors=[Interceptor(intercept)])
    scope = {"type": "http", "method": "POST", "path": RPC, "headers": [(b"content-type", b"application/json")]}

    async def receive() -> dict[str, Any]:
        order.append("body")
        return {"type": "http.request", "body": b"{}"}

    async def send(event: Any) -> None:
        order.append(event["type"])

    await gateway(scope, receive, send)
    assert order == ["interceptor", "body", "http.response.start", "http.response.body"]


async def test_context_variable_of_an_interceptor_is_visible_to_the_behaviour(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        current.set("set")
        return await continuation(details)

    async def unary(received: Any, context: Any) -> Any:
        return EchoReply(text=current.get())

    def synchronous(received: Any, context: Any) -> Any:
        return EchoReply(text=current.get())

    async def stream(received: Any, context: Any) -> Any:
        yield EchoReply(text=current.get())

    servicer.server_stream = stream
    for behaviour in (unary, synchronous):
        servicer.unary = behaviour
        response = await request(make_gateway(interceptors=[Interceptor(intercept)]), "POST", RPC, b"{}")
        assert response.json() == {"text": "set"}
    gateway = make_gateway(interceptors=[Interceptor(intercept)])
    response = await request(gateway, "POST", f"/{SERVICE}/ServerStream", ONE, content_type=GRPC_WEB)
    assert EchoReply.FromString(web_result(response).messages[0]).text == "set"


UNREADABLE: list[tuple[str, Any, dict[str, str], grpc.StatusCode]] = [
    (JSON, b"{", {}, grpc.StatusCode.INVALID_ARGUMENT),
    (JSON, b'{"nope":1}', {}, grpc.StatusCode.INVALID_ARGUMENT),
    (JSON, b"x" * 2000, {}, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (JSON, b"{}", {"grpc-timeout": "x"}, grpc.StatusCode.INVALID_ARGUMENT),
    (JSON, b"{}", {"x-bin": "*"}, grpc.StatusCode.INVALID_ARGUMENT),
    (GRPC_WEB, frame(b"\xff"), {}, grpc.StatusCode.INVALID_ARGUMENT),
    (GRPC_WEB, b"", {}, grpc.StatusCode.UNIMPLEMENTED),
    (GRPC_WEB, ONE[:-1], {}, grpc.StatusCode.INTERNAL),
    (GRPC_WEB, ONE, {"grpc-encoding": "br"}, grpc.StatusCode.UNIMPLEMENTED),
    (GRPC_WEB, b"\0\0\xff\0\0", {}, grpc.StatusCode.RESOURCE_EXHAUSTED),
]


@pytest.mark.parametrize(("content_type", "body", "headers", "code"), UNREADABLE)
async def test_request_that_cannot_be_read_fails_inside_the_interceptors_and_never_reaches_the_servicer(
    make_gateway: MakeGateway,
    servicer: EchoServicer,
    *,
    content_type: str,
    body: bytes,
    headers: dict[str, str],
    code: grpc.StatusCode,
) -> None:
    logged: list[Any] = []

    async def log(behaviour: Any, received: Any, context: Any) -> Any:
        try:
            return await behaviour(received, context)
        finally:
            logged.append((context.code(), context.protocol))

    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        return unary_around(await continuation(details), log)

    gateway = make_gateway(interceptors=[Interceptor(intercept)], max_message_bytes=1000)
    await request(gateway, "POST", RPC, body, content_type=content_type, headers=headers)
    assert logged == [(code, "json" if content_type == JSON else "grpc-web")]
    assert servicer.calls == 0


@pytest.mark.parametrize(("content_type", "body", "headers", "code"), UNREADABLE)
async def test_caller_without_a_right_learns_nothing_of_its_request(
    make_gateway: MakeGateway, content_type: str, body: bytes, headers: dict[str, str], code: grpc.StatusCode
) -> None:
    async def refuse(behaviour: Any, received: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who?")

    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        return unary_around(await continuation(details), refuse)

    gateway = make_gateway(interceptors=[Interceptor(intercept)], max_message_bytes=1000)
    response = await request(gateway, "POST", RPC, body, content_type=content_type, headers=headers)
    if content_type == JSON:
        assert (response.status, response.json()["code"]) == (401, 16)
    else:
        assert web_result(response).status == 16


async def test_interceptor_may_refuse_with_a_handler_of_its_own(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def refuse(received: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

    def refuse_in_a_thread(received: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

    for behaviour in (refuse, refuse_in_a_thread):

        async def intercept(continuation: Any, details: grpc.HandlerCallDetails, behaviour: Any = behaviour) -> Any:
            return grpc.unary_unary_rpc_method_handler(behaviour)

        gateway = make_gateway(interceptors=[Interceptor(intercept)])
        assert web_result(await request(gateway, "POST", RPC, ONE, content_type=GRPC_WEB)).status == 7
        assert (await request(gateway, "POST", RPC, b"{}")).status == 403
    assert servicer.calls == 0


async def test_interceptor_may_wrap_deserializer_and_serializer(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    def deserialize(data: bytes) -> Any:
        received = EchoRequest.FromString(data)
        received.count += 1
        return received

    def serialize(reply: Any) -> bytes:
        reply.text = "wrapped"
        data: bytes = reply.SerializeToString()
        return data

    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        return grpc.unary_unary_rpc_method_handler(handler.unary_unary, deserialize, serialize)

    gateway = make_gateway(interceptors=[Interceptor(intercept)])
    expected = {"request": {"text": "x", "count": 1}, "text": "wrapped"}
    assert (await request(gateway, "POST", RPC, b'{"text":"x"}')).json() == expected
    result = web_result(await request(gateway, "POST", RPC, ONE, content_type=GRPC_WEB))
    assert EchoReply.FromString(result.messages[0]) == EchoReply(request={"text": "x", "count": 1}, text="wrapped")


async def test_interceptor_may_wrap_streams(make_gateway: MakeGateway) -> None:
    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)

        async def twice(received: Any, context: Any) -> Any:
            async for reply in handler.unary_stream(received, context):
                yield reply
                yield reply

        return grpc.unary_stream_rpc_method_handler(twice, handler.request_deserializer, handler.response_serializer)

    gateway = make_gateway(interceptors=[Interceptor(intercept)])
    path = f"/{SERVICE}/ServerStream"
    response = await request(gateway, "POST", path, frame(EchoRequest(count=2)), content_type=GRPC_WEB)
    assert len(web_result(response).messages) == 4
    response = await request(gateway, "POST", path, ONE[:-1], content_type=GRPC_WEB)
    assert web_result(response).status == 13


async def test_unknown_method_runs_the_interceptors_on_rpc_paths_alone(make_gateway: MakeGateway) -> None:
    seen: list[Any] = []

    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        seen.append((details.method, handler))
        return handler

    gateway = make_gateway(interceptors=[Interceptor(intercept)])
    assert web_result(await request(gateway, "POST", "/a.B/C", ONE, content_type=GRPC_WEB)).status == 12
    assert (await request(gateway, "POST", f"/{SERVICE}/Nope", b"{}")).status == 404
    assert seen == [("/a.B/C", None), (f"/{SERVICE}/Nope", None)]
    seen.clear()
    await request(gateway, "POST", "/a", ONE, content_type=GRPC_WEB)
    await request(gateway, "POST", "/a/b/c", ONE, content_type=GRPC_WEB)
    await request(gateway, "POST", "/a/b", b"{}")
    await request(gateway, "GET", f"/{SERVICE}/Nope")
    await request(gateway, "PUT", RPC, b"{}")
    await request(gateway, "POST", RPC, b"{}", content_type="text/plain")
    assert seen == []


@pytest.mark.logs_errors
async def test_interceptor_that_raises_is_unknown(make_gateway: MakeGateway, caplog: pytest.LogCaptureFixture) -> None:
    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        raise RuntimeError("secret")

    gateway = make_gateway(interceptors=[Interceptor(intercept)])
    response = await request(gateway, "POST", RPC, b"{}")
    assert (response.status, response.json()["code"]) == (500, 2)
    assert b"secret" not in response.body
    assert "secret" in caplog.text


async def test_interceptor_that_changes_a_unary_method_into_a_stream_is_served(make_gateway: MakeGateway) -> None:
    async def stream(received: Any, context: Any) -> Any:
        yield EchoReply(text="a")

    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_stream_rpc_method_handler(stream, EchoRequest.FromString, EchoReply.SerializeToString)

    gateway = make_gateway(interceptors=[Interceptor(intercept)])
    assert len(web_result(await request(gateway, "POST", RPC, ONE, content_type=GRPC_WEB)).messages) == 1


async def test_same_interceptor_sees_the_same_on_grpc_aio(servicer: EchoServicer) -> None:
    """The chain and the context of grpc.aio itself, beside the gateway's."""
    seen: list[Any] = []

    async def log(behaviour: Any, received: Any, context: Any) -> Any:
        before = (context.code(), context.details(), context.trailing_metadata(), context.cancelled(), context.done())
        context.set_trailing_metadata((("x-last", "1"),))
        try:
            return await behaviour(received, context)
        finally:
            metadata = {key: value for key, value in context.invocation_metadata() if key.startswith("x-")}
            seen.append((before, context.code(), context.details(), tuple(context.trailing_metadata()), metadata))

    async def intercept(continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        return unary_around(await continuation(details), log)

    async def unary(received: Any, context: Any) -> Any:
        if received.text:
            await context.abort(grpc.StatusCode.NOT_FOUND, received.text)
        return EchoReply()

    servicer.unary = unary
    gateway = Gateway(interceptors=[Interceptor(intercept)])
    server = grpc.aio.server(interceptors=[Interceptor(intercept)])
    add_EchoServicer_to_server(servicer, gateway)
    add_EchoServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(RPC, EchoRequest.SerializeToString, EchoReply.FromString)
        for text in ("", "nö"):
            outcome = call(EchoRequest(text=text), metadata=(("x-a", "1"), ("x-bin", b"\xff")))
            assert await outcome.code() is (grpc.StatusCode.NOT_FOUND if text else grpc.StatusCode.OK)
            headers = {"x-a": "1", "x-bin": "/w"}
            await request(gateway, "POST", RPC, frame(EchoRequest(text=text)), content_type=GRPC_WEB, headers=headers)
            native, web = seen
            assert web == native
            seen.clear()
    await server.stop(None)
