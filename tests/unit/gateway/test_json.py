"""Plain JSON: proto3 JSON in and out, google.rpc.Status for errors, path and query of google.api.http."""

import json
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from gateway._json import merge_json
from gateway._status import BY_NUMBER, HTTP_STATUS, Refused
from tests.unit.gateway.client import JSON, Response, frame, request, web_result
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest, EchoServicer

RPC = f"/{SERVICE}/Unary"


async def post(gateway: Any, body: Any, path: str = "/v1/echo", **options: Any) -> Response:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await request(gateway, "POST", path, sent, content_type=JSON, **options)


def violation(response: Response) -> tuple[str, str]:
    """Give field and description of the one violation of an INVALID_ARGUMENT."""
    body = response.json()
    assert (response.status, body["code"]) == (400, 3), body
    (detail,) = body["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    (found,) = detail["fieldViolations"]
    assert body["message"] == f"{found['field']}: {found['description']}"
    return found["field"], found["description"]


async def test_reply_is_lower_camel_case_with_big_numbers_as_strings_and_without_what_is_unset(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        return EchoReply(big_number=2**53 + 1, request=EchoRequest(is_set=True, color=1, data=b"\xff", text="é"))

    servicer.unary = unary
    response = await post(make_gateway(), {})
    assert response.body.decode() == (
        '{"request":{"text":"é","isSet":true,"data":"/w==","color":"COLOR_RED"},"bigNumber":"9007199254740993"}'
    )
    assert response.header("content-type") == "application/json"
    assert response.header("cache-control") == "no-store"


@pytest.mark.parametrize(
    "body",
    [
        {"isSet": True, "inner": {"displayName": "a"}},
        {"is_set": True, "inner": {"display_name": "a"}},
        {"isSet": True, "inner": {"displayName": "a"}, "tags": None, "count": None},
    ],
)
async def test_both_spellings_and_null_are_read(gateway: Any, body: dict[str, Any]) -> None:
    assert (await post(gateway, body)).json()["request"] == {"isSet": True, "inner": {"displayName": "a"}}


async def test_every_kind_of_field_is_read_and_written(gateway: Any) -> None:
    body = {
        "text": "a",
        "count": -1,
        "big": "-9223372036854775808",
        "isSet": True,
        "ratio": 0.5,
        "data": "AAE=",
        "color": "COLOR_BLUE",
        "tags": ["x", "y"],
        "inner": {"number": "1"},
        "at": "2026-01-02T03:04:05Z",
        "maybe": "m",
        "left": "l",
        "labels": {"k": 1},
        "inners": [{"isSet": True}, {}],
        "numbers": [1, 2],
        "extra": {"a": [1.0, None, {"b": "c"}]},
        "huge": "18446744073709551615",
        "single": 0.25,
        "lasts": "1.500s",
        "mask": "text,inner.displayName",
        "detail": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "2s"},
    }
    assert (await post(gateway, body)).json()["request"] == body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"nope": 1}, "nope"),
        ({"text": "a", "nope": 1, "other": 2}, "nope"),
        ({"inner": {"nope": 1}}, "inner.nope"),
        ({"inner": {"inner": {"isSet": 1}}}, "inner.inner.isSet"),
        ({"inner": {"is_set": "true"}}, "inner.is_set"),
        ({"inner": []}, "inner"),
        ({"inner": "x"}, "inner"),
        ({"inners": {}}, "inners"),
        ({"inners": [{}, {"number": "x"}]}, "inners[1].number"),
        ({"inners": [None]}, "inners[0]"),
        ({"isSet": "true"}, "isSet"),
        ({"isSet": 1}, "isSet"),
        ({"text": 1}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"count": 2**31}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": "x"}, "count"),
        ({"count": True}, "count"),
        ({"huge": -1}, "huge"),
        ({"big": "9223372036854775808"}, "big"),
        ({"single": 1e300}, "single"),
        ({"ratio": "x"}, "ratio"),
        ({"data": 1}, "data"),
        ({"data": "a"}, "data"),
        ({"color": "COLOR_GREEN"}, "color"),
        ({"color": []}, "color"),
        ({"tags": "a"}, "tags"),
        ({"tags": ["a", 1]}, "tags[1]"),
        ({"tags": ["a", None]}, "tags[1]"),
        ({"numbers": [1, 2, "x"]}, "numbers[2]"),
        ({"at": "yesterday"}, "at"),
        ({"at": 1}, "at"),
        ({"lasts": "1"}, "lasts"),
        ({"mask": 1}, "mask"),
        ({"maybe": 1}, "maybe"),
        ({"labels": {"k": "x"}}, "labels.k"),
        ({"labels": []}, "labels"),
        ({"extra": []}, "extra"),
        ({"detail": {"@type": "no.such/Type"}}, "detail"),
        ({"detail": {"a": 1}}, "detail"),
        ({"detail": 1}, "detail"),
        ({"left": "a", "right": 1}, "right"),
        ({"isSet": True, "is_set": False}, "is_set"),
        ({"[ext.field]": 1}, "[ext.field]"),
        ({"": 1}, ""),
    ],
)
async def test_field_that_does_not_fit_is_invalid_and_named_by_its_json_path(
    gateway: Any, servicer: EchoServicer, body: dict[str, Any], field: str
) -> None:
    response = await post(gateway, body)
    if field:
        assert violation(response)[0] == field
    assert (response.status, servicer.calls) == (400, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \r\n",
        b"{",
        b"{}{}",
        b"{} x",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
        b'{"text":"\xff"}',
        b'{"ratio":NaN}',
        b'{"ratio":Infinity}',
        b'{"ratio":-Infinity}',
        b'{"ratio":1e999}',
        b"{'text':1}",
        b'{"text":"a",}',
        b'{"text":"a\nb"}',
        b'{"count":01}',
        b'{"count":+1}',
        b'{"big":' + b"9" * 10_000 + b"}",
        b"[" * 100_000,
        b'{"inner":' * 100_000,
        b'{"inner":' * 500 + b"{}" + b"}" * 500,
        b'{"extra":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"\\ud800":1}',
        b'{"labels":{"\\ud800":1}}',
        b'{"text":"a","text":"b"}',
        b'{"extra":{"a":1,"a":2}}',
    ],
)
async def test_body_that_is_no_json_of_the_message_is_invalid(
    gateway: Any, servicer: EchoServicer, body: bytes
) -> None:
    for path in ("/v1/echo", RPC):
        response = await post(gateway, body, path)
        assert (response.status, response.json()["code"]) == (400, 3), response.body
    assert servicer.calls == 0


