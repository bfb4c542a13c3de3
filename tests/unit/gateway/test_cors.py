"""Cross-origin requests as browsers make them: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from typing import Any

import pytest

from tests.unit.gateway.client import GRPC_WEB, JSON, Response, frame, request
from tests.unit.gateway.conftest import MakeGateway
from tests.unit.gateway.echo import SERVICE, EchoRequest

RPC = f"/{SERVICE}/Unary"
PAGE = "https://page.test"


def names(response: Response, header: str) -> set[str]:
    return {name.strip().lower() for name in (response.header(header) or "").split(",")}


async def preflight(gateway: Any, path: str, method: str, asked: str | None, origin: str = PAGE) -> Response:
    headers = {"origin": origin, "access-control-request-method": method}
    if asked is not None:
        headers["access-control-request-headers"] = asked
    return await request(gateway, "OPTIONS", path, headers=headers)


@pytest.mark.parametrize("path", [RPC, "/v1/echo", "/v1/items/x", "/nope"])
async def test_preflight_allows_what_a_call_needs(gateway: Any, path: str) -> None:
    asked = "authorization,content-type,grpc-timeout,x-grpc-web,x-user-agent,x-zitadel-instance-host"
    response = await preflight(gateway, path, "POST", asked)
    assert (response.status, response.body) == (204, b"")
    assert response.header("access-control-allow-origin") == "*"
    assert response.header("access-control-allow-credentials") is None
    assert {"get", "post", "put", "patch", "delete"} <= names(response, "access-control-allow-methods")
    assert names(response, "access-control-allow-headers") == set(asked.split(","))
    assert int(response.header("access-control-max-age") or 0) > 0
    assert {"access-control-request-method", "access-control-request-headers"} <= names(response, "vary")


@pytest.mark.parametrize("asked", [None, "", "a b", "x\r\ny", "a,,b", "a;b", "x" * 5000])
async def test_preflight_with_malformed_names_lists_what_is_known(gateway: Any, asked: str | None) -> None:
    response = await preflight(gateway, RPC, "POST", asked)
    assert response.status == 204
    assert {"authorization", "content-type", "grpc-timeout", "x-grpc-web"} <= names(
        response, "access-control-allow-headers"
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type"),
    [
        ("POST", RPC, frame(EchoRequest()), GRPC_WEB),
        ("POST", RPC, b"{}", JSON),
        ("POST", RPC, b"{", JSON),
        ("POST", RPC, b"\0", GRPC_WEB),
        ("POST", RPC, b"{}", "text/plain"),
        ("POST", RPC, b"", "application/grpc"),
        ("POST", "/nope", b"", GRPC_WEB),
        ("GET", "/nope", b"", None),
        ("GET", RPC, b"", None),
        ("OPTIONS", RPC, b"", None),
        ("GET", "/v1/items/%ff", b"", None),
        ("POST", RPC, b"x" * 2000, JSON),
        ("POST", f"/{SERVICE}/ServerStream", frame(EchoRequest(count=1)), GRPC_WEB),
    ],
)
async def test_every_reply_can_be_read_by_a_page_errors_too(
    make_gateway: MakeGateway, method: str, path: str, body: bytes, content_type: str | None
) -> None:
    gateway = make_gateway(max_message_bytes=1000)
    response = await request(gateway, method, path, body, content_type=content_type, headers={"origin": PAGE})
    assert response.header("access-control-allow-origin") == "*"
    exposed = names(response, "access-control-expose-headers")
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id", "allow", "*"} <= exposed


async def test_listed_origins_alone_are_allowed_and_replies_vary_by_them(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(cors_origins=["https://a.test", "https://Page.test/"])
    for origin, allowed in ((PAGE, PAGE), ("https://evil.test", None), ("null", None)):
        response = await preflight(gateway, RPC, "POST", "authorization", origin)
        assert response.header("access-control-allow-origin") == allowed
        assert (response.header("access-control-allow-headers") is not None) == (allowed is not None)
        assert "origin" in names(response, "vary")
        response = await request(gateway, "GET", "/v1/ping", headers={"origin": origin})
        assert (response.status, response.header("access-control-allow-origin")) == (200, allowed)
        assert "origin" in names(response, "vary")
    assert "origin" in names(await request(gateway, "GET", "/v1/ping"), "vary")


async def test_no_origin_may_be_allowed(make_gateway: MakeGateway) -> None:
    response = await request(make_gateway(cors_origins=[]), "GET", "/v1/ping", headers={"origin": PAGE})
    assert (response.status, response.header("access-control-allow-origin")) == (200, None)
