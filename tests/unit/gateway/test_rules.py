"""google/api/http.proto beyond single tables: published rules, and paths made from templates."""

import importlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import google
import grpc
import pytest
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway import BadRule
from gateway._binding import assign, assign_query, resolve
from gateway._method import Method
from gateway._route import routes_of
from gateway._router import Router
from gateway._status import Refused
from gateway._template import Template, Wildcard, parse_template
from tests.unit.gateway.client import JSON, request
from tests.unit.gateway.echo import EchoRequest, service_with_rules
from tests.unit.gateway.test_json import violation
from tests.unit.gateway.test_json_writer import Kinds

# What googleapis-common-protos ships.


def published_methods() -> Iterator[MethodDescriptor]:
    extension: Any = annotations_pb2.http
    for root in google.__path__:
        for file in sorted(pathlib.Path(root).rglob("*_pb2.py")):
            name = ".".join(("google", *file.relative_to(root).with_suffix("").parts))
            for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    if method.GetOptions().HasExtension(extension):
                        yield method


PUBLISHED = {method.full_name: method for method in published_methods()}


def test_published_rules_are_there_to_be_tested() -> None:
    assert "google.longrunning.Operations.CancelOperation" in PUBLISHED
    assert "google.cloud.location.Locations.GetLocation" in PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rule_compiles(name: str) -> None:
    async def never(received: Any, context: Any) -> None:
        raise AssertionError

    method = Method(name, grpc.unary_unary_rpc_method_handler(never))
    router: Router[Any] = Router()
    rules = list(routes_of(method, PUBLISHED[name]))
    for http_method, template, route in rules:
        router.add(http_method, template, route)
        path = path_of(template, ["x"] * 10)
        match = router.find(http_method, path, path.encode())
        assert match is not None
        assert match.target is route
        assert match.captures == expected_captures(template, path)
    assert rules


# Paths made from templates.

literals = st.text(alphabet="abAZ09-._~!$&'()+,;=@", min_size=1, max_size=4)
encoded_literals = st.text(alphabet="a/:*?é %{}", min_size=1, max_size=3).map(lambda text: quote(text, safe=""))
values = st.text(min_size=1, max_size=6).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))


@st.composite
def templates(draw: st.DrawFn) -> str:
    parts: list[str] = []
    names = iter("abcdefgh")
    for _ in range(draw(st.integers(1, 4))):
        inner = draw(st.lists(literals | encoded_literals | st.just("*"), min_size=1, max_size=3))
        kind = draw(st.sampled_from(["literal", "one", "short", "long"]))
        name = next(names)
        parts.append(
            {"literal": inner[0], "one": "*", "short": f"{{{name}}}", "long": f"{{{name}={'/'.join(inner)}}}"}[kind]
        )
    tail = draw(st.sampled_from(["", "/**", "/{z=**}", "/{z=x/**}"]))
    verb = draw(st.sampled_from(["", ":go", ":cancel"]))
    return "/" + "/".join(parts) + tail + verb


def path_of(template: Template, texts: list[str]) -> str:
    """Expand a template as http.proto has clients do it: all but unreserved characters percent-encoded."""
    segments: list[str] = []
    given_texts = iter(texts)
    for segment in template.segments:
        if segment is Wildcard.ONE:
            segments.append(quote(next(given_texts), safe=""))
        elif segment is Wildcard.REST:
            segments += [quote(text, safe="") for text in given_texts]
        else:
            segments.append(quote(str(segment), safe=""))
    return "/" + "/".join(segments) + (f":{template.verb}" if template.verb else "")


def expected_captures(template: Template, path: str) -> tuple[str, ...]:
    stem = path.removesuffix(f":{template.verb}") if template.verb else path
    segments = stem[1:].split("/")
    captures = []
    for variable in template.variables:
        end = len(segments) if template.segments[variable.end - 1] is Wildcard.REST else variable.end
        pieces = segments[variable.start : end]
        if variable.multi:
            # A slash inside of a segment stays encoded, so that it differs from those between segments.
            captures.append("/".join(unquote(piece.replace("%2F", "%252F")) for piece in pieces))
        else:
            captures.append(unquote(pieces[0]))
    return tuple(captures)


@given(templates(), st.lists(values, min_size=12, max_size=15))
def test_path_made_from_a_template_matches_it_and_gives_its_values_back(text: str, texts: list[str]) -> None:
    template = parse_template(text)
    path = path_of(template, texts)
    router: Router[str] = Router()
    router.add("GET", template, text)
    match = router.find("GET", unquote(path), path.encode())
    assert match is not None
    assert match.captures == expected_captures(template, path)
    assert router.allowed(path.encode()) == {"GET"}


