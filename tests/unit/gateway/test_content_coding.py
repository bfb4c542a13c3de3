"""Content-Encoding of JSON requests, Accept-Encoding of their replies."""

import asyncio
import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._content_coding import (
    CODINGS,
    PIECE,
    WORTHWHILE,
    ContentDecoder,
    StreamPacker,
    choose,
    is_compressible,
    packed,
    unpacked,
)
from gateway._status import Refused
from tests.unit.gateway.client import JSON, Response, request
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import EchoReply, EchoServicer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ALL = [name.decode() for name in CODINGS.split(b", ")]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstd.compress,
    "br": brotli.compress,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "X-GZip": gzip.compress,
}
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstd.decompress,
    "br": brotli.decompress,
    "gzip": gzip.decompress,
}


async def post(gateway: Any, body: bytes, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await request(gateway, "POST", "/v1/echo", body, content_type=JSON, headers=named)


# Requests.


@pytest.mark.parametrize("coding", [*PACK, "identity", ""])
async def test_body_in_any_coding_is_read(gateway: Any, coding: str) -> None:
    body = json.dumps({"text": "é" * 5000}).encode()
    response = await post(gateway, PACK.get(coding, bytes)(body), content_encoding=coding)
    assert response.json() == {"request": {"text": "é" * 5000}}


@pytest.mark.parametrize("coding", ["deflate", "compress", "gzip, gzip", "gzip;q=1", "\xff"])
async def test_unknown_coding_is_415_and_names_those_that_are_known(
    gateway: Any, servicer: EchoServicer, coding: str
) -> None:
    response = await post(gateway, b"{}", content_encoding=coding)
    assert (response.status, response.json()["code"]) == (415, 3)
    assert response.header("accept-encoding") == "zstd, br, gzip"
    assert servicer.calls == 0


@pytest.mark.parametrize("coding", ALL)
@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: b"{}", lambda data: data + b"x", lambda data: data[:5]]
)
async def test_body_that_is_not_of_its_coding_is_invalid(
    gateway: Any, servicer: EchoServicer, coding: str, spoil: Callable[[bytes], bytes]
) -> None:
    response = await post(gateway, spoil(PACK[coding](b'{"text":"a"}')), content_encoding=coding)
    assert (response.status, response.json()["code"]) == (400, 3)
    assert coding in response.json()["message"]
    assert servicer.calls == 0


@pytest.mark.parametrize("coding", ALL)
async def test_small_bomb_is_413_and_costs_no_memory(
    make_gateway: MakeGateway, servicer: EchoServicer, coding: str
) -> None:
    bomb = PACK[coding](b" " * 50_000_000)
    gateway = make_gateway(max_message_bytes=100_000)
    assert len(bomb) < 60_000
    tracemalloc.start()
    response = await post(gateway, bomb, content_encoding=coding)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (response.status, response.json()["code"]) == (413, 8)
    assert peak < 2_000_000
    assert servicer.calls == 0


@pytest.mark.parametrize("coding", ALL)
async def test_body_that_unpacks_to_exactly_the_limit_is_read(make_gateway: MakeGateway, coding: str) -> None:
    gateway = make_gateway(max_message_bytes=1000)
    for padding, status in ((998, 200), (999, 413)):
        response = await post(gateway, PACK[coding](b" " * padding + b"{}"), content_encoding=coding)
        assert response.status == status


async def test_zstd_window_beyond_what_http_allows_is_refused(gateway: Any) -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    body = compressor.compress(b'{"text":"a"}') + compressor.flush()
    assert (await post(gateway, body, content_encoding="zstd")).status == 400


async def test_body_that_a_rule_does_not_take_is_not_unpacked(gateway: Any) -> None:
    response = await request(gateway, "POST", "/v1/pong", b"nonsense", headers={"content-encoding": "gzip"})
    assert response.status == 200


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_several_members_are_one_body_and_very_many_are_refused(coding: str) -> None:
    pack = PACK[coding]
    assert unpacked(pack(b"a") + pack(b"b"), ContentDecoder(coding.encode()), 10) == b"ab"
    with pytest.raises(Refused):
        unpacked(pack(b"") * 1000, ContentDecoder(coding.encode()), 10)


@given(st.sampled_from(ALL), st.binary(max_size=300), st.integers(1, 1000), st.integers(1, 50))
def test_body_unpacks_the_same_however_it_is_cut(coding: str, data: bytes, times: int, size: int) -> None:
    whole = data * times
    body = PACK[coding](whole)
    decoder = ContentDecoder(coding.encode())
    pieces = [piece for at in range(0, len(body), size) for piece in decoder.pieces(body[at : at + size])]
    decoder.finish()
    assert b"".join(pieces) == whole
    assert all(0 < len(piece) <= 2 * PIECE for piece in pieces)


