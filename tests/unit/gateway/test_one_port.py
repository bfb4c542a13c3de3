"""gRPC by grpcio's own client on the one port: callers are known, and served on the paths of the rules too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from tests.unit.gateway.conftest import MakeGateway, Serve
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer

Open = Callable[..., Awaitable[grpc.aio.Channel]]


class Recorder(grpc.aio.ServerInterceptor):
    """Notes what it is told of each call."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        self.methods.append(handler_call_details.method)
        return await continuation(handler_call_details)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def one(make_gateway: MakeGateway, serve: Serve, recorder: Recorder) -> AsyncIterator[Open]:
    """Serve the servicer as it is by then, and give a channel to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin() -> grpc.aio.Channel:
            port = await serve(make_gateway(interceptors=[recorder]))
            return await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))

        yield begin


def unary(channel: grpc.aio.Channel, path: str) -> Any:
    return channel.unary_unary(path, EchoRequest.SerializeToString, EchoReply.FromString)


@pytest.mark.parametrize(
    ("path", "rpc", "text"),
    [
        (f"/{SERVICE}/Get", "Get", "sent"),
        ("/v1/echo", "Unary", "sent"),
        ("/v1/items/abc", "Get", "abc"),
        ("/v1/items/a%20b%C3%BC", "Get", "a bü"),
        ("/v1/items/special", "Get", "sent"),
        ("/v1/items/abc:archive", "Archive", "abc"),
        ("/v1/shelves/1/books/2", "Shelf", "shelves/1/books/2"),
        ("/v1/files/a/b/c", "Tail", "a/b/c"),
    ],
)
async def test_a_rule_runs_its_rpc_with_what_the_path_names(
    one: Open, recorder: Recorder, path: str, rpc: str, text: str
) -> None:
    reply = await unary(await one(), path)(EchoRequest(text="sent", count=7))
    assert (reply.request.text, reply.request.count) == (text, 7)
    # To the interceptors a call is one of the RPC, whatever its path.
    assert recorder.methods == [f"/{SERVICE}/{rpc}"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/items", "/v1/items/abc/", "/", "/gateway.test.v1.Echo/Nothing"])
async def test_what_no_rule_matches_is_unimplemented(one: Open, path: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await unary(await one(), path)(EchoRequest())
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/v1/answer/many/COLOR_RED", "/v1/answer/1/COLOR_NONE", "/v1/items/%ff"])
async def test_a_capture_that_fits_no_field_is_invalid(one: Open, servicer: EchoServicer, path: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await unary(await one(), path)(EchoRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert servicer.calls == 0


async def test_streams_of_either_side_run_by_their_rules(one: Open) -> None:
    channel = await one()
    write, read = EchoRequest.SerializeToString, EchoReply.FromString
    served: Any = channel.unary_stream("/v1/stream/3", write, read)
    assert [reply.text async for reply in served(EchoRequest(text="n"))] == ["n0", "n1", "n2"]
    sent = [EchoRequest(text="a"), EchoRequest(text="b")]
    # The path names a field of each message.
    joined: Any = channel.stream_unary("/v1/join/first", write, read)
    assert (await joined(iter(sent))).text == "first,first"
    chat: Any = channel.stream_stream("/v1/chat", write, read)
    assert [reply.request.text async for reply in chat(iter(sent))] == ["a", "b"]


async def test_the_peer_is_the_tcp_peer(one: Open, servicer: EchoServicer) -> None:
    peers: list[str] = []

    async def note(request: Any, context: Any) -> Any:
        peers.append(context.peer())
        return EchoReply()

    servicer.unary = note
    channel = await one()
    await unary(channel, "/v1/echo")(EchoRequest())
    await unary(channel, "/v1/pong")(EchoRequest())
    host, _, port = peers[0].rpartition(":")
    assert host == "ipv4:127.0.0.1"
    assert 0 < int(port) < 1 << 16
    assert peers[0] == peers[1]


async def test_synchronous_servicers_and_those_that_write_are_served(one: Open, servicer: EchoServicer) -> None:
    def synchronous(request: Any, context: Any) -> Any:
        context.set_trailing_metadata((("peer", context.peer()),))
        return EchoReply(text="sync")

    async def writing(request: Any, context: Any) -> None:
        for number in range(2):
            await context.write(EchoReply(text=context.peer()[:4] + str(number)))

    servicer.unary, servicer.server_stream = synchronous, writing
    channel = await one()
    call = unary(channel, "/v1/ping")(EchoRequest())
    assert (await call).text == "sync"
    assert str(dict(iter(await call.trailing_metadata()))["peer"]).startswith("ipv4:127.0.0.1:")
    served: Any = channel.unary_stream("/v1/stream/1", EchoRequest.SerializeToString, EchoReply.FromString)
    assert [reply.text async for reply in served(EchoRequest())] == ["ipv40", "ipv41"]


async def test_large_messages_cross_whole_in_both_directions(one: Open) -> None:
    channel = await one()
    data = bytes(range(256)) * 14_000
    replies = await asyncio.gather(*(unary(channel, "/v1/echo")(EchoRequest(data=data)) for _ in range(3)))
    assert all(reply.request.data == data for reply in replies)


async def test_the_authority_is_seen(one: Open, servicer: EchoServicer) -> None:
    channel = await one()
    await unary(channel, "/v1/echo")(EchoRequest())
    metadata = dict(servicer.context.invocation_metadata())
    assert metadata[":authority"].startswith("127.0.0.1:")


async def test_calls_by_the_thousand_on_one_connection_are_all_answered(one: Open) -> None:
    channel = await one()
    call = unary(channel, f"/{SERVICE}/Unary")
    for _ in range(3):
        replies = await asyncio.gather(*(call(EchoRequest(count=number)) for number in range(2_000)))
        assert [reply.request.count for reply in replies] == list(range(2_000))