@given(values)
def test_single_segment_gives_back_any_text(text: str) -> None:
    router: Router[str] = Router()
    router.add("GET", parse_template("/v1/{name}:go"), "")
    path = f"/v1/{quote(text, safe='')}:go"
    match = router.find("GET", unquote(path), path.encode())
    assert match is not None
    assert match.captures == (text,)


@given(templates(), templates())
def test_two_templates_that_are_no_clash_find_the_same_whichever_is_added_first(first: str, second: str) -> None:
    one, two = parse_template(first), parse_template(second)
    assume(one.shape != two.shape)
    forth: Router[str] = Router()
    back: Router[str] = Router()
    for template, text in ((one, first), (two, second)):
        forth.add("GET", template, text)
    for template, text in ((two, second), (one, first)):
        back.add("GET", template, text)
    for template in (one, two):
        path = path_of(template, ["x"] * 15)
        found = forth.find("GET", unquote(path), path.encode())
        assert found is not None
        assert found == back.find("GET", unquote(path), path.encode())


# Rules that are refused when the servicer is added.


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"get": "/v1/{at.seconds}/{at}"}, "'at' stands twice"),
        ({"get": "/v1/{is_set}/{isSet}"}, "'is_set' stands twice"),
        ({"get": "/v1/{extra}"}, "'extra' is not a single field"),
        ({"get": "/v1/{detail}"}, "'detail' is not a single field"),
        ({"get": "/v1/{text.a}"}, "'text.a' is not a single field"),
        ({"get": "/v1", "body": "*"}, "a rule for GET cannot have a body"),
        ({"custom": "HEAD /v1", "body": "text"}, "a rule for HEAD cannot have a body"),
        ({"custom": "A(B /v1"}, "'A(B' is no HTTP method"),
        ({"put": "/v1/{text}", "body": "text"}, "'text' is both a variable and the body"),
        ({"get": "/v1/**/x"}, "'**' must be the last segment"),
        ({"get": "/v1", "response_body": "request.text"}, "response_body names 'request.text'"),
        ({"get": "/v1", "additional": "/v2/{nope}"}, "'nope' is not a single field"),
    ],
)
def test_rule_of_a_wrong_kind_names_its_rpc(rule: dict[str, str], complaint: str) -> None:
    package = f"gateway.refused{abs(hash(str(rule)))}"
    with pytest.raises(BadRule) as raised:
        service_with_rules("Refused", rule, package=package)
    assert f"{package}.Refused/M0" in str(raised.value)
    assert complaint in str(raised.value)


async def test_rule_for_any_method_serves_those_without_a_rule_of_their_own() -> None:
    gateway = service_with_rules(
        "S", {"custom": "* /x/{text}"}, {"get": "/x/{text}", "response_body": "request"}, package="gateway.any"
    )
    assert (await request(gateway, "GET", "/x/a")).json() == {"text": "a"}
    for method in ("PUT", "DELETE", "OPTIONS", "LINK"):
        assert (await request(gateway, method, "/x/a")).json() == {"request": {"text": "a"}}


async def test_delete_may_have_a_body() -> None:
    gateway = service_with_rules("S", {"delete": "/x/{text}", "body": "inner"}, package="gateway.delete")
    response = await request(gateway, "DELETE", "/x/a", b'{"number":"1"}', content_type=JSON)
    assert response.json()["request"] == {"text": "a", "inner": {"number": "1"}}


async def test_repeated_field_and_map_can_be_the_body() -> None:
    gateway = service_with_rules(
        "S", {"put": "/x", "body": "labels"}, {"post": "/x", "body": "inners"}, package="gateway.whole"
    )
    response = await request(gateway, "PUT", "/x", b'{"a":1}', content_type=JSON)
    assert response.json()["request"] == {"labels": {"a": 1}}
    response = await request(gateway, "POST", "/x", b'[{"isSet":true},{}]', content_type=JSON)
    assert response.json()["request"] == {"inners": [{"isSet": True}, {}]}


# Query parameters that google/api/http.proto rules out, and what stands beside what.


@pytest.mark.parametrize(
    ("query", "field", "complaint"),
    [
        ("inners=1", "inners", "a repeated message"),
        ("inners.number=1", "inners.number", "a repeated message"),
        ("labels=1", "labels", "a map"),
        ("labels.key=1", "labels.key", "a map"),
        ("inner=1", "inner", "a gateway.test.v1.Inner cannot be one query parameter"),
        ("inner.inner=1", "inner.inner", "a gateway.test.v1.Inner"),
        ("extra=1", "extra", "a google.protobuf.Struct"),
        ("detail=1", "detail", "a google.protobuf.Any"),
        ("left=a&right=1", "right", "must not stand beside left"),
        ("mask=a..b", "mask", "google.protobuf.FieldMask"),
        ("mask=a,", "mask", "google.protobuf.FieldMask"),
    ],
)
async def test_query_parameter_that_no_text_can_give_says_why(
    gateway: Any, query: str, field: str, complaint: str
) -> None:
    found = violation(await request(gateway, "GET", f"/v1/ping?{query}"))
    assert found[0] == field
    assert complaint in found[1]


