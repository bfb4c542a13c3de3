"""The Connect protocol on the wire; that calls mean the same as through the other protocols is in test_matrix.py."""

import asyncio
import base64
import gzip
import json
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import status_pb2

from gateway import Gateway
from tests.unit.gateway.callers import CONNECT_CODES, enveloped
from tests.unit.gateway.client import GRPC_WEB, JSON, Response, frame, request, web_result
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer

RPC = f"/{SERVICE}/Unary"
PROTO = "application/proto"
VERSION = {"connect-protocol-version": "1"}


def urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def end_of(response: Response) -> Any:
    """Give what ends a stream."""
    assert response.status == 200, (response.status, response.body)
    flags, payload = enveloped(response.body)[-1]
    assert flags == 2
    return json.loads(payload)


def error_of(response: Response) -> Any:
    """Give the error of a unary call, whose HTTP status must be that of its code."""
    error = response.json()
    assert response.status == CONNECT_CODES[error["code"]][1]
    return error


# What is Connect.


async def test_json_on_an_rpc_path_is_connect_when_the_request_says_so(gateway: Any, servicer: EchoServicer) -> None:
    response = await request(gateway, "POST", RPC, b'{"count": "x"}', content_type=JSON, headers=VERSION)
    assert error_of(response)["code"] == "invalid_argument"
    response = await request(gateway, "POST", RPC, b'{"count": "x"}', content_type=JSON)
    assert response.json()["code"] == 3
    await request(gateway, "POST", RPC, b"{}", content_type=f"{JSON}; charset=utf-8", headers=VERSION)
    assert servicer.context.protocol == "connect"
    await request(gateway, "POST", RPC, b"{}", content_type=JSON)
    assert servicer.context.protocol == "json"


async def test_json_on_the_path_of_a_rule_stays_plain_json(gateway: Any, servicer: EchoServicer) -> None:
    await request(gateway, "POST", "/v1/echo", b"{}", content_type=JSON, headers=VERSION)
    assert servicer.context.protocol == "json"


@pytest.mark.parametrize("path", [RPC, "/v1/echo", "/v1/items/x:archive", "/v1/ping"])
async def test_proto_is_connect_on_every_path(gateway: Any, servicer: EchoServicer, path: str) -> None:
    response = await request(gateway, "POST", path, EchoRequest(text="x").SerializeToString(), content_type=PROTO)
    assert (response.status, response.header("content-type")) == (200, PROTO)
    assert EchoReply.FromString(response.body).request.text == "x"
    assert servicer.context.protocol == "connect"


async def test_get_of_a_rule_answers_in_proto_where_accept_says_so(gateway: Any) -> None:
    response = await request(gateway, "GET", "/v1/items/x?count=2", headers={"accept": PROTO})
    assert EchoReply.FromString(response.body).request == EchoRequest(text="x", count=2)


@pytest.mark.parametrize("content_type", [PROTO, JSON])
async def test_other_version_is_invalid(gateway: Any, content_type: str) -> None:
    headers = {"connect-protocol-version": "2"}
    response = await request(gateway, "POST", RPC, b"{}", content_type=content_type, headers=headers)
    assert error_of(response)["code"] == "invalid_argument"


async def test_headers_of_the_protocol_are_no_metadata(gateway: Any, servicer: EchoServicer) -> None:
    headers = {**VERSION, "connect-timeout-ms": "5000", "connect-accept-encoding": "gzip", "x-own": "1"}
    await request(gateway, "POST", RPC, b"", content_type=PROTO, headers=headers)
    assert servicer.context.invocation_metadata() == ((":authority", "echo.test:8080"), ("x-own", "1"))


# Unary.


async def test_empty_body_is_an_empty_message_and_never_decompressed(gateway: Any) -> None:
    for headers in ({}, {"content-encoding": "gzip"}):
        response = await request(gateway, "POST", RPC, content_type=PROTO, headers=headers)
        assert EchoReply.FromString(response.body) == EchoReply(request=EchoRequest())


