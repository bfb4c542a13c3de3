"""Each media type on each kind of path: what is spoken and what is called are independent."""

import base64
import json
from typing import Any

import grpc
import pytest

from gateway import BadRule, Clash, Gateway
from tests.unit.gateway.client import GRPC_WEB, GRPC_WEB_TEXT, JSON, Response, frame, request, text_frame, web_result
from tests.unit.gateway.echo import (
    SERVICE,
    EchoReply,
    EchoRequest,
    EchoServicer,
    add_EchoServicer_to_server,
    service_with_rules,
)

RPC = f"/{SERVICE}/Unary"
WEB_TYPES = ["application/grpc-web", GRPC_WEB]
TEXT_TYPES = [GRPC_WEB_TEXT, f"{GRPC_WEB_TEXT}+proto"]


def replied(response: Response) -> Any:
    """Read one successful reply of any protocol."""
    if response.header("content-type") == JSON:
        assert response.status == 200, response.body
        return response.json().get("request", {})
    result = web_result(response)
    assert (result.status, len(result.messages)) == (0, 1), result
    message = EchoReply.FromString(result.messages[0]).request
    return {"text": message.text} if message.text else {}


@pytest.mark.parametrize("path", [RPC, "/v1/echo"])
@pytest.mark.parametrize("content_type", [*WEB_TYPES, *TEXT_TYPES, JSON, f"{JSON}; charset=utf-8", "Application/JSON"])
async def test_every_media_type_is_served_on_the_rpc_path_and_the_http_path(
    gateway: Gateway, path: str, content_type: str
) -> None:
    message = EchoRequest(text="hallo")
    body = b'{"text": "hallo"}' if "json" in content_type.lower() else frame(message)
    if "text" in content_type:
        body = text_frame(message)
    response = await request(gateway, "POST", path, body, content_type=content_type)
    assert replied(response) == {"text": "hallo"}
    assert response.header("content-type") == content_type.partition(";")[0].lower()
    assert response.header("cache-control") == "no-store"


@pytest.mark.parametrize("path", [RPC, "/v1/echo", "/v1/items/hallo:archive"])
@pytest.mark.parametrize("content_type", ["application/grpc-web+json", f"{GRPC_WEB_TEXT}+json"])
async def test_grpc_web_carries_messages_as_json_too(gateway: Gateway, path: str, content_type: str) -> None:
    text = "text" in content_type
    body = b'{"text": "hallo", "big": "7"}'
    sent = text_frame(body) if text else frame(body)
    response = await request(gateway, "POST", path, sent, content_type=content_type)
    result = web_result(response)
    assert (result.status, response.header("content-type")) == (0, content_type)
    assert [json.loads(message) for message in result.messages] == [{"request": {"text": "hallo", "big": "7"}}]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"nope": 1}', b'{"big": "x"}'])
async def test_grpc_web_json_that_does_not_fit_is_invalid(
    gateway: Gateway, servicer: EchoServicer, body: bytes
) -> None:
    for method in ("Unary", "ServerStream", "ClientStream", "Bidi"):
        response = await request(
            gateway, "POST", f"/{SERVICE}/{method}", frame(body), content_type="application/grpc-web+json"
        )
        assert web_result(response).status == 3


@pytest.mark.parametrize("content_type", [*WEB_TYPES, *TEXT_TYPES])
async def test_grpc_web_post_to_the_path_of_a_get_rule_runs_its_rpc(gateway: Gateway, content_type: str) -> None:
    body = text_frame(EchoRequest()) if "text" in content_type else frame(EchoRequest())
    assert replied(await request(gateway, "POST", "/v1/ping", body, content_type=content_type)) == {}


@pytest.mark.parametrize("accept", [*WEB_TYPES, *TEXT_TYPES])
async def test_get_without_body_answers_as_accept_says(gateway: Gateway, accept: str) -> None:
    response = await request(gateway, "GET", "/v1/items/x", headers={"accept": accept})
    assert replied(response) == {"text": "x"}
    assert response.header("content-type") == accept


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("text/html, */*;q=0.8", JSON),
        ("application/json, text/plain, */*", JSON),
        (f"{JSON}, {GRPC_WEB}", JSON),
        (f"{GRPC_WEB}, {JSON}", GRPC_WEB),
        (f"{JSON};q=0.5, {GRPC_WEB};q=0.6", GRPC_WEB),
        (f"{GRPC_WEB};q=0, {JSON}", JSON),
        (f"{GRPC_WEB};q=x", JSON),
        ("application/grpc-web+proto;q=1.0", GRPC_WEB),
        ("", JSON),
    ],
)
async def test_accept_decides_by_weight_then_order_else_json(
    gateway: Gateway, accept: str | None, media_type: str
) -> None:
    response = await request(gateway, "GET", "/v1/ping", headers={} if accept is None else {"accept": accept})
    assert response.header("content-type") == media_type


