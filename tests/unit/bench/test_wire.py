"""A reply is looked at before anything is measured."""

import json
import struct

import pytest
from google.protobuf.json_format import MessageToJson

from tests.bench import wire
from tests.bench.wire import GRPC_WEB, JSON, Wrong

REPLY = wire.instance_of("Acme", 2)


def framed(flags: int, content: bytes) -> bytes:
    return struct.pack(">BI", flags, len(content)) + content


@pytest.mark.parametrize(
    "trailers", [b"grpc-status: 0\r\n", b"grpc-status:0\r\ngrpc-message:\r\n", b"b'grpc-status': b'0'\r\n"]
)
def test_a_reply_of_grpc_web_is_read_also_with_the_trailers_of_sonora(trailers: bytes) -> None:
    assert GRPC_WEB.decode is not None
    body = framed(0, REPLY.SerializeToString()) + framed(0x80, trailers)
    assert GRPC_WEB.decode(body) == REPLY


@pytest.mark.parametrize(
    "body",
    [
        framed(0x80, b"grpc-status: 16\r\n"),
        framed(0, REPLY.SerializeToString()),
        framed(0, REPLY.SerializeToString()) + framed(0x80, b"grpc-status: 13\r\n"),
        framed(0, REPLY.SerializeToString()) + framed(0x80, b"grpc-message: grpc-status\r\n"),
    ],
)
def test_an_error_of_grpc_web_is_no_reply(body: bytes) -> None:
    assert GRPC_WEB.decode is not None
    with pytest.raises(Wrong):
        GRPC_WEB.decode(body)


def test_a_reply_in_json_is_read() -> None:
    assert JSON.decode is not None
    assert JSON.decode(MessageToJson(REPLY).encode()) == REPLY
    with pytest.raises(Wrong):
        JSON.decode(json.dumps({"code": 16}).encode())