async def test_error_has_code_message_details_and_their_json(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    known = any_pb2.Any()
    known.Pack(EchoRequest(text="why", big=7))
    unknown = any_pb2.Any(type_url="type.googleapis.com/no.such.Type", value=b"\xff")
    status = status_pb2.Status(code=5, message="nicht da", details=[known, unknown])

    async def unary(received: Any, context: Any) -> Any:
        trailing = (("grpc-status-details-bin", status.SerializeToString()), ("x-last", "1"))
        await context.abort(grpc.StatusCode.NOT_FOUND, "nicht da: ü\n", trailing)

    servicer.unary = unary
    response = await request(make_gateway(), "POST", RPC, content_type=PROTO)
    assert response.status == 404
    assert response.json() == {
        "code": "not_found",
        "message": "nicht da: ü\n",
        "details": [
            {
                "type": "gateway.test.v1.EchoRequest",
                "value": base64.b64encode(known.value).decode().rstrip("="),
                "debug": {"text": "why", "big": "7"},
            },
            {"type": "no.such.Type", "value": "/w"},
        ],
    }
    assert response.header("trailer-x-last") == "1"
    assert response.header("trailer-grpc-status-details-bin") is None


async def test_detail_of_a_well_known_type_has_its_json(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    detail = any_pb2.Any()
    detail.Pack(duration_pb2.Duration(seconds=1))
    status = status_pb2.Status(code=14, details=[detail])

    async def unary(received: Any, context: Any) -> Any:
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "", trailing)

    servicer.unary = unary
    error = error_of(await request(make_gateway(), "POST", RPC, content_type=PROTO))
    assert error["details"] == [{"type": "google.protobuf.Duration", "value": "CAE", "debug": {"value": "1s"}}]
    assert "message" not in error


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_every_code_has_its_name_and_its_http_status(
    make_gateway: MakeGateway, servicer: EchoServicer, code: grpc.StatusCode
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(code, "no")

    servicer.unary = unary
    response = await request(make_gateway(), "POST", RPC, content_type=PROTO)
    assert CONNECT_CODES[error_of(response)["code"]][0] == code.value[0]
    assert (response.header("www-authenticate") is not None) == (code is grpc.StatusCode.UNAUTHENTICATED)


@pytest.mark.parametrize(
    ("encoding", "data", "code"),
    [
        ("br", b"x", "unimplemented"),
        ("gzip", b"x", "invalid_argument"),
        ("gzip", gzip.compress(b"x" * 100)[:-9], "invalid_argument"),
        ("gzip", gzip.compress(bytes(5 * 1024 * 1024)), "resource_exhausted"),
        ("identity", b"\xff", "invalid_argument"),
    ],
)
async def test_body_that_cannot_be_read(
    gateway: Any, servicer: EchoServicer, encoding: str, data: bytes, code: str
) -> None:
    headers = {"content-encoding": encoding}
    response = await request(gateway, "POST", RPC, data, content_type=PROTO, headers=headers)
    assert error_of(response)["code"] == code
    assert servicer.calls == 0


@pytest.mark.parametrize(
    ("headers", "compressed"),
    [
        ({}, False),
        ({"accept-encoding": "br, gzip"}, True),
        ({"accept-encoding": "gzip;q=0.5"}, True),
        ({"accept-encoding": "GZIP"}, True),
        ({"accept-encoding": "gzip;q=0"}, False),
        ({"accept-encoding": "identity"}, False),
        ({"content-encoding": "gzip"}, True),
        ({"content-encoding": "gzip", "accept-encoding": "identity"}, False),
    ],
)
async def test_reply_is_compressed_where_the_servicer_wants_it_and_the_caller_takes_it(
    make_gateway: MakeGateway, servicer: EchoServicer, headers: dict[str, str], *, compressed: bool
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_compression(grpc.Compression.Gzip)
        return EchoReply(text="x")

    servicer.unary = unary
    response = await request(make_gateway(), "POST", RPC, content_type=PROTO, headers=headers)
    assert response.header("content-encoding") == ("gzip" if compressed else None)
    body = gzip.decompress(response.body) if compressed else response.body
    assert EchoReply.FromString(body).text == "x"


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "12345678901", "1m"])
async def test_timeout_that_is_not_one_to_ten_digits_is_invalid(gateway: Any, value: str) -> None:
    headers = {"connect-timeout-ms": value}
    response = await request(gateway, "POST", RPC, content_type=PROTO, headers=headers)
    assert error_of(response)["code"] == "invalid_argument"


async def test_timeout_is_in_milliseconds(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    gateway = make_gateway()
    for value, seconds in (("1500", 1.5), ("9999999999", 9999999.999)):
        await request(gateway, "POST", RPC, content_type=PROTO, headers={"connect-timeout-ms": value})
        assert seconds - 1 < servicer.context.time_remaining() <= seconds

    async def unary(received: Any, context: Any) -> Any:
        await asyncio.sleep(5)

    servicer.unary = unary
    response = await request(make_gateway(), "POST", RPC, content_type=PROTO, headers={"connect-timeout-ms": "20"})
    assert error_of(response)["code"] == "deadline_exceeded"


# What is refused as an HTTP request has no body.


@pytest.mark.parametrize("headers", [{}, VERSION])
async def test_unknown_path_is_404(gateway: Any, headers: dict[str, str]) -> None:
    for path in ("/no.such.Service/Method", f"/{SERVICE}/Nope"):
        for content_type in (PROTO, "application/connect+proto", "application/connect+json"):
            response = await request(gateway, "POST", path, content_type=content_type, headers=headers)
            assert (response.status, response.body) == (404, b"")
    response = await request(gateway, "POST", f"/{SERVICE}/Nope", b"{}", content_type=JSON, headers=VERSION)
    assert (response.status, response.body) == (404, b"")


async def test_method_that_is_not_allowed_is_405(gateway: Any) -> None:
    response = await request(gateway, "DELETE", RPC, b"x", content_type=PROTO, headers=VERSION)
    assert (response.status, response.body, response.header("allow")) == (405, b"", "POST, OPTIONS")


@pytest.mark.parametrize(
    ("content_type", "method"),
    [
        ("application/foo", "Unary"),
        ("application/connect+foo", "Bidi"),
        ("application/connect+proto", "Unary"),
        ("application/connect+json", "Unary"),
        (PROTO, "Bidi"),
        (PROTO, "ServerStream"),
        (JSON, "ClientStream"),
    ],
)
async def test_other_media_type_is_415_and_names_those_that_are_served(
    gateway: Any, servicer: EchoServicer, content_type: str, method: str
) -> None:
    response = await request(gateway, "POST", f"/{SERVICE}/{method}", b"x", content_type=content_type, headers=VERSION)
    assert (response.status, response.body) == (415, b"")
    served = "application/proto" if method == "Unary" else "application/connect+proto"
    assert served in (response.header("accept-post") or "").split(", ")
    assert servicer.calls == 0


# GET.


GET = f"/{SERVICE}/Get"
MESSAGE = EchoRequest(text="a?b/c+d&é", count=3)
ZIPPED = urlsafe(gzip.compress(MESSAGE.SerializeToString()))
AS_JSON = '{"text": "a?b/c+d&é", "count": 3}'


@pytest.mark.parametrize(
    ("query", "codec"),
    [
        (f"connect=v1&encoding=json&message={quote(AS_JSON)}", "json"),
        (f"message={quote(AS_JSON)}&encoding=json&connect=v1&other=1", "json"),
        (f"connect=v1&base64=0&encoding=json&message={quote(AS_JSON)}", "json"),
        (f"connect=v1&base64=1&encoding=json&message={urlsafe(AS_JSON.encode())}", "json"),
        (f"connect=v1&base64=1&encoding=proto&message={urlsafe(MESSAGE.SerializeToString())}", "proto"),
        (f"connect=v1&base64=1&compression=gzip&encoding=proto&message={ZIPPED}", "proto"),
        (f"connect=v1&compression=identity&encoding=json&message={quote(AS_JSON)}", "json"),
        (f"connect=v1&base64=1&encoding=proto&message={quote(base64.b64encode(b'').decode())}", "proto"),
    ],
)
async def test_get_carries_its_message_in_the_query(
    gateway: Any, servicer: EchoServicer, query: str, codec: str
) -> None:
    response = await request(gateway, "GET", f"{GET}?{query}")
    assert (response.status, response.header("content-type")) == (200, f"application/{codec}"), response.body
    assert (response.header("cache-control"), response.header("vary")) == ("no-store", "Accept-Encoding")
    got = response.json()["request"] if codec == "json" else EchoReply.FromString(response.body).request
    assert got in ({"text": MESSAGE.text, "count": 3}, MESSAGE, EchoRequest())
    assert servicer.context.protocol == "connect"


async def test_padding_of_the_message_may_stand_or_be_left_out(gateway: Any) -> None:
    data = base64.urlsafe_b64encode(EchoRequest(text="xx").SerializeToString()).decode()
    assert data.endswith("=")
    for text in (quote(data), data.rstrip("=")):
        response = await request(gateway, "GET", f"{GET}?connect=v1&base64=1&encoding=proto&message={text}")
        assert EchoReply.FromString(response.body).request.text == "xx"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("encoding=json", "invalid_argument"),
        ("encoding=json&message=", "invalid_argument"),
        ("encoding=json&message=%ff", "invalid_argument"),
        ("encoding=json&base64=1&message=%2b%2f", "invalid_argument"),
        ("encoding=json&base64=1&message=a", "invalid_argument"),
        ("encoding=proto&message=%ff", "invalid_argument"),
        ("encoding=proto&message=x&compression=br", "unimplemented"),
        ("encoding=proto&message=x&compression=gzip", "invalid_argument"),
    ],
)
async def test_query_that_cannot_be_read(gateway: Any, servicer: EchoServicer, query: str, code: str) -> None:
    response = await request(gateway, "GET", f"{GET}?connect=v1&{query}")
    assert error_of(response)["code"] == code
    assert servicer.calls == 0


