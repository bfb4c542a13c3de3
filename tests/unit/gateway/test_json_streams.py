"""Streams as newline-delimited JSON."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from gateway._content_coding import ContentDecoder, packed
from gateway._json_lines import LineReader
from gateway._status import Refused
from tests.unit.gateway.client import JSON, Response, request
from tests.unit.gateway.conftest import MakeGateway, Serve
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoServicer
from tests.unit.gateway.test_json import violation

LINES = "application/x-ndjson"


def lines(response: Response) -> list[Any]:
    assert response.status == 200, response.body
    assert response.header("content-type") == LINES
    assert response.header("content-length") is None
    assert response.body == b"" or response.body.endswith(b"\n")
    return [json.loads(line) for line in response.body.splitlines()]


def body_of(*messages: Any) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


# Replies.


async def test_each_message_of_a_reply_is_a_line_that_goes_out_by_itself(gateway: Any) -> None:
    response = await request(gateway, "GET", "/v1/stream/3?text=a")
    assert lines(response) == [{"result": {"text": f"a{number}"}} for number in range(3)]
    assert response.pieces == [b'{"result":{"text":"a%d"}}\n' % number for number in range(3)] + [b""]
    assert response.header("cache-control") == "no-store"


async def test_rpc_path_streams_too(gateway: Any) -> None:
    for content_type in (JSON, LINES):
        response = await request(gateway, "POST", f"/{SERVICE}/ServerStream", b'{"count":1}', content_type=content_type)
        assert lines(response) == [{"result": {"text": "0"}}]


async def test_stream_without_a_message_is_an_empty_body(gateway: Any) -> None:
    assert lines(await request(gateway, "GET", "/v1/stream/0")) == []


async def test_head_of_a_stream_has_no_body(gateway: Any) -> None:
    response = await request(gateway, "HEAD", "/v1/stream/3")
    assert (response.status, response.header("content-type"), response.body) == (200, LINES, b"")


async def test_error_before_the_first_message_has_its_status(gateway: Any, servicer: EchoServicer) -> None:
    assert violation(await request(gateway, "GET", "/v1/stream/x"))[0] == "count"
    assert violation(await request(gateway, "GET", "/v1/stream/1?nope=1"))[0] == "nope"
    assert servicer.calls == 0


@pytest.mark.parametrize("after", [0, 2])
async def test_error_is_a_status_before_the_first_message_and_the_last_line_after_it(
    make_gateway: MakeGateway, servicer: EchoServicer, after: int
) -> None:
    status = status_pb2.Status(code=14, message="läter")
    status.details.add().Pack(RetryInfo(retry_delay={"seconds": 3}))

    async def stream(received: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(after):
            yield EchoReply(big_number=number + 1)
        await context.abort_with_status(rpc_status.to_status(status))

    servicer.server_stream = stream
    response = await request(make_gateway(), "GET", "/v1/stream/1")
    error = {
        "code": 14,
        "message": "läter",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}],
    }
    if after:
        assert lines(response) == [{"result": {"bigNumber": "1"}}, {"result": {"bigNumber": "2"}}, {"error": error}]
    else:
        assert (response.status, response.json()) == (503, error)


@pytest.mark.logs_errors
async def test_exception_after_the_first_message_is_a_last_line_without_its_text(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def stream(received: Any, context: Any) -> AsyncIterator[Any]:
        yield EchoReply()
        raise RuntimeError("secret")

    servicer.server_stream = stream
    response = await request(make_gateway(), "GET", "/v1/stream/1")
    first, last = lines(response)
    assert (first, last["error"]["code"]) == ({"result": {}}, 2)
    assert b"secret" not in response.body


async def test_deadline_in_a_stream_is_a_last_line(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def stream(received: Any, context: Any) -> AsyncIterator[Any]:
        yield EchoReply()
        await asyncio.sleep(10)

    servicer.server_stream = stream
    response = await request(make_gateway(), "GET", "/v1/stream/1", headers={"grpc-timeout": "50m"})
    assert [next(iter(line)) for line in lines(response)] == ["result", "error"]
    assert lines(response)[1]["error"]["code"] == 4


async def test_initial_metadata_of_a_stream_are_headers(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def stream(received: Any, context: Any) -> AsyncIterator[Any]:
        await context.send_initial_metadata((("x-a", "1"),))
        yield EchoReply()

    servicer.server_stream = stream
    response = await request(make_gateway(), "GET", "/v1/stream/1")
    assert (response.header("x-a"), len(lines(response))) == ("1", 1)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_compressed_stream_is_readable_line_by_line(gateway: Any, coding: str) -> None:
    response = await request(gateway, "GET", "/v1/stream/3", headers={"accept-encoding": coding})
    assert response.header("content-encoding") == coding
    assert response.header("vary") == "Accept-Encoding"
    decoder = ContentDecoder(coding.encode())
    read = [b"".join(decoder.pieces(piece)) for piece in response.pieces]
    decoder.finish()
    assert read == [b'{"result":{"text":"%d"}}\n' % number for number in range(3)] + [b""]


# Requests.


@pytest.mark.parametrize("content_type", [JSON, LINES])
async def test_each_line_of_a_request_is_a_message(gateway: Any, content_type: str) -> None:
    body = body_of({"text": "a"}, {"text": "é"}, {})
    for path in ("/v1/join", f"/{SERVICE}/ClientStream"):
        response = await request(gateway, "POST", path, body, content_type=content_type)
        assert response.json() == {"text": "a,é,"}


@pytest.mark.parametrize(
    ("body", "joined"),
    [
        (b"", None),
        (b"\n\r\n", None),
        (b'{"text":"a"}', "a"),
        (b'{"text":"a"}\r\n\r\n {"text":"b"}', "a,b"),
        ([b'{"te', b'xt":"a"}\n{', b"}\n", b""], "a,"),
    ],
)
async def test_lines_are_cut_as_they_end(gateway: Any, body: Any, joined: str | None) -> None:
    response = await request(gateway, "POST", "/v1/join", body, content_type=JSON)
    assert response.json() == ({"text": joined} if joined is not None else {})


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_lines_can_be_compressed(gateway: Any, coding: str) -> None:
    body = packed(body_of({"text": "a"}, {"text": "b"}), coding.encode())
    for sent in (body, [body[at : at + 1] for at in range(len(body))]):
        response = await request(
            gateway, "POST", "/v1/join", sent, content_type=LINES, headers={"content-encoding": coding}
        )
        assert response.json() == {"text": "a,b"}
    response = await request(
        gateway, "POST", "/v1/join", body[:-1], content_type=LINES, headers={"content-encoding": coding}
    )
    assert (response.status, response.json()["code"]) == (400, 3)


async def test_path_goes_into_each_message(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    seen: list[tuple[str, int, int]] = []

    async def join(requests: AsyncIterator[Any], context: Any) -> Any:
        seen.extend([(each.text, each.count, each.inner.number) async for each in requests])
        return EchoReply()

    servicer.client_stream = join
    body = body_of({"number": 1}, {"number": 2})
    response = await request(make_gateway(), "POST", "/v1/join/x?count=3", body, content_type=JSON)
    assert response.status == 200
    assert seen == [("x", 3, 1), ("x", 3, 2)]


async def test_line_that_is_no_message_is_invalid(gateway: Any) -> None:
    response = await request(gateway, "POST", "/v1/join", body_of({}, {"nope": 1}), content_type=JSON)
    assert violation(response)[0] == "nope"
    response = await request(gateway, "POST", "/v1/join", b'{}\n{"text":', content_type=JSON)
    assert (response.status, response.json()["code"]) == (400, 3)


async def test_line_over_the_limit_is_413_before_its_end(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(max_message_bytes=100)
    body = body_of(*[{}] * 100)
    assert (await request(gateway, "POST", "/v1/join", body, content_type=JSON)).status == 200
    response = await request(gateway, "POST", "/v1/join", [b"{}\n", b" " * 101], content_type=JSON, unfinished=True)
    assert (response.status, response.json()["code"]) == (413, 8)


async def test_bidirectional_stream_has_lines_both_ways(gateway: Any) -> None:
    body = body_of({"text": "a"}, {"text": "b"})
    response = await request(gateway, "POST", "/v1/chat", body, content_type=LINES)
    assert lines(response) == [{"result": {"request": {"text": text}}} for text in "ab"]


async def test_streaming_request_of_a_rule_without_a_body_is_one_message(gateway: Any) -> None:
    response = await request(gateway, "GET", "/v1/chat/a?count=2")
    assert lines(response) == [{"result": {"request": {"text": "a", "count": 2}}}]


async def test_error_in_a_line_after_the_first_reply_is_the_last_line(gateway: Any) -> None:
    response = await request(gateway, "POST", "/v1/chat", body_of({}, {"nope": 1}), content_type=LINES)
    first, last = lines(response)
    assert first == {"result": {"request": {}}}
    assert (last["error"]["code"], last["error"]["message"]) == (3, "nope: is no field that is known here")


async def test_lines_go_both_ways_at_once_on_a_socket(gateway: Any, serve: Serve) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", await serve(gateway))
    writer.write(b"POST /v1/chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\n")
    writer.write(b"transfer-encoding: chunked\r\n\r\n")
    async with asyncio.timeout(5):
        for text in (b"a", b"b"):
            line = b'{"text":"%b"}\n' % text
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            received = await reader.readuntil(b'{"result":{"request":{"text":"%b"}}}\n' % text)
        writer.write(b"0\r\n\r\n")
        received = await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    assert b"error" not in received


@given(st.lists(st.binary(max_size=8).filter(lambda line: b"\n" not in line), max_size=20), st.integers(1, 9))
def test_lines_are_the_same_however_they_are_cut(given_lines: list[bytes], size: int) -> None:
    body = b"\n".join(given_lines)
    reader = LineReader(8)
    read = [line for at in range(0, len(body), size) for line in reader.feed(body[at : at + size])]
    read += reader.finish()
    assert read == [line for line in given_lines if line.strip(b" \t\r")]


def test_very_many_blank_lines_are_refused_but_not_among_others() -> None:
    reader = LineReader(10)
    assert len(list(reader.feed((b"{}" + b"\n" * 90) * 10))) == 10
    with pytest.raises(Refused) as raised:
        list(reader.feed(b"\n" * 200))
    assert raised.value.status.code is grpc.StatusCode.INVALID_ARGUMENT