@given(st.sampled_from(ALL), st.binary(max_size=100))
def test_any_bytes_unpack_or_are_refused(coding: str, body: bytes) -> None:
    code = None
    try:
        unpacked(body, ContentDecoder(coding.encode()), 1000)
    except Refused as refusal:
        code = refusal.status.code
    assert code in (None, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


# Replies.


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("zstd;q=0.5, gzip;q=0.9", "gzip"),
        ("zstd;q=0.5,gzip; q=0.5", "zstd"),
        ("br;q=1.000", "br"),
        ("identity, *;q=0.1", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity", None),
        ("", None),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("gzip;q=2", None),
        ("gzip;q=x", None),
        ("deflate", None),
        (",,;", None),
    ],
)
def test_reply_has_the_coding_that_the_caller_likes_best(accepted: str, coding: str | None) -> None:
    chosen = choose(accepted.encode())
    assert (None if chosen is None else chosen.decode()) == coding


@pytest.mark.parametrize("coding", ALL)
async def test_long_reply_is_compressed_as_accepted(gateway: Any, coding: str) -> None:
    body = json.dumps({"text": "a" * WORTHWHILE}).encode()
    response = await post(gateway, body, accept_encoding=coding)
    assert response.header("content-encoding") == coding
    assert response.header("vary") == "Accept-Encoding"
    assert json.loads(UNPACK[coding](response.body)) == {"request": {"text": "a" * WORTHWHILE}}
    assert len(response.body) < 200


async def test_short_reply_and_an_error_are_not_compressed_but_vary(gateway: Any) -> None:
    for body in (b"{}", b'{"nope":1}'):
        response = await post(gateway, body, accept_encoding="gzip")
        assert response.header("content-encoding") is None
        assert response.header("vary") == "Accept-Encoding"
        assert response.json()


async def test_servicer_can_turn_compression_off(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        if received.text:
            context.set_compression(grpc.Compression.NoCompression)
        else:
            context.disable_next_message_compression()
        return EchoReply(text="a" * WORTHWHILE)

    servicer.unary = unary
    gateway = make_gateway()
    for body in (b"{}", b'{"text":"a"}'):
        response = await post(gateway, body, accept_encoding="gzip")
        assert response.header("content-encoding") is None
        assert response.json() == {"text": "a" * WORTHWHILE}


async def test_vary_names_the_origin_as_well_where_origins_are_listed(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(cors_origins=["https://a.test"])
    response = await post(gateway, b"{}", origin="https://a.test")
    assert response.header("vary") == "Accept-Encoding, Origin"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"application/json", True),
        (b"application/json; charset=utf-8", True),
        (b"Text/HTML;charset=utf-8", True),
        (b"image/svg+xml", True),
        (b"application/problem+json", True),
        (b"image/png", False),
        (b"application/zip", False),
        (b"application/octet-stream", False),
        (b"", False),
    ],
)
def test_types_that_shrink_are_compressed(content_type: bytes, expected: bool) -> None:
    assert is_compressible(content_type) is expected


@given(st.sampled_from(ALL), st.binary(max_size=3000))
def test_what_is_packed_can_be_unpacked(coding: str, data: bytes) -> None:
    assert UNPACK[coding](packed(data, coding.encode())) == data


@given(st.sampled_from(ALL), st.lists(st.binary(min_size=1, max_size=200), max_size=6))
def test_each_piece_of_a_packed_stream_is_readable_when_it_arrives(coding: str, pieces: list[bytes]) -> None:
    packer = StreamPacker(coding.encode())
    decoder = ContentDecoder(coding.encode())
    for piece in pieces:
        assert b"".join(decoder.pieces(packer.pack(piece))) == piece
    assert b"".join(decoder.pieces(packer.finish())) == b""
    decoder.finish()


async def test_bomb_in_a_stream_of_lines_leaves_the_loop_to_others(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    gateway = make_gateway()
    task = asyncio.create_task(others())
    body = zlib.compress(b"{}\n" * 20_000, wbits=31)
    response = await request(gateway, "POST", "/v1/join", body, content_type=JSON, headers={"content-encoding": "gzip"})
    task.cancel()
    assert response.status == 200
    assert turns >= 200


@pytest.mark.parametrize("body", [b"\n" * 10_000_000, b" " * 10_000_000])
async def test_bomb_of_blanks_in_a_stream_is_refused(make_gateway: MakeGateway, body: bytes) -> None:
    gateway = make_gateway(max_message_bytes=1_000_000)
    headers = {"content-encoding": "gzip"}
    response = await request(gateway, "POST", "/v1/join", gzip.compress(body), content_type=JSON, headers=headers)
    assert response.status in (400, 413)