@pytest.mark.parametrize("text", ["display_name,inner.number", "displayName,inner.number"])
async def test_field_mask_in_a_query_takes_both_spellings(gateway: Any, text: str) -> None:
    response = await request(gateway, "GET", f"/v1/ping?mask={text}")
    assert response.json()["request"] == {"mask": "displayName,inner.number"}


async def test_parameter_that_the_path_has_says_so(gateway: Any) -> None:
    found = violation(await request(gateway, "GET", "/v1/items/a?text=b"))
    assert found == ("text", "stands in the path or the body, and cannot be a query parameter")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "someTimestamp=2026-01-02T03:04:05Z&some_timestamp=1970-01-01T00:00:00Z",
            {"someTimestamp": ["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z"]},
        ),
        ("some_duration=1s", {"someDuration": ["1s"]}),
        ("someBool=true&someBool=false", {"someBool": [True, False]}),
        ("some_bytes=AAE&some_bytes=", {"someBytes": ["AAE=", ""]}),
        ("maybe_int32=0&maybe_string=", {"maybeInt32": 0, "maybeString": ""}),
        ("aInt64Value=0&aBoolValue=false&aBytesValue=", {"aInt64Value": "0", "aBoolValue": False, "aBytesValue": ""}),
        ("aDoubleValue=1.5&aUint32Value=3", {"aDoubleValue": 1.5, "aUint32Value": 3}),
        ("alias=EINS&aliases=TWO&aliases=1&aliases=9", {"alias": "ONE", "aliases": ["TWO", "ONE", 9]}),
        ("aSint64=-5&aFixed32=5&aSfixed64=-1", {"aSint64": "-5", "aFixed32": 5, "aSfixed64": "-1"}),
        ("kinds.kinds.aFieldMask=a.b", {"kinds": {"kinds": {"aFieldMask": "a.b"}}}),
    ],
)
def test_query_parameter_of_every_kind(query: str, expected: dict[str, Any]) -> None:
    message = Kinds()
    assign_query(message, query.encode(), frozenset(), ignore_unknown=False)
    assert json_format.MessageToDict(message) == expected


@pytest.mark.parametrize("name", ["a_value", "some_struct", "some_list_value", "a_list_value", "a_empty", "by_string"])
def test_field_of_a_kind_without_a_text_is_refused_even_where_unknown_ones_are_ignored(name: str) -> None:
    refusal = refusal_of(lambda: assign_query(Kinds(), f"{name}=1".encode(), frozenset(), ignore_unknown=True))
    assert refusal is not None
    assert refusal.status.details.startswith(f"{name}: a ")


async def test_member_of_a_oneof_in_the_path_and_another_in_the_body_are_refused() -> None:
    gateway = service_with_rules("S", {"put": "/x/{left}", "body": "*"}, package="gateway.oneof")
    response = await request(gateway, "PUT", "/x/a", b'{"left":"b"}', content_type=JSON)
    assert response.json()["request"] == {"left": "a"}
    response = await request(gateway, "PUT", "/x/a", b'{"right":1}', content_type=JSON)
    assert violation(response) == ("left", "must not stand beside right")


leaves = st.sampled_from(
    [field.name for field in EchoRequest.DESCRIPTOR.fields if resolve(EchoRequest.DESCRIPTOR, field.name) is not None]
)


@given(leaves, st.text(max_size=12) | st.from_regex(r"[0-9T:.Z+-]{0,25}s?", fullmatch=True))
def test_any_text_for_any_field_is_taken_or_refused_by_name(name: str, text: str) -> None:
    path = resolve(EchoRequest.DESCRIPTOR, name)
    assert path is not None
    refusal = refusal_of(lambda: assign(EchoRequest(), path, text))
    assert refusal is None or refusal.status.details.startswith(f"{path[0].json_name}: ")


@given(st.lists(st.tuples(leaves, st.sampled_from(["1", "true", "2s", "COLOR_RED", ""])), max_size=5))
def test_any_query_string_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={text}" for name, text in pairs).encode()
    refusal = refusal_of(lambda: assign_query(EchoRequest(), query, frozenset(), ignore_unknown=False))
    assert refusal is None or refusal.status.code is grpc.StatusCode.INVALID_ARGUMENT


def refusal_of(run: Callable[[], None]) -> Refused | None:
    try:
        run()
    except Refused as refusal:
        return refusal
    return None