async def test_duplicate_key_is_named(gateway: Any) -> None:
    assert violation(await post(gateway, b'{"text":"a","text":"b"}'))[0] == "text"


async def test_unknown_fields_are_dropped_where_the_setting_says_so(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(json_unknown_fields="ignore")
    body = {"nope": 1, "text": "a", "inner": {"nope": [{}]}, "color": "COLOR_GREEN"}
    assert (await post(gateway, body)).json()["request"] == {"text": "a", "inner": {}}
    assert violation(await post(gateway, {"nope": 1, "count": "x"}))[0] == "count"
    assert (await request(gateway, "GET", "/v1/items/a?nope=1")).status == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from([field.json_name for field in EchoRequest.DESCRIPTOR.fields])


@given(st.dictionaries(field_names, json_values, max_size=3))
def test_any_json_value_in_any_field_is_read_or_refused_by_name(body: dict[str, Any]) -> None:
    refusal = None
    try:
        merge_json(body, EchoRequest(), ignore_unknown=False)
    except Refused as raised:
        refusal = raised
    if refusal is not None:
        assert refusal.status.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.status.trailing_metadata, refusal.status.details


# Errors.


@pytest.mark.parametrize(("code", "status"), [(code, status) for code, status in HTTP_STATUS.items() if status != 200])
async def test_error_has_the_http_status_of_its_code(
    make_gateway: MakeGateway, servicer: EchoServicer, code: grpc.StatusCode, status: int
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(code, "nö")

    servicer.unary = unary
    response = await post(make_gateway(), {})
    assert response.status == status
    assert response.json() == {"code": code.value[0], "message": "nö", "details": []}
    assert (response.header("www-authenticate") is not None) == (code is grpc.StatusCode.UNAUTHENTICATED)


def test_every_code_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(BY_NUMBER.values()) == set(grpc.StatusCode)


async def test_details_of_an_error_are_json_and_unknown_types_are_left_out(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    status = status_pb2.Status(code=14, message="later")
    status.details.add().Pack(RetryInfo(retry_delay={"seconds": 3}))
    status.details.add(type_url="type.googleapis.com/no.such.Type", value=b"x")
    status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    status.details.add(type_url="nonsense", value=b"\xff")

    async def unary(received: Any, context: Any) -> Any:
        await context.abort_with_status(rpc_status.to_status(status))

    servicer.unary = unary
    response = await post(make_gateway(), {})
    assert response.status == 503
    assert response.json() == {
        "code": 14,
        "message": "later",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}],
    }
    assert response.header("grpc-trailer-grpc-status-details-bin") is None


async def test_details_that_are_no_status_do_not_break_the_error(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.ABORTED, "no", (("grpc-status-details-bin", b"\xff\xff"),))

    servicer.unary = unary
    assert (await post(make_gateway(), {})).json() == {"code": 10, "message": "no", "details": []}


@pytest.mark.logs_errors
async def test_exception_in_a_servicer_is_a_500_without_its_text(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        raise RuntimeError("secret")

    servicer.unary = unary
    response = await post(make_gateway(), {})
    assert (response.status, response.json()["code"]) == (500, 2)
    assert b"secret" not in response.body


async def test_body_over_the_limit_is_413_while_it_is_received(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    gateway = make_gateway(max_message_bytes=100)
    for body, headers in (([b"x" * 60] * 2, {}), (b"", {"content-length": "101"}), (b"x" * 101, {})):
        unfinished = len(body) != 101
        response = await request(gateway, "POST", RPC, body, content_type=JSON, headers=headers, unfinished=unfinished)
        assert (response.status, response.json()["code"]) == (413, 8)
    assert servicer.calls == 0
    body = b'{"text":"' + b"a" * 89 + b'"}'
    assert (await post(gateway, body)).status == 200


# Metadata.


async def test_initial_metadata_are_headers_and_trailing_ones_have_a_prefix(
    make_gateway: MakeGateway, servicer: EchoServicer
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x-request-id", "1"), ("x-bin", b"\xff"), ("content-length", "7")))
        context.set_trailing_metadata((("x-cost", "2"),))
        if received.text:
            await context.abort(grpc.StatusCode.ABORTED, "no")
        return EchoReply()

    servicer.unary = unary
    gateway = make_gateway()
    for body in ({}, {"text": "a"}):
        response = await post(gateway, body)
        assert response.header("x-request-id") == "1"
        assert response.header("x-bin") == "/w"
        assert response.header("grpc-trailer-x-cost") == "2"


@pytest.mark.logs_errors
@pytest.mark.parametrize("value", ["1\r\nset-cookie: a=b", "1\n", "\r"])
async def test_headers_cannot_be_forged_by_metadata(
    make_gateway: MakeGateway, servicer: EchoServicer, value: str
) -> None:
    async def unary(received: Any, context: Any) -> Any:
        if received.is_set:
            context.set_trailing_metadata((("x", value),))
        await context.send_initial_metadata((("x", value),))
        return EchoReply()

    servicer.unary = unary
    gateway = make_gateway()
    for body in ({}, {"isSet": True}):
        response = await post(gateway, body)
        assert response.status == 500
        assert not any(b"\r" in value or b"\n" in value for _, value in response.headers)


# Path and query.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("text=a", {"text": "a"}),
        ("text=", {}),
        ("text", {}),
        ("text=a%20b+c%2B", {"text": "a b c+"}),
        ("text=%C3%A9", {"text": "é"}),
        ("count=-5", {"count": -5}),
        ("big=9007199254740993", {"big": "9007199254740993"}),
        ("huge=18446744073709551615", {"huge": "18446744073709551615"}),
        ("is_set=true", {"isSet": True}),
        ("isSet=true", {"isSet": True}),
        ("isSet=false", {}),
        ("ratio=1.5e3", {"ratio": 1500.0}),
        ("ratio=NaN", {"ratio": "NaN"}),
        ("ratio=-Infinity", {"ratio": "-Infinity"}),
        ("single=0.5", {"single": 0.5}),
        ("data=AAE%3D", {"data": "AAE="}),
        ("data=__8", {"data": "//8="}),
        ("color=COLOR_RED", {"color": "COLOR_RED"}),
        ("color=2", {"color": "COLOR_BLUE"}),
        ("color=7", {"color": 7}),
        ("colors=COLOR_RED&colors=2", {"colors": ["COLOR_RED", "COLOR_BLUE"]}),
        ("tags=a&tags=b&tags=", {"tags": ["a", "b", ""]}),
        ("numbers=1&numbers=2", {"numbers": [1, 2]}),
        ("inner.displayName=a&inner.inner.number=5", {"inner": {"displayName": "a", "inner": {"number": "5"}}}),
        ("inner.display_name=", {"inner": {}}),
        ("at=2026-01-02T03:04:05Z", {"at": "2026-01-02T03:04:05Z"}),
        ("lasts=1.5s", {"lasts": "1.500s"}),
        ("mask=a,b", {"mask": "a,b"}),
        ("maybe=", {"maybe": ""}),
        ("left=a", {"left": "a"}),
        ("&&text=a&", {"text": "a"}),
    ],
)
async def test_query_parameter_fills_its_field(gateway: Any, query: str, expected: dict[str, Any]) -> None:
    response = await request(gateway, "GET", f"/v1/ping?{query}")
    assert response.json().get("request", {}) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("nope=1", "nope"),
        ("inner=1", "inner"),
        ("inner.nope=1", "inner.nope"),
        ("inners.number=1", "inners.number"),
        ("labels=1", "labels"),
        ("labels.key=1", "labels.key"),
        ("extra=1", "extra"),
        ("detail=1", "detail"),
        ("text.a=1", "text.a"),
        (".text=1", ".text"),
        ("text.=1", "text."),
        ("count=", "count"),
        ("count=1.5", "count"),
        ("count=1_0", "count"),
        ("count=%D9%A1", "count"),
        ("count=2147483648", "count"),
        ("count=0x1", "count"),
        ("huge=-1", "huge"),
        ("isSet=TRUE", "isSet"),
        ("is_set=1", "isSet"),
        ("ratio=1e999", "ratio"),
        ("ratio=nan", "ratio"),
        ("single=1e39", "single"),
        ("data=a", "data"),
        ("data=%C3%A9", "data"),
        ("color=RED", "color"),
        ("color=99999999999", "color"),
        ("at=now", "at"),
        ("lasts=1", "lasts"),
        ("text=a&text=b", "text"),
        ("numbers=1&numbers=x", "numbers"),
    ],
)
async def test_query_parameter_that_does_not_fit_is_invalid_and_named(gateway: Any, query: str, field: str) -> None:
    assert violation(await request(gateway, "GET", f"/v1/ping?{query}"))[0] == field