@pytest.mark.parametrize("encoding", ["", "&encoding=foo", "&encoding="])
async def test_get_with_another_encoding_is_415(gateway: Any, encoding: str) -> None:
    response = await request(gateway, "GET", f"{GET}?connect=v1&message=x{encoding}")
    assert (response.status, response.body) == (415, b"")


async def test_get_of_an_rpc_with_side_effects_is_405(gateway: Any, servicer: EchoServicer) -> None:
    # ServerStream is marked as free of them, but streams.
    for method in ("Unary", "ServerStream"):
        response = await request(gateway, "GET", f"/{SERVICE}/{method}?connect=v1&encoding=json&message=%7B%7D")
        assert (response.status, response.header("allow"), response.body) == (405, "POST, OPTIONS", b"")
    assert servicer.calls == 0


async def test_get_that_does_not_say_it_is_connect_is_not(gateway: Any) -> None:
    for query in ("encoding=json&message=%7B%7D", "connect=v2&message=%7B%7D", "x=connect=v1"):
        response = await request(gateway, "GET", f"{GET}?{query}")
        assert (response.status, response.json()["code"]) == (405, 12)
    response = await request(gateway, "GET", "/v1/items/x?connect=v1")
    assert (response.status, response.json()["code"]) == (400, 3)


async def test_head_gives_the_headers_of_get(gateway: Any) -> None:
    target = f"{GET}?connect=v1&encoding=json&message=%7B%7D"
    got, head = await request(gateway, "GET", target), await request(gateway, "HEAD", target)
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")


