"""gRPC itself, on hosts that offer trailers; that calls mean the same as elsewhere is in test_matrix.py."""

import asyncio
import gzip
import json
from typing import Any

import grpc
import pytest

from gateway import Gateway
from tests.unit.gateway.callers import NATIVE, enveloped, text_pairs
from tests.unit.gateway.client import JSON, Response, frame, request
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer

GRPC = "application/grpc"
RPC = f"/{SERVICE}/Unary"
TE = {"te": "trailers"}


async def call(gateway: Any, path: str, body: Any, content_type: str = GRPC, **headers: str) -> Response:
    return await request(
        gateway, "POST", path, body, content_type=content_type, headers={**TE, **headers}, scope=NATIVE
    )


def status_of(response: Response) -> int:
    assert response.status == 200
    assert response.trailers is not None
    return int(dict(text_pairs(response.trailers))["grpc-status"])


@pytest.mark.parametrize("path", [RPC, "/v1/echo", "/v1/items/x:archive", "/v1/ping"])
@pytest.mark.parametrize("content_type", [GRPC, f"{GRPC}+proto", f"{GRPC}+json"])
async def test_call_ends_in_trailers(gateway: Any, servicer: EchoServicer, path: str, content_type: str) -> None:
    body = frame(b'{"text": "x"}' if "json" in content_type else EchoRequest(text="x"))
    response = await call(gateway, path, body, content_type)
    assert (response.status, response.header("content-type")) == (200, content_type)
    assert response.header("grpc-status") is None
    assert response.trailers == [(b"grpc-status", b"0")]
    ((flags, payload),) = enveloped(response.body)
    if "json" in content_type:
        assert json.loads(payload) == {"request": {"text": "x"}}
    else:
        assert EchoReply.FromString(payload).request.text == "x"
    assert flags == 0
    assert servicer.context.protocol == "grpc"
    assert ("te", "trailers") not in servicer.context.invocation_metadata()


async def test_failed_call_is_headers_an_empty_body_and_trailers(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nicht da: ü%", (("x-last", "1"), ("x-bin", b"\xff")))

    servicer.unary = unary
    response = await call(make_gateway(), RPC, frame(EchoRequest()))
    assert (response.status, response.pieces) == (200, [b""])
    assert response.trailers == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"nicht da: %C3%BC%25"),
        (b"x-last", b"1"),
        (b"x-bin", b"/w"),
    ]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 12),
        (frame(EchoRequest()) * 2, {}, 12),
        (frame(b"x", 1), {}, 13),
        (frame(b"x", 1), {"grpc-encoding": "identity"}, 13),
        (frame(b"x", 0x80), {}, 13),
        (frame(b"x" * 9)[:-1], {}, 13),
        (frame(b"\xff"), {}, 3),
        (frame(b""), {"grpc-encoding": "br"}, 12),
        (frame(b""), {"grpc-timeout": "1x"}, 3),
        (b"\0\xff\xff\xff\xff", {}, 8),
        (frame(gzip.compress(bytes(5 * 1024 * 1024)), 1), {"grpc-encoding": "gzip"}, 8),
    ],
)
@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
async def test_request_that_cannot_be_read(
    gateway: Any, servicer: EchoServicer, *, method: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert status_of(await call(gateway, f"/{SERVICE}/{method}", body, **headers)) == status
    assert servicer.calls == 0


async def test_reply_is_compressed_where_the_servicer_wants_it_and_the_caller_takes_it(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_compression(grpc.Compression.Gzip)
        return EchoReply(text="x")

    servicer.unary = unary
    for accepted, flag in (("identity,deflate,gzip", 1), ("identity", 0)):
        headers = {"grpc-accept-encoding": accepted}
        response = await call(make_gateway(), RPC, frame(EchoRequest()), **headers)
        ((flags, payload),) = enveloped(response.body)
        assert (flags, response.header("grpc-encoding")) == (flag, "gzip" if flag else None)
        assert EchoReply.FromString(gzip.decompress(payload) if flag else payload).text == "x"


@pytest.mark.parametrize("path", [f"/{SERVICE}/Nope", "/no.such.Service/Method", "/nope"])
async def test_unknown_path_is_unimplemented(gateway: Any, path: str) -> None:
    assert status_of(await call(gateway, path, frame(EchoRequest()))) == 12


async def test_method_that_is_not_allowed_is_405(gateway: Any) -> None:
    response = await request(gateway, "DELETE", RPC, frame(b""), content_type=GRPC, headers=TE, scope=NATIVE)
    assert (response.status, response.header("allow"), response.body) == (405, "POST, OPTIONS", b"")


@pytest.mark.parametrize("path", [RPC, "/nope"])
@pytest.mark.parametrize("te", [{}, {"te": "gzip"}])
async def test_caller_that_takes_no_trailers_is_refused(
    gateway: Any, servicer: EchoServicer, path: str, te: dict[str, str]
) -> None:
    response = await request(gateway, "POST", path, frame(b""), content_type=GRPC, headers=te, scope=NATIVE)
    assert (response.status, response.body, response.trailers) == (400, b"", None)
    assert servicer.calls == 0


@pytest.mark.parametrize("extensions", [None, {}, {"http.response.push": {}}])
async def test_host_without_trailers_serves_no_grpc(gateway: Any, extensions: Any) -> None:
    scope = {"extensions": extensions}
    response = await request(gateway, "POST", RPC, frame(b""), content_type=GRPC, headers=TE, scope=scope)
    assert (response.status, response.body) == (415, b"")
    offered = (response.header("accept-post") or "").split(", ")
    assert GRPC not in offered
    assert {"application/grpc-web", "application/proto", JSON} <= set(offered)


async def test_accept_of_grpc_decides_nothing_on_a_host_without_trailers(gateway: Gateway) -> None:
    response = await request(gateway, "GET", "/v1/ping", headers={"accept": GRPC, **TE})
    assert response.header("content-type") == JSON


async def test_host_with_trailers_lists_grpc_among_what_it_takes(gateway: Gateway) -> None:
    response = await request(gateway, "POST", RPC, b"x", content_type="text/plain", scope=NATIVE)
    assert {GRPC, f"{GRPC}+json"} <= set((response.header("accept-post") or "").split(", "))


async def test_stream_is_full_duplex(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    events: list[Any] = []
    asked = asyncio.Queue[bytes]()
    asked.put_nowait(frame(EchoRequest(text="0")))

    async def receive() -> dict[str, Any]:
        body = await asked.get()
        return {"type": "http.request", "body": body, "more_body": bool(body)}

    async def send(event: Any) -> None:
        events.append(event)
        if event["type"] == "http.response.body" and event["body"]:
            asked.put_nowait(b"" if len(events) == 4 else frame(EchoRequest(text=str(len(events)))))

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{SERVICE}/Bidi",
        "headers": [(b"content-type", GRPC.encode()), (b"te", b"trailers")],
        **NATIVE,
    }
    async with asyncio.timeout(5):
        await make_gateway()(scope, receive, send)
    start, *bodies, end, trailers = events
    assert start["trailers"] is True
    texts = [EchoReply.FromString(enveloped(each["body"])[0][1]).request.text for each in bodies]
    assert texts == ["0", "2", "3"]
    assert (end["body"], end.get("more_body", False)) == (b"", False)
    assert trailers["headers"] == [(b"grpc-status", b"0")]
