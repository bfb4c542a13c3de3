"""google.api.HttpBody: bytes of any type as body and as reply of a rule."""

import asyncio
import base64
import gzip
import json

import pytest

from gateway import Gateway
from tests.unit.gateway.client import GRPC_WEB, JSON, frame, request, web_result
from tests.unit.gateway.conftest import Serve
from tests.unit.gateway.files import SERVICE, Document, FilesServicer, HttpBody, add_FilesServicer_to_server

PNG = b"\x89PNG\r\n\x1a\n\0\xff"


@pytest.fixture
def files() -> FilesServicer:
    return FilesServicer()


@pytest.fixture
def gateway(files: FilesServicer) -> Gateway:
    gateway = Gateway(max_message_bytes=1000)
    add_FilesServicer_to_server(files, gateway)
    return gateway


@pytest.mark.parametrize("path", ["/files/a", "/open/a"])
async def test_reply_is_the_data_with_their_own_type(gateway: Gateway, files: FilesServicer, path: str) -> None:
    files.file = HttpBody(content_type="image/png", data=PNG)
    response = await request(gateway, "GET", path)
    assert (response.status, response.body) == (200, PNG)
    assert response.header("content-type") == "image/png"
    assert response.header("cache-control") == "no-store"


async def test_reply_without_a_type_is_bytes(gateway: Gateway, files: FilesServicer) -> None:
    files.file = HttpBody(data=b"")
    response = await request(gateway, "GET", "/files/a")
    assert (response.body, response.header("content-type")) == (b"", "application/octet-stream")


async def test_head_has_type_and_length_and_no_data(gateway: Gateway) -> None:
    response = await request(gateway, "HEAD", "/files/a")
    assert (response.header("content-type"), response.header("content-length")) == ("text/plain", "5")
    assert response.body == b""


async def test_error_of_a_call_for_data_is_json(gateway: Gateway) -> None:
    response = await request(gateway, "GET", "/files/absent")
    assert (response.status, response.json()["message"]) == (404, "no such file")


@pytest.mark.logs_errors
@pytest.mark.parametrize("content_type", ["text/plain\r\nset-cookie: a=b", "text/plain\n", "é", " text"])
async def test_headers_cannot_be_forged_by_a_content_type(
    gateway: Gateway, files: FilesServicer, content_type: str
) -> None:
    files.file = HttpBody(content_type=content_type)
    response = await request(gateway, "GET", "/files/a")
    assert (response.status, response.json()["code"]) == (500, 13)


@pytest.mark.parametrize("content_type", ["image/png", "text/csv; charset=latin1", JSON, "a/b; c=d", "nonsense", None])
async def test_body_is_the_data_whatever_its_type(
    gateway: Gateway, files: FilesServicer, content_type: str | None
) -> None:
    response = await request(gateway, "PUT", "/files/a?size=3", PNG, content_type=content_type)
    assert response.json() == {"name": "a", "size": len(PNG)}
    (received,) = files.requests
    expected = HttpBody(content_type=content_type or "", data=PNG)
    assert received == Document(name="a", file=expected, size=3)


async def test_whole_message_can_be_the_data_both_ways(gateway: Gateway) -> None:
    response = await request(gateway, "POST", "/mirror", PNG, content_type="image/png")
    assert (response.header("content-type"), response.body) == ("image/png", PNG)
    response = await request(gateway, "POST", "/mirror", b"", content_type="image/png")
    assert (response.header("content-type"), response.body) == ("image/png", b"")


async def test_data_over_the_limit_are_413(gateway: Gateway) -> None:
    assert (await request(gateway, "POST", "/mirror", b"x" * 1001, content_type="image/png")).status == 413