# Streams.


STREAM = "application/connect+proto"


async def test_stream_ends_with_an_envelope_of_json(gateway: Any) -> None:
    body = frame(EchoRequest(text="n", count=2))
    response = await request(gateway, "POST", f"/{SERVICE}/ServerStream", body, content_type=STREAM)
    assert [EchoReply.FromString(each).text for _, each in enveloped(response.body)[:-1]] == ["n0", "n1"]
    assert enveloped(response.body)[-1] == (2, b"{}")
    assert response.header("content-type") == STREAM
    assert response.header("connect-accept-encoding") == "gzip"


async def test_stream_whose_metadata_repeat_a_key_lists_its_values(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def stream(received: Any, context: Any) -> Any:
        context.set_trailing_metadata((("x", "1"), ("x-bin", b"\xff"), ("x", "2")))
        yield EchoReply()

    servicer.server_stream = stream
    response = await request(
        make_gateway(), "POST", f"/{SERVICE}/ServerStream", frame(EchoRequest()), content_type=STREAM
    )
    assert end_of(response) == {"metadata": {"x": ["1", "2"], "x-bin": ["/w"]}}


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"", {}, "unimplemented"),
        (frame(EchoRequest()) * 2, {}, "unimplemented"),
        (frame(b"x", 1), {}, "internal"),
        (frame(b"x", 1), {"connect-content-encoding": "identity"}, "internal"),
        (frame(b"x", 2), {}, "internal"),
        (frame(b"x" * 9)[:-1], {}, "internal"),
        (frame(b"\xff"), {}, "invalid_argument"),
        (frame(b""), {"connect-content-encoding": "br"}, "unimplemented"),
        (b"\0\xff\xff\xff\xff", {}, "resource_exhausted"),
        (frame(b""), {"connect-timeout-ms": "x"}, "invalid_argument"),
        (frame(b""), {"connect-protocol-version": "2"}, "invalid_argument"),
    ],
)
async def test_stream_that_cannot_be_read_ends_with_its_error(
    gateway: Any, servicer: EchoServicer, body: bytes, headers: dict[str, str], code: str
) -> None:
    response = await request(gateway, "POST", f"/{SERVICE}/ServerStream", body, content_type=STREAM, headers=headers)
    assert end_of(response)["error"]["code"] == code
    assert servicer.calls == 0