async def test_get_that_names_a_content_type_and_another_in_accept_answers_as_accept_says(gateway: Gateway) -> None:
    response = await request(gateway, "GET", "/v1/ping", content_type=JSON, headers={"accept": GRPC_WEB})
    assert response.header("content-type") == GRPC_WEB


async def test_post_without_a_body_and_a_content_type_answers_as_accept_says(gateway: Gateway) -> None:
    response = await request(gateway, "POST", "/v1/pong", headers={"accept": GRPC_WEB})
    assert replied(response) == {}
    assert response.header("content-type") == GRPC_WEB


async def test_content_type_decides_over_accept_where_there_is_a_body(gateway: Gateway) -> None:
    response = await request(gateway, "POST", RPC, b"{}", content_type=JSON, headers={"accept": GRPC_WEB})
    assert response.header("content-type") == JSON


async def test_body_without_a_content_type_is_json(gateway: Gateway) -> None:
    assert replied(await request(gateway, "POST", RPC, b'{"text":"x"}')) == {"text": "x"}


async def test_path_wins_over_the_message_in_grpc_web(gateway: Gateway) -> None:
    body = frame(EchoRequest(text="body"))
    assert replied(await request(gateway, "POST", "/v1/items/path:archive", body, content_type=GRPC_WEB)) == {
        "text": "path"
    }


async def test_reply_is_never_of_the_type_that_accept_merely_lists(gateway: Gateway) -> None:
    response = await request(
        gateway, "POST", RPC, frame(EchoRequest()), content_type=GRPC_WEB, headers={"accept": "*/*"}
    )
    assert response.header("content-type") == GRPC_WEB


async def test_get_without_body_carries_its_message_in_path_and_query(gateway: Gateway) -> None:
    response = await request(gateway, "GET", "/v1/items/x?count=3", headers={"accept": GRPC_WEB})
    assert EchoReply.FromString(web_result(response).messages[0]).request == EchoRequest(text="x", count=3)


async def test_bodyless_grpc_web_call_of_a_rule_that_needs_a_body_has_no_message(gateway: Gateway) -> None:
    response = await request(gateway, "POST", "/v1/echo", headers={"accept": GRPC_WEB})
    assert web_result(response).status == 12


# What cannot be served.


async def test_unknown_path_is_404_in_json(gateway: Gateway) -> None:
    for method, path in (("GET", "/nope"), ("POST", "/a/b"), ("POST", "/"), ("GET", f"/{SERVICE}/Nope")):
        response = await request(gateway, method, path, b"{}" if method == "POST" else b"")
        assert (response.status, response.json()["code"], response.json()["details"]) == (404, 5, [])


async def test_unknown_method_of_a_known_service_is_404_in_json(gateway: Gateway) -> None:
    response = await request(gateway, "POST", f"/{SERVICE}/Nope", b"{}", content_type=JSON)
    assert (response.status, response.json()["code"]) == (404, 5)


@pytest.mark.parametrize("content_type", [GRPC_WEB, GRPC_WEB_TEXT])
@pytest.mark.parametrize("path", [f"/{SERVICE}/Nope", "/no.such.Service/Method", "/nope", "/v1/nope/at/all"])
async def test_unknown_path_is_unimplemented_in_grpc_web(gateway: Gateway, content_type: str, path: str) -> None:
    response = await request(gateway, "POST", path, frame(EchoRequest()), content_type=content_type)
    assert web_result(response).status == 12
    assert response.header("content-type") == content_type


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", RPC, "POST, OPTIONS"),
        ("HEAD", RPC, "POST, OPTIONS"),
        ("PUT", "/v1/ping", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/ping", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/items/x", "GET, HEAD, DELETE, OPTIONS"),
        ("GET", "/v1/items/x:archive", None),
        ("DELETE", "/v1/echo", "POST, OPTIONS"),
        ("BREW", "/v1/echo", "POST, OPTIONS"),
    ],
)
async def test_method_not_allowed_is_405_with_allow(
    gateway: Gateway, method: str, path: str, allow: str | None
) -> None:
    response = await request(gateway, method, path)
    if allow is None:
        # The capture takes `x:archive` whole, so that GET does match.
        assert response.status == 200
        return
    assert response.status == 405
    assert response.header("allow") == allow
    if method != "HEAD":
        assert response.json()["code"] == 12