@pytest.mark.parametrize("query", ["text=%ff", "%ff=1", "&".join(["tags=a"] * 1001)])
async def test_query_string_that_cannot_be_read_is_invalid(gateway: Any, query: str) -> None:
    assert (await request(gateway, "GET", f"/v1/ping?{query}")).status == 400


async def test_field_of_the_path_cannot_come_from_the_query(gateway: Any) -> None:
    assert violation(await request(gateway, "GET", "/v1/items/a?text=b"))[0] == "text"


async def test_whole_body_leaves_no_field_to_the_query(gateway: Any) -> None:
    assert violation(await post(gateway, {}, "/v1/echo?text=a"))[0] == "text"


async def test_body_of_one_field_and_a_nested_field_of_the_path_meet_in_the_message(gateway: Any) -> None:
    response = await request(
        gateway, "PUT", "/v1/echo/b?text=t", b'{"number": "5", "displayName": "a"}', content_type=JSON
    )
    assert response.json()["request"] == {"text": "t", "inner": {"number": "5", "displayName": "b"}}
    response = await request(gateway, "PUT", "/v1/echo/b?inner.number=1", b"{}", content_type=JSON)
    assert violation(response)[0] == "inner.number"


async def test_path_variable_that_does_not_fit_is_invalid_and_named(gateway: Any) -> None:
    assert violation(await request(gateway, "GET", "/v1/answer/x/1"))[0] == "count"
    assert violation(await request(gateway, "GET", "/v1/answer/1/GREEN"))[0] == "color"


