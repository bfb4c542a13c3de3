"""gRPC-Web to the letter: what sonora left open, each by the name of the behaviour."""

import asyncio
import base64
import gzip
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from tests.unit.gateway.client import GRPC_WEB, GRPC_WEB_TEXT, Result, frame, request, text_frame, web_result
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer

RPC = f"/{SERVICE}/Unary"
ONE = frame(EchoRequest(text="x"))


async def call(gateway: Any, body: Any = ONE, path: str = RPC, **options: Any) -> Result:
    return web_result(await request(gateway, "POST", path, body, content_type=GRPC_WEB, **options))


async def test_trailers_of_a_success_are_text_with_a_status(gateway: Any) -> None:
    assert (await call(gateway)).trailers == [("grpc-status", "0")]


async def test_trailers_of_a_success_carry_metadata_in_lower_case_and_binary_as_base64(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_trailing_metadata((("X-One", "1"), ("x-one", "2"), ("x-bin", b"\xff\xfe")))
        context.set_details("all well")
        return EchoReply()

    servicer.unary = unary
    result = await call(make_gateway())
    assert result.trailers == [
        ("grpc-status", "0"),
        ("grpc-message", "all well"),
        ("x-one", "1"),
        ("x-one", "2"),
        ("x-bin", "//4"),
    ]


@pytest.mark.parametrize("details", ["plain", "100%", "Käse 🧀", "two\r\nlines", "", "\ud800"])
async def test_message_of_an_error_is_percent_encoded_utf8(
    make_gateway: MakeGateway, servicer: EchoServicer, details: str
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, details)

    servicer.unary = unary
    result = await call(make_gateway())
    assert (result.status, result.messages) == (5, [])
    assert result.message == details.replace("\ud800", "?")


async def test_abort_takes_trailing_metadata(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.ABORTED, "no", (("x-one", "1"),))

    servicer.unary = unary
    assert (await call(make_gateway())).trailer("x-one") == "1"


async def test_abort_with_status_carries_its_details(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    status = status_pb2.Status(code=7, message="denied")
    status.details.add().Pack(ErrorInfo(reason="PERMISSION"))

    async def unary(received: Any, context: Any) -> Any:
        await context.abort_with_status(rpc_status.to_status(status))

    servicer.unary = unary
    result = await call(make_gateway())
    assert (result.status, result.message) == (7, "denied")
    encoded = result.trailer("grpc-status-details-bin") or ""
    assert not encoded.endswith("=")
    assert status_pb2.Status.FromString(base64.b64decode(encoded + "==")) == status


async def test_servicer_cannot_forge_the_status_by_metadata(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.ABORTED, "no", (("grpc-status", "0"), ("grpc-message", "yes")))

    servicer.unary = unary
    assert (await call(make_gateway())).trailers == [("grpc-status", "10"), ("grpc-message", "no")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 12),
        (b"\0", 13),
        (b"\0\0\0", 13),
        (ONE[:-1], 13),
        (ONE + ONE, 12),
        (ONE + b"\0", 12),
        (b"\x02" + ONE[1:], 13),
        (b"\x01" + ONE[1:], 13),
        (frame(b"\xff\xff\xff"), 3),
        (frame(b"\x0a\x02\xff\xfe"), 3),
        (frame(b"\x0a\x05a"), 3),
    ],
)
async def test_body_without_one_readable_message_is_refused_and_runs_nothing(
    gateway: Any, servicer: EchoServicer, body: bytes, status: int
) -> None:
    for sent in (body, [body[:2], b"", body[2:]]):
        result = await call(gateway, sent)
        assert (result.status, result.messages, servicer.calls) == (status, [], 0)


@pytest.mark.parametrize("body", [b"!!!!", b"AAAAAA", b"A", text_frame(EchoRequest())[:-2]])
async def test_text_that_cannot_be_read_is_refused_and_runs_nothing(
    gateway: Any, servicer: EchoServicer, body: bytes
) -> None:
    response = await request(gateway, "POST", RPC, body, content_type=GRPC_WEB_TEXT)
    assert web_result(response).status in (3, 13)
    assert servicer.calls == 0


async def test_message_in_many_pieces_is_read(gateway: Any) -> None:
    result = await call(gateway, [bytes([byte]) for byte in ONE])
    assert EchoReply.FromString(result.messages[0]).request.text == "x"


# Compression.