async def test_method_not_allowed_carries_no_status_in_grpc_web(gateway: Gateway) -> None:
    response = await request(gateway, "PUT", RPC, frame(EchoRequest()), content_type=GRPC_WEB)
    assert (response.status, response.body, response.header("allow")) == (405, b"", "POST, OPTIONS")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "application/json; charset=utf-16", "nonsense", "", ";"]
)
async def test_other_media_type_is_415(gateway: Gateway, servicer: EchoServicer, content_type: str) -> None:
    response = await request(gateway, "POST", RPC, b"{}", content_type=content_type)
    assert (response.status, json.loads(response.body)["code"]) == (415, 3)
    assert "application/json" in (response.header("accept-post") or "")
    assert servicer.calls == 0


@pytest.mark.parametrize(
    ("path", "content_type"), [(RPC, "application/json; charset=utf-8"), ("/v1/echo", "application/json")]
)
async def test_415_of_an_rpc_path_is_not_taken_for_an_error_of_connect(
    gateway: Gateway, path: str, content_type: str
) -> None:
    response = await request(gateway, "POST", path, b"x", content_type="image/jpeg")
    assert (response.status, response.header("content-type")) == (415, content_type)


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "application/grpc-web+xml"])
@pytest.mark.parametrize("path", [RPC, "/v1/echo", "/nope"])
async def test_grpc_media_type_that_is_not_served_is_415_without_a_body(
    gateway: Gateway, content_type: str, path: str
) -> None:
    response = await request(gateway, "POST", path, frame(EchoRequest()), content_type=content_type)
    assert (response.status, response.body) == (415, b"")


async def test_head_gives_the_headers_of_get_and_no_body(gateway: Gateway) -> None:
    got = await request(gateway, "GET", "/v1/items/x")
    head = await request(gateway, "HEAD", "/v1/items/x")
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")


@pytest.mark.parametrize("path", ["/nope", RPC])
async def test_head_of_a_refusal_has_no_body(gateway: Gateway, path: str) -> None:
    assert (await request(gateway, "HEAD", path)).body == b""


async def test_options_lists_the_methods_of_the_path(gateway: Gateway) -> None:
    response = await request(gateway, "OPTIONS", "/v1/items/x")
    assert (response.status, response.header("allow"), response.body) == (204, "GET, HEAD, DELETE, OPTIONS", b"")
    assert (await request(gateway, "OPTIONS", "/nope")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/v1/items/a%2Fb", "a/b"),
        ("GET", "/v1/items/special", ""),
        ("GET", "/v1/items/other", "other"),
        ("GET", "/v1/shelves/1/books/2", "shelves/1/books/2"),
        ("GET", "/v1/files/a/b%2Fc", "a/b%2Fc"),
        ("GET", "/v1/files", ""),
        ("POST", "/v1/items/a:archive", "a"),
        ("DELETE", "/v1/items/a", "a"),
    ],
)
async def test_path_of_the_full_grammar_reaches_its_message(
    gateway: Gateway, method: str, path: str, text: str
) -> None:
    response = await request(gateway, method, path, b"{}" if method == "POST" else b"")
    assert response.json().get("request", {}).get("text", "") == text


async def test_path_that_is_not_utf8_is_invalid(gateway: Gateway, servicer: EchoServicer) -> None:
    response = await request(gateway, "GET", "/v1/items/%ff")
    assert (response.status, response.json()["code"], servicer.calls) == (400, 3, 0)
    response = await request(gateway, "GET", "/v1/items/%ff", headers={"accept": GRPC_WEB})
    assert (web_result(response).status, servicer.calls) == (3, 0)


async def test_gateway_under_a_mount_point_serves_below_it(gateway: Gateway) -> None:
    scope = {"root_path": "/api", "path": "/api/v1/items/x", "raw_path": b"/api/v1/items/x"}
    response = await request(gateway, "GET", "/ignored", scope=scope)
    assert response.json()["request"] == {"text": "x"}


async def test_scope_without_a_raw_path_is_served(gateway: Gateway) -> None:
    response = await request(gateway, "GET", "/v1/items/x", scope={"raw_path": None})
    assert response.json()["request"] == {"text": "x"}