async def test_data_can_be_compressed_both_ways_where_they_shrink(gateway: Gateway) -> None:
    headers = {"content-encoding": "gzip", "accept-encoding": "gzip"}
    text = b"a" * 1000
    response = await request(
        gateway, "POST", "/mirror", gzip.compress(text), content_type="text/plain", headers=headers
    )
    assert (response.body, response.header("content-encoding")) == (text, None)
    big = Gateway()
    add_FilesServicer_to_server(FilesServicer(), big)
    for content_type, coding in (("text/plain", "gzip"), ("image/png", None)):
        body = gzip.compress(text * 2)
        response = await request(big, "POST", "/mirror", body, content_type=content_type, headers=headers)
        assert response.header("content-encoding") == coding
        assert (gzip.decompress(response.body) if coding else response.body) == text * 2


async def test_rpc_path_has_the_message_as_json(gateway: Gateway) -> None:
    body = json.dumps({"contentType": "image/png", "data": base64.b64encode(PNG).decode()}).encode()
    response = await request(gateway, "POST", f"/{SERVICE}/Mirror", body, content_type=JSON)
    assert response.json() == json.loads(body)
    response = await request(gateway, "POST", f"/{SERVICE}/Mirror", PNG, content_type="image/png")
    assert response.status == 415


async def test_grpc_web_has_the_message(gateway: Gateway, files: FilesServicer) -> None:
    response = await request(gateway, "POST", "/files/a", frame(b""), content_type=GRPC_WEB)
    assert web_result(response).messages == [files.file.SerializeToString()]


# Streams.


async def test_pieces_of_a_stream_follow_each_other_with_the_type_of_the_first(
    gateway: Gateway, files: FilesServicer
) -> None:
    response = await request(gateway, "GET", "/follow/a")
    assert response.header("content-type") == "text/plain"
    assert response.pieces == [b"hallo", b"hallo", b"hallo", b""]


async def test_stream_that_fails_at_once_has_a_status_and_a_later_failure_cuts_it_off(
    gateway: Gateway, files: FilesServicer
) -> None:
    files.fails_after = 0
    response = await request(gateway, "GET", "/follow/a")
    assert (response.status, response.json()["message"]) == (500, "gone")
    files.fails_after = 2
    with pytest.raises(AssertionError, match="the reply has no end"):
        await request(gateway, "GET", "/follow/a")


@pytest.mark.logs_errors  # the host says that the reply was left without an end
async def test_caller_sees_that_a_stream_was_cut_off(gateway: Gateway, files: FilesServicer, serve: Serve) -> None:
    files.fails_after = 2
    port = await serve(gateway)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /follow/a HTTP/1.1\r\nhost: a\r\n\r\n")
    async with asyncio.timeout(5):
        received = await reader.read()
    writer.close()
    assert received.count(b"hallo") == 2
    assert b"transfer-encoding: chunked" in received.lower()
    assert not received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("coding", [None, "gzip"])
async def test_body_of_a_streaming_request_is_a_message_a_piece(
    gateway: Gateway, files: FilesServicer, coding: str | None
) -> None:
    sent: list[bytes] = [PNG, b"", b"x" * 2500]
    headers = {}
    if coding:
        sent = [gzip.compress(b"".join(sent))]
        headers["content-encoding"] = coding
    response = await request(gateway, "POST", "/append/a?size=1", sent, content_type="image/png", headers=headers)
    assert response.json() == {"size": len(PNG) + 2500}
    assert all(each.name == "a" and each.size == 1 for each in files.requests)
    assert all(each.file.content_type == "image/png" for each in files.requests)
    assert max(len(each.file.data) for each in files.requests) == 1000


async def test_streaming_request_without_data_is_one_message(gateway: Gateway, files: FilesServicer) -> None:
    response = await request(gateway, "POST", "/append/a", b"", content_type="image/png")
    assert response.json() == {}
    assert files.requests == [Document(name="a", file=HttpBody(content_type="image/png"))]


async def test_compressed_stream_of_text_is_readable_piece_by_piece(gateway: Gateway) -> None:
    response = await request(gateway, "GET", "/follow/a", headers={"accept-encoding": "gzip"})
    assert response.header("content-encoding") == "gzip"
    assert gzip.decompress(response.body) == b"hallo" * 3
