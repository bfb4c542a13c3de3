"""The chain on a real grpc.aio server, with a servicer that fails in every way."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf import struct_pb2
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ResourceInfo
from structlog.testing import LogCapture

from gateway import EncodedOnce
from server.call import current_call
from server.domain.errors import DomainTaken, StoreUnavailable, Unauthenticated
from server.interceptors.access_log import AccessLog
from server.interceptors.drain import Drain
from server.interceptors.errors import Errors
from server.interceptors.layers import Layers
from server.interceptors.native_methods import NativeMethods

Value = struct_pb2.Value


class Servicer:
    """Does what the request's string says."""

    shared = EncodedOnce(Value(string_value="for all"))

    async def unary(self, request: Value, context: Any) -> Value | EncodedOnce[Value]:
        match request.string_value:
            case "taken":
                raise DomainTaken("a.example")
            case "unavailable":
                raise StoreUnavailable("disk full")
            case "unauthenticated":
                raise Unauthenticated("expired")
            case "bug":
                raise ZeroDivisionError("the secret of the exception")
            case "abort":
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "far out")
            case "slow":
                await asyncio.sleep(30)
            case "shared":
                return self.shared
            case "instance":
                current_call.get().asked_instance()
        current_call.get().user_id, current_call.get().instance_id = "user", "instance"
        return request

    async def unary_stream(self, request: Value, context: Any) -> AsyncIterator[Value]:
        yield request
        if request.string_value == "taken":
            raise DomainTaken("a.example")
        if request.string_value == "forever":
            await asyncio.sleep(30)
        yield request

    async def writing(self, request: Value, context: Any) -> None:
        await context.write(request)
        if request.string_value == "forever":
            await asyncio.sleep(30)

    async def stream_unary(self, requests: AsyncIterator[Value], context: Any) -> Value:
        return Value(number_value=len([request async for request in requests]))

    async def stream_stream(self, requests: AsyncIterator[Value], context: Any) -> AsyncIterator[Value]:
        async for request in requests:
            yield request


class Running:
    """The server's channel, and the chain it runs."""

    def __init__(self, channel: grpc.aio.Channel, drain: Drain) -> None:
        self.channel, self.drain = channel, drain

    def call(self, kind: str, request: Any, *, serializer: Any = Value.SerializeToString, **options: Any) -> Any:
        method = {"writing": "unary_stream", "none": "unary_unary"}.get(kind, kind)
        return getattr(self.channel, method)(f"/test.Test/{kind}", serializer, Value.FromString)(request, **options)


@pytest.fixture
def log() -> LogCapture:
    capture = LogCapture()
    structlog.configure(processors=[capture])
    return capture


@pytest.fixture
async def running(log: LogCapture) -> AsyncIterator[Running]:
    servicer = Servicer()
    codec: Any = {"request_deserializer": Value.FromString, "response_serializer": Value.SerializeToString}
    handlers: dict[str, Any] = {
        "unary_unary": grpc.unary_unary_rpc_method_handler(servicer.unary, **codec),
        "unary_stream": grpc.unary_stream_rpc_method_handler(servicer.unary_stream, **codec),
        "writing": grpc.unary_stream_rpc_method_handler(servicer.writing, **codec),
        "stream_unary": grpc.stream_unary_rpc_method_handler(servicer.stream_unary, **codec),
        "stream_stream": grpc.stream_stream_rpc_method_handler(servicer.stream_stream, **codec),
    }
    drain = Drain(["test.Test"])
    methods = NativeMethods(Layers([AccessLog(), Errors(), drain]), repeat_by=[], repeat_regardless_of=[])
    server = grpc.aio.server(handlers=[methods])
    methods.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Running(channel, drain)
    await server.stop(0)
    structlog.reset_defaults()


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def logged(log: LogCapture) -> MutableMapping[str, Any]:
    """Return the one line of a call, which is written once the reply is on its way."""
    async with asyncio.timeout(5):
        while not (entries := [entry for entry in log.entries if entry["event"] == "call"]):  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
    [entry] = entries
    return entry


def details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    trailers = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


async def test_a_reason_reaches_the_caller_with_its_details(running: Running) -> None:
    error = await failure(running.call("unary_unary", Value(string_value="taken")))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    status = details(error)
    assert (status.code, status.message) == (6, error.details())
    resource = ResourceInfo()
    assert status.details[0].Unpack(resource)
    assert resource.resource_name == "a.example"


async def test_a_bug_is_internal_with_an_id_that_the_log_has(running: Running, log: LogCapture) -> None:
    error = await failure(running.call("unary_unary", Value(string_value="bug")))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())
    [entry] = [entry for entry in log.entries if entry["event"] == "internal error"]
    assert entry["error_id"] in str(error.details())
    assert isinstance(entry["exc_info"], ZeroDivisionError)


async def test_asking_for_an_instance_that_nothing_authorized_is_a_bug(running: Running) -> None:
    error = await failure(running.call("unary_unary", Value(string_value="instance")))
    assert error.code() is grpc.StatusCode.INTERNAL


async def test_what_a_servicer_aborts_with_stays_as_it_is(running: Running) -> None:
    error = await failure(running.call("unary_unary", Value(string_value="abort")))
    assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "far out")


