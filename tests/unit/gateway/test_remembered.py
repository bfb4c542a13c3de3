"""What the gateway keeps from call to call never shows."""

from gateway import EncodedOnce, Gateway
from tests.unit.gateway.client import request
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoServicer, add_EchoServicer_to_server

RPC = f"/{SERVICE}/Unary"


async def test_a_service_that_is_added_late_is_served(servicer: EchoServicer) -> None:
    gateway = Gateway()
    grpc_web = "application/grpc-web+proto"
    before = await request(gateway, "POST", RPC, b"\0\0\0\0\0", content_type=grpc_web)
    assert b"grpc-status: 12" in before.body
    add_EchoServicer_to_server(servicer, gateway)
    after = await request(gateway, "POST", RPC, b"\0\0\0\0\0", content_type=grpc_web)
    assert b"grpc-status: 0" in after.body


async def test_very_many_ways_to_write_a_content_type_are_not_kept(gateway: Gateway) -> None:
    for number in range(1100):
        response = await request(gateway, "POST", RPC, b"{}", content_type=f"application/json; q={number}")
        assert response.status == 200
    assert len(gateway._found) <= 1024


async def test_the_same_path_is_another_thing_in_every_media_type(gateway: Gateway) -> None:
    for _ in range(2):
        for content_type, status in (("application/json", 200), ("text/plain", 415), ("application/grpc-web", 200)):
            body = b"\0\0\0\0\0" if "grpc" in content_type else b"{}"
            response = await request(gateway, "POST", RPC, body, content_type=content_type)
            assert response.status == status
            expected = content_type if status == 200 else "application/json"
            assert dict(response.headers)[b"content-type"].decode().startswith(expected)


async def test_a_response_for_many_calls_is_encoded_once_for_each_format(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    shared = EncodedOnce(EchoReply(text="for all"))

    async def unary(received: object, context: object) -> EncodedOnce[EchoReply]:
        return shared

    servicer.unary = unary
    gateway = make_gateway()
    bodies: dict[str, set[bytes]] = {}
    for _ in range(3):
        for content_type in (
            "application/json",
            "application/grpc-web",
            "application/grpc-web-text",
            "application/proto",
        ):
            body = b"{}" if content_type == "application/json" else b"" if content_type == "application/proto" else None
            if body is None:
                body = b"AAAAAAA=" if "text" in content_type else b"\0\0\0\0\0"
            connect = {"connect-protocol-version": "1"} if content_type == "application/proto" else {}
            response = await request(gateway, "POST", RPC, body, content_type=content_type, headers=connect)
            assert response.status == 200
            bodies.setdefault(content_type, set()).add(response.body)
    assert [len(each) for each in bodies.values()] == [1, 1, 1, 1]
    assert bodies["application/json"] == {b'{"text":"for all"}'}
    assert bodies["application/proto"] == {shared.message.SerializeToString()}
    assert len(shared._encoded) == 4