async def test_request_without_a_host_is_served(gateway: Gateway) -> None:
    scope = {"headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]}
    assert (await request(gateway, "POST", RPC, b"{}", scope=scope)).status == 200


async def test_other_application_gets_what_is_no_call(servicer: EchoServicer) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    gateway = Gateway(page)
    add_EchoServicer_to_server(servicer, gateway)
    assert (await request(gateway, "GET", "/page")).body == b"page"
    assert (await request(gateway, "GET", "/v1/items/x")).json()["request"] == {"text": "x"}
    assert (await request(gateway, "PUT", "/v1/ping")).status == 405


# Adding servicers.


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"get": "v1"}, "does not begin with '/'"),
        ({"get": "/v1/{text"}, "'}' is missing"),
        ({"get": "/v1/{nope}"}, "'nope' is not a single field"),
        ({"get": "/v1/{tags}"}, "'tags' is not a single field"),
        ({"get": "/v1/{inner}"}, "'inner' is not a single field"),
        ({"get": "/v1/{inner.nope}"}, "'inner.nope' is not a single field"),
        ({"get": "/v1/{inners.number}"}, "'inners.number' is not a single field"),
        ({"get": "/v1/{labels.key}"}, "is not a single field"),
        ({"post": "/v1", "body": "nope"}, "body names 'nope'"),
        ({"post": "/v1", "body": "inner.number"}, "body names 'inner.number'"),
        ({"get": "/v1", "response_body": "nope"}, "response_body names 'nope'"),
        ({"body": "*"}, "has no path"),
        ({"get": "/v1", "nested": "/v2"}, "additional bindings of its own"),
    ],
)
def test_wrong_rule_is_an_error_at_construction_that_names_its_rpc(rule: dict[str, str], complaint: str) -> None:
    package = f"gateway.wrong{abs(hash(str(rule)))}"
    with pytest.raises(BadRule) as raised:
        service_with_rules("Wrong", rule, package=package)
    assert f"{package}.Wrong/M0" in str(raised.value)
    assert complaint in str(raised.value)


def test_two_rules_of_one_shape_are_an_error_at_construction_that_names_both() -> None:
    with pytest.raises(Clash, match=r"/gateway.clash.S/M0 and /gateway.clash.S/M1 both serve GET /x/\*"):
        service_with_rules("S", {"get": "/x/{text}"}, {"get": "/x/{left}"}, package="gateway.clash")


def test_rule_at_the_path_of_an_rpc_is_an_error_at_construction() -> None:
    with pytest.raises(Clash, match=r"gateway\.own\.S/M0 both serve POST /gateway\.own\.S/M0"):
        service_with_rules("S", {"post": "/gateway.own.S/M0"}, package="gateway.own")


async def test_custom_method_and_response_body_are_served() -> None:
    gateway = service_with_rules(
        "S", {"custom": "LINK /x/{text}", "response_body": "request"}, package="gateway.custom"
    )
    assert (await request(gateway, "LINK", "/x/a")).json() == {"text": "a"}


async def test_body_of_one_field_takes_the_others_from_the_query() -> None:
    gateway = service_with_rules("S", {"put": "/x/{text}", "body": "tags"}, package="gateway.field")
    response = await request(gateway, "PUT", "/x/a?count=3", b'["b","c"]', content_type=JSON)
    assert response.json()["request"] == {"text": "a", "count": 3, "tags": ["b", "c"]}
    response = await request(gateway, "PUT", "/x/a?tags=d", b'["b"]', content_type=JSON)
    assert response.status == 400


def test_servicer_added_twice_is_served_once(servicer: EchoServicer) -> None:
    gateway = Gateway()
    add_EchoServicer_to_server(servicer, gateway)
    add_EchoServicer_to_server(EchoServicer(), gateway)


async def test_service_without_a_descriptor_is_served_as_grpc_web_on_its_rpc_path_alone() -> None:
    async def reverse(received: bytes, context: Any) -> bytes:
        return received[::-1]

    handlers: dict[str, Any] = {"Reverse": grpc.unary_unary_rpc_method_handler(reverse)}
    for registered in (True, False):
        gateway = Gateway()
        gateway.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("no.Descriptor", handlers),))
        if registered:
            gateway.add_registered_method_handlers("no.Descriptor", handlers)
        response = await request(gateway, "POST", "/no.Descriptor/Reverse", frame(b"abc"), content_type=GRPC_WEB)
        assert web_result(response).messages == [b"cba"]
        response = await request(gateway, "POST", "/no.Descriptor/Reverse", b"{}", content_type=JSON)
        assert response.status == (415 if registered else 404)


@pytest.mark.parametrize("scope", [{"type": "lifespan"}, {"type": "websocket"}, {"type": "other"}])
async def test_scope_that_is_no_request_is_handled_politely(gateway: Gateway, scope: dict[str, Any]) -> None:
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0) if scope["type"] == "lifespan" else {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        sent.append(event["type"])

    await gateway(scope, receive, send)
    expected = {
        "lifespan": ["lifespan.startup.complete", "lifespan.shutdown.complete"],
        "websocket": ["websocket.close"],
    }
    assert sent == expected.get(scope["type"], [])


async def test_text_is_base64_of_one_body_or_of_padded_pieces(gateway: Gateway) -> None:
    whole = frame(EchoRequest(text="hallo"))
    pieces = base64.b64encode(whole[:1]) + base64.b64encode(whole[1:5]) + base64.b64encode(whole[5:])
    for body in (base64.b64encode(whole), pieces, [pieces[:3], pieces[3:10], pieces[10:]]):
        assert replied(await request(gateway, "POST", RPC, body, content_type=GRPC_WEB_TEXT)) == {"text": "hallo"}