async def test_stream_is_full_duplex(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    sent: list[bytes] = []
    asked = asyncio.Queue[bytes]()
    asked.put_nowait(frame(EchoRequest(text="0")))

    async def receive() -> dict[str, Any]:
        body = await asked.get()
        return {"type": "http.request", "body": body, "more_body": bool(body)}

    async def send(event: Any) -> None:
        if event["type"] == "http.response.body" and event["body"]:
            flags, payload = enveloped(event["body"])[0]
            sent.append(payload)
            if flags == 0:
                asked.put_nowait(b"" if len(sent) == 3 else frame(EchoRequest(text=str(len(sent)))))

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{SERVICE}/Bidi",
        "headers": [(b"content-type", STREAM.encode())],
    }
    async with asyncio.timeout(5):
        await make_gateway()(scope, receive, send)
    assert [EchoReply.FromString(each).request.text for each in sent[:3]] == ["0", "1", "2"]
    assert sent[3:] == [b"{}"]


# Around it.


async def test_browser_may_send_and_read_the_headers_of_connect(gateway: Gateway) -> None:
    headers = {"origin": "http://a", "access-control-request-method": "POST"}
    allowed = (await request(gateway, "OPTIONS", RPC, headers=headers)).header("access-control-allow-headers") or ""
    assert {"connect-protocol-version", "connect-timeout-ms", "content-encoding"} <= set(allowed.split(", "))
    exposed = (await request(gateway, "POST", RPC, content_type=PROTO, headers={"origin": "http://a"})).header(
        "access-control-expose-headers"
    ) or ""
    assert {"content-encoding", "connect-content-encoding"} <= set(exposed.split(", "))


async def test_connect_header_changes_nothing_for_grpc_web(gateway: Any) -> None:
    response = await request(gateway, "POST", RPC, frame(EchoRequest()), content_type=GRPC_WEB, headers=VERSION)
    assert web_result(response).status == 0