async def test_response_body_is_the_field_alone(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    async def unary(received: Any, context: Any) -> Any:
        return EchoReply(text="é" * received.count)

    servicer.unary = unary
    gateway = make_gateway()
    assert (await request(gateway, "GET", "/v1/answer/2/COLOR_RED")).json() == "éé"
    assert (await request(gateway, "GET", "/v1/answer/0/1")).json() == ""


async def test_body_that_a_rule_does_not_take_is_ignored(gateway: Any) -> None:
    for method, path in (("GET", "/v1/ping"), ("POST", "/v1/pong")):
        response = await request(gateway, method, path, b"{nonsense", content_type=JSON)
        assert (response.status, response.json()) == (200, {"request": {}})


@given(st.binary(max_size=40))
def test_json_and_protobuf_carry_the_same_message(data: bytes) -> None:
    message = EchoRequest()
    try:
        message.MergeFromString(data)
        text = json_format.MessageToJson(message)
    except Exception:  # noqa: BLE001 - bytes that are no message are not of this test
        return
    other = EchoRequest()
    json_format.Parse(text, other)


async def test_json_and_grpc_web_give_the_servicer_the_same_message(gateway: Any) -> None:
    message = EchoRequest(text="é", big=2**60, tags=["a"], inner={"is_set": True}, at={"seconds": 1})
    as_json = await post(gateway, json.loads(json_format.MessageToJson(message)))
    as_web = await request(gateway, "POST", RPC, frame(message), content_type="application/grpc-web")
    reply = EchoReply.FromString(web_result(as_web).messages[0])
    assert json_format.ParseDict(as_json.json(), EchoReply()) == reply == EchoReply(request=message)


async def test_grpc_timeout_is_read_in_json(make_gateway: MakeGateway, servicer: EchoServicer) -> None:
    gateway = make_gateway()
    await post(gateway, {}, headers={"grpc-timeout": "5S"})
    assert 4 < servicer.context.time_remaining() <= 5
    response = await post(gateway, {}, headers={"Grpc-Timeout": "5 seconds"})
    assert (response.status, response.json()["code"]) == (400, 3)