async def test_a_stream_that_fails_midway_has_its_reason_too(running: Running) -> None:
    call = running.call("unary_stream", Value(string_value="taken"))
    assert await call.read() == Value(string_value="taken")
    error = await failure(call.read())
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details(error).details


async def test_a_call_is_logged_once_with_all_that_is_known(running: Running, log: LogCapture) -> None:
    await running.call("unary_unary", Value(string_value="ok"), metadata=(("x-request-id", "Ab-1._"),))
    entry = await logged(log)
    assert entry.pop("duration_ms") >= 0
    assert entry.pop("peer").startswith("ipv4:127.0.0.1:")
    assert entry == {
        "event": "call", "log_level": "info", "method": "/test.Test/unary_unary", "protocol": "grpc", "code": "OK",
        "user_id": "user", "instance_id": "instance", "request_id": "Ab-1._",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ("taken", "ALREADY_EXISTS", None),
        ("unavailable", "UNAVAILABLE", "disk full"),
        ("unauthenticated", "UNAUTHENTICATED", "expired"),
        ("bug", "INTERNAL", None),
        ("abort", "OUT_OF_RANGE", None),
    ],
)
async def test_the_log_has_the_code_and_what_the_caller_must_not_read(
    running: Running, log: LogCapture, said: str, code: str, reason: str | None
) -> None:
    error = await failure(running.call("unary_unary", Value(string_value=said)))
    entry = await logged(log)
    assert (entry["code"], entry.get("reason")) == (code, reason)
    assert reason is None or reason not in str(error.details())


async def test_a_deadline_that_passes_is_logged_as_such(running: Running, log: LogCapture) -> None:
    error = await failure(running.call("unary_unary", Value(string_value="slow"), timeout=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    entry = await logged(log)
    assert entry["code"] == "DEADLINE_EXCEEDED"


async def test_a_caller_that_goes_away_is_logged_as_such(running: Running, log: LogCapture) -> None:
    call = running.call("unary_unary", Value(string_value="slow"))
    await asyncio.sleep(0.1)
    call.cancel()
    entry = await logged(log)
    assert entry["code"] == "CANCELLED"


async def test_an_rpc_that_is_not_served_is_logged(running: Running, log: LogCapture) -> None:
    error = await failure(running.call("none", Value()))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    entry = await logged(log)
    assert (entry["method"], entry["code"]) == ("/test.Test/none", "UNIMPLEMENTED")


@pytest.mark.parametrize("request_id", ["", "with space", "a" * 129, "sl/ash"])
async def test_a_request_id_that_is_not_acceptable_is_replaced(running: Running, request_id: str) -> None:
    call = running.call("unary_unary", Value(), metadata=(("x-request-id", request_id),))
    await call
    answered = dict(await call.trailing_metadata())["x-request-id"]
    assert answered != request_id
    assert len(answered) == 16


@pytest.mark.parametrize("said", ["ok", "taken"])
async def test_the_request_id_goes_out_again(running: Running, said: str) -> None:
    call = running.call("unary_unary", Value(string_value=said), metadata=(("x-request-id", "mine"),))
    if said != "ok":
        await failure(call)
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine"


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_message_that_does_not_parse_is_an_invalid_argument(
    running: Running, log: LogCapture, kind: str
) -> None:
    async def run() -> None:
        call = running.call(kind, b"\xff\xff", serializer=None)
        if kind == "unary_unary":
            await call
        else:
            [value async for value in call]

    error = await failure(run())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await logged(log))["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
async def test_so_is_one_in_a_stream_of_requests(running: Running, kind: str) -> None:
    async def run() -> None:
        call = running.call(kind, iter([Value().SerializeToString(), b"\xff\xff"]), serializer=None)
        if kind == "stream_unary":
            await call
        else:
            [value async for value in call]

    assert (await failure(run())).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_kind_of_call_passes_through_unchanged(running: Running) -> None:
    value = Value(string_value="ok")
    assert await running.call("unary_unary", value) == value
    assert [item async for item in running.call("unary_stream", value)] == [value, value]
    assert [item async for item in running.call("writing", value)] == [value]
    assert await running.call("stream_unary", iter([value] * 3)) == Value(number_value=3)
    assert [item async for item in running.call("stream_stream", iter([value] * 3))] == [value] * 3


async def test_a_response_that_calls_share_is_encoded_once(running: Running) -> None:
    for _ in range(2):
        assert await running.call("unary_unary", Value(string_value="shared")) == Servicer.shared.message
    # What nothing may change would show here if each call encoded it.
    [form] = Servicer.shared._encoded
    Servicer.shared._encoded[form] = Value(string_value="kept").SerializeToString()
    assert await running.call("unary_unary", Value(string_value="shared")) == Value(string_value="kept")


@pytest.mark.parametrize("kind", ["unary_stream", "writing"])
async def test_draining_ends_a_stream_at_once_and_well(running: Running, kind: str) -> None:
    call = running.call(kind, Value(string_value="forever"))
    assert await call.read() == Value(string_value="forever")
    running.drain.drain()
    async with asyncio.timeout(5):
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_that_comes_while_draining_ends_at_once(running: Running) -> None:
    running.drain.drain()
    async with asyncio.timeout(5):
        call = running.call("writing", Value(string_value="forever"))
        assert await call.code() is grpc.StatusCode.OK