async def test_gzip_request_is_read(gateway: Any) -> None:
    packed = frame(gzip.compress(EchoRequest(text="zip").SerializeToString()), 1)
    result = await call(gateway, packed, headers={"grpc-encoding": "gzip"})
    assert EchoReply.FromString(result.messages[0]).request.text == "zip"
    result = await call(gateway, ONE, headers={"grpc-encoding": "gzip"})
    assert EchoReply.FromString(result.messages[0]).request.text == "x"


async def test_unknown_compression_is_unimplemented_and_names_what_is_known(
    gateway: Any, servicer: EchoServicer
) -> None:
    response = await request(gateway, "POST", RPC, ONE, content_type=GRPC_WEB, headers={"grpc-encoding": "snappy"})
    assert web_result(response).status == 12
    assert response.header("grpc-accept-encoding") == "identity, gzip"
    assert servicer.calls == 0


async def test_compressed_flag_without_an_encoding_is_internal(gateway: Any, servicer: EchoServicer) -> None:
    packed = frame(gzip.compress(b""), 1)
    assert (await call(gateway, packed)).status == 13
    assert (await call(gateway, packed, headers={"grpc-encoding": "identity"})).status == 13
    assert servicer.calls == 0


async def test_small_bomb_is_resource_exhausted(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    packed = frame(gzip.compress(b"\0" * 1_000_000), 1)
    result = await call(make_gateway(max_message_bytes=10_000), packed, headers={"grpc-encoding": "gzip"})
    assert (result.status, servicer.calls) == (8, 0)


async def test_reply_is_compressed_where_the_servicer_wants_it_and_the_caller_takes_it(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_compression(grpc.Compression.Gzip)
        if received.is_set:
            context.disable_next_message_compression()
        return EchoReply(text="a" * 1000)

    servicer.unary = unary
    gateway = make_gateway()
    response = await request(
        gateway, "POST", RPC, ONE, content_type=GRPC_WEB, headers={"grpc-accept-encoding": "deflate, gzip"}
    )
    assert (response.header("grpc-encoding"), response.body[0]) == ("gzip", 1)
    length = int.from_bytes(response.body[1:5], "big")
    assert EchoReply.FromString(gzip.decompress(response.body[5 : 5 + length])).text == "a" * 1000
    assert EchoReply.FromString((await call(gateway)).messages[0]).text == "a" * 1000
    plain = frame(EchoRequest(is_set=True))
    assert (await call(gateway, plain, headers={"grpc-accept-encoding": "gzip"})).messages


# Limits.


@pytest.mark.parametrize("content_type", [GRPC_WEB, GRPC_WEB_TEXT])
async def test_message_over_the_limit_is_resource_exhausted_while_it_is_received(
    make_gateway: MakeGateway, servicer: EchoServicer, content_type: str
) -> None:
    gateway = make_gateway(max_message_bytes=1000)
    body = b"\0\x00\x10\x00\x00" + b"a" * 2000
    sent = base64.b64encode(body) if "text" in content_type else body
    # The body never ends: whoever waits for its end hangs.
    for pieces in ([sent[:1500], sent[1500:]], [sent] * 3):
        response = await request(gateway, "POST", RPC, pieces, content_type=content_type, unfinished=True)
        assert web_result(response).status == 8
    response = await request(
        gateway, "POST", RPC, b"", content_type=content_type, headers={"content-length": "100000"}, unfinished=True
    )
    assert web_result(response).status == 8
    assert servicer.calls == 0


@pytest.mark.parametrize("content_type", [GRPC_WEB, GRPC_WEB_TEXT])
@pytest.mark.parametrize(("size", "status"), [(1000, 0), (1001, 8)])
async def test_limit_counts_the_message_alone(
    make_gateway: MakeGateway, content_type: str, size: int, status: int
) -> None:
    message = EchoRequest(data=b"a" * (size - 3))
    assert message.ByteSize() == size
    body = text_frame(message) if "text" in content_type else frame(message)
    response = await request(make_gateway(max_message_bytes=1000), "POST", RPC, body, content_type=content_type)
    assert web_result(response).status == status


@pytest.mark.parametrize("length", ["9" * 1000, "99999999999999999999999999", "1e9", "-1"])
async def test_absurd_content_length_is_harmless(gateway: Any, length: str) -> None:
    result = await call(gateway, b"", headers={"content-length": length})
    assert result.status in (8, 12)


# Failures.


@pytest.mark.logs_errors
async def test_exception_in_a_servicer_is_unknown_without_its_text(
    make_gateway: MakeGateway, servicer: EchoServicer, caplog: pytest.LogCaptureFixture
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        raise RuntimeError("the password is x")

    servicer.unary = unary
    result = await call(make_gateway())
    assert result.status == 2
    assert "password" not in str(result.trailers)
    assert "the password is x" in caplog.text


@pytest.mark.logs_errors
async def test_exception_after_a_code_was_set_ends_with_that_code(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        context.set_details("later")
        raise RuntimeError

    servicer.unary = unary
    result = await call(make_gateway())
    assert (result.status, result.message) == (14, "later")


async def test_method_that_a_servicer_leaves_out_is_unimplemented_without_an_error_in_the_log(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    def unary(received: Any, context: Any) -> Any:
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")

    servicer.unary = unary
    assert (await call(make_gateway())).status == 12


async def test_code_that_a_servicer_sets_discards_its_response(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        return EchoReply(text="x")

    servicer.unary = unary
    result = await call(make_gateway())
    assert (result.status, result.messages) == (5, [])


@pytest.mark.logs_errors
@pytest.mark.parametrize("wrong", [None, "text", EchoRequest()])
async def test_response_that_cannot_be_encoded_is_internal(
    make_gateway: MakeGateway, servicer: EchoServicer, wrong: Any
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        return wrong

    servicer.unary = unary
    gateway = make_gateway()
    if not isinstance(wrong, EchoRequest):
        result = await call(gateway)
        assert (result.status, result.messages) == (13, [])
    response = await request(gateway, "POST", RPC, b"{}")
    assert response.status in (200, 500)


async def test_unknown_method_leaves_the_connection_to_the_next_call(gateway: Any) -> None:
    assert (await call(gateway, path=f"/{SERVICE}/Nope")).status == 12
    assert (await call(gateway)).status == 0


# Streams.


async def test_server_stream_sends_each_message_when_it_is_there(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    sent: list[int] = []

    async def stream(received: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x-first", "1"),))
        for number in range(3):
            sent.append(number)
            yield EchoReply(text=str(number))
        context.set_trailing_metadata((("x-last", "2"),))

    servicer.server_stream = stream
    path = f"/{SERVICE}/ServerStream"
    response = await request(make_gateway(), "POST", path, ONE, content_type=GRPC_WEB)
    result = web_result(response)
    assert [EchoReply.FromString(each).text for each in result.messages] == ["0", "1", "2"]
    assert result.trailers == [("grpc-status", "0"), ("x-last", "2")]
    assert response.header("x-first") == "1"
    assert response.header("content-length") is None
    assert len(response.pieces) == 4


async def test_stream_in_text_pads_each_piece(gateway: Any) -> None:
    body = text_frame(EchoRequest(text="a", count=3))
    response = await request(gateway, "POST", f"/{SERVICE}/ServerStream", body, content_type=GRPC_WEB_TEXT)
    assert [EchoReply.FromString(each).text for each in web_result(response).messages] == ["a0", "a1", "a2"]
    assert all(len(piece) % 4 == 0 for piece in response.pieces)


@pytest.mark.parametrize("content_type", [GRPC_WEB, GRPC_WEB_TEXT])
@pytest.mark.parametrize("method", ["ServerStream", "Bidi"])
async def test_empty_stream_has_trailers_alone(gateway: Any, content_type: str, method: str) -> None:
    body: bytes = frame(EchoRequest()) if method == "ServerStream" else b""
    if "text" in content_type:
        body = base64.b64encode(body)
    response = await request(gateway, "POST", f"/{SERVICE}/{method}", body, content_type=content_type)
    result = web_result(response)
    assert (result.status, result.messages) == (0, [])


async def test_stream_that_fails_ends_with_its_status_after_its_messages(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def stream(received: Any, context: Any) -> Any:
        yield EchoReply(text="0")
        await context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    servicer.server_stream = stream
    result = await call(make_gateway(), path=f"/{SERVICE}/ServerStream")
    assert (len(result.messages), result.status, result.message) == (1, 15, "gone")


@pytest.mark.logs_errors
async def test_stream_that_raises_is_unknown_after_its_messages(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def stream(received: Any, context: Any) -> Any:
        yield EchoReply(text="0")
        raise RuntimeError("secret")

    servicer.server_stream = stream
    result = await call(make_gateway(), path=f"/{SERVICE}/ServerStream")
    assert (len(result.messages), result.status) == (1, 2)
    assert "secret" not in str(result)


async def test_stream_refused_before_its_first_message_has_a_status_alone(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    result = await call(make_gateway(), b"\0\0", path=f"/{SERVICE}/ServerStream")
    assert (result.status, result.messages, servicer.calls) == (13, [], 0)


async def test_stream_written_through_the_context_is_sent(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def stream(received: Any, context: Any) -> None:
        await context.write(EchoReply(text="0"))
        await context.write(EchoReply(text="1"))

    servicer.server_stream = stream
    result = await call(make_gateway(), path=f"/{SERVICE}/ServerStream")
    assert (len(result.messages), result.status) == (2, 0)


@pytest.mark.parametrize("content_type", [GRPC_WEB, GRPC_WEB_TEXT])
@pytest.mark.parametrize("size", [1, 4, 1000])
async def test_client_stream_reads_messages_as_they_are_cut(gateway: Any, content_type: str, size: int) -> None:
    make = text_frame if "text" in content_type else frame
    body = b"".join(make(EchoRequest(text=text)) for text in ("a", "bb", "ccc"))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    response = await request(gateway, "POST", f"/{SERVICE}/ClientStream", pieces, content_type=content_type)
    assert EchoReply.FromString(web_result(response).messages[0]).text == "a,bb,ccc"


async def test_client_stream_read_through_the_context_ends_with_eof(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def join(requests: Any, context: Any) -> Any:
        texts = []
        while (received := await context.read()) is not grpc.aio.EOF:
            texts.append(received.text)
        return EchoReply(text="+".join(texts))

    servicer.client_stream = join
    result = await call(make_gateway(), ONE + ONE, path=f"/{SERVICE}/ClientStream")
    assert EchoReply.FromString(result.messages[0]).text == "x+x"


async def test_bidirectional_stream_answers_each_message(gateway: Any) -> None:
    result = await call(gateway, [ONE, ONE[:3], ONE[3:]], path=f"/{SERVICE}/Bidi")
    assert [EchoReply.FromString(each).request.text for each in result.messages] == ["x", "x"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(ONE[:-1], 13), (b"\x80\0\0\0\0", 13), (frame(b"\xff"), 3), (b"\x01" + ONE[1:], 13), (b"\0\x7f\0\0\0", 8)],
)
async def test_request_stream_that_breaks_ends_the_call_with_its_status(gateway: Any, body: bytes, status: int) -> None:
    result = await call(gateway, ONE + body, path=f"/{SERVICE}/Bidi")
    assert result.status == status
    assert len(result.messages) <= 1
    result = await call(gateway, ONE + body, path=f"/{SERVICE}/ClientStream")
    assert (result.status, result.messages) == (status, [])


async def test_request_stream_has_no_limit_but_that_of_each_message(make_gateway: MakeGateway) -> None:
    body = frame(EchoRequest(data=b"a" * 90)) * 50
    result = await call(make_gateway(max_message_bytes=100), body, path=f"/{SERVICE}/Bidi")
    assert (result.status, len(result.messages)) == (0, 50)


async def test_request_stream_with_compressed_messages_is_read(gateway: Any) -> None:
    packed = frame(gzip.compress(EchoRequest(text="z").SerializeToString()), 1)
    result = await call(gateway, ONE + packed, path=f"/{SERVICE}/ClientStream", headers={"grpc-encoding": "gzip"})
    assert EchoReply.FromString(result.messages[0]).text == "x,z"


@pytest.mark.parametrize(
    ("method", "expected"), [("ServerStream", ["0", "1"]), ("Bidi", ["x"]), ("ClientStream", ["x"])]
)
async def test_synchronous_servicer_runs_in_a_thread(
    make_gateway: MakeGateway, servicer: EchoServicer, method: str, expected: list[str]
) -> None:
    def each(requests: Any, context: Any) -> Any:
        for received in requests:
            yield EchoReply(text=received.text)

    def count(received: Any, context: Any) -> Any:
        yield EchoReply(text="0")
        yield EchoReply(text="1")

    servicer.bidi, servicer.server_stream = each, count
    servicer.client_stream = lambda requests, context: EchoReply(text="".join(r.text for r in requests))
    result = await call(make_gateway(), path=f"/{SERVICE}/{method}")
    assert [EchoReply.FromString(message).text for message in result.messages] == expected


async def test_synchronous_servicer_can_abort(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    def unary(received: Any, context: Any) -> Any:
        assert context.is_active()
        assert context.add_callback(lambda: None)
        context.set_trailing_metadata((("x", "1"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "sync")

    servicer.unary = unary
    result = await call(make_gateway())
    assert (result.status, result.message, result.trailer("x")) == (5, "sync", "1")


async def test_many_calls_at_once_keep_apart(gateway: Any) -> None:
    bodies = [frame(EchoRequest(count=number)) for number in range(50)]
    results = await asyncio.gather(*(call(gateway, body) for body in bodies))
    assert [EchoReply.FromString(result.messages[0]).request.count for result in results] == list(range(50))
