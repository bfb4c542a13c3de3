"""Published gRPC-Web clients, in Chromium, on a page of another origin than the server's."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pytest

from tests import tools
from tests.browser.conftest import Visit
from tests.servers import Server

pytestmark = tools.BUILDS_FIRST

CLIENTS = ("connect-web", "grpc-web", "grpc-web-text")
ADD, GET = "SystemService/AddInstance", "AdminService/GetMyInstance"


@dataclass
class Visited:
    """What one visit of the page brought, client by client and call by call."""

    replies: Mapping[str, Mapping[str, Any]]
    complaints: list[str]
    preflights: list[dict[str, Any]]


@pytest.fixture(scope="module")
def visited(visit: Visit, server: Server) -> Visited:
    """Make every call with every client in one visit: Chromium takes longer to start than all of them."""
    calls: list[list[object]] = []
    for client in CLIENTS:
        request = {
            "instanceName": f"Over {client}",
            "customDomain": f"{client}.browser.example",
            "ownerEmail": {"email": "owner@acme.example"},
        }
        broken = {"ownerEmail": {"email": "nobody"}, "ownerPassword": {"password": "short"}, "defaultLanguage": "???"}
        bearer, asked = server.bearer(), {"x-zitadel-instance-host": f"{client}.browser.example"}
        calls += (
            [client, server.url, ADD, request, {**bearer, "x-request-id": f"{client}.1"}],
            [client, server.url, GET, {}, {**bearer, **asked}],
            [client, server.url, ADD, broken, {**bearer, "x-request-id": f"{client}.2"}],
            [client, server.url, GET, {}, {"authorization": f"{bearer['authorization']}x", **asked}],
            [client, server.url, GET, {}, {**bearer, "x-zitadel-instance-host": "nobody.browser.example"}],
        )
    outcome = visit("visit_clients.mjs", "tests/browser/clients.html", calls=calls)
    names = ("added", "read", "broken", "refused", "unknown")
    replies = iter(outcome["result"])
    return Visited(
        {client: {name: next(replies) for name in names} for client in CLIENTS},
        outcome["complaints"],
        outcome["preflights"],
    )


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    name = request.param
    assert isinstance(name, str)
    return name


@pytest.fixture
def replies(client: str, visited: Visited) -> Mapping[str, Any]:
    return visited.replies[client]


def test_an_instance_added_in_the_page_is_read_back_there(client: str, replies: Mapping[str, Any]) -> None:
    added, read = replies["added"], replies["read"]
    assert "error" not in added
    assert "error" not in read
    details = added["message"]["details"]
    instance_id = added["message"]["instanceId"]
    assert added["message"].keys() == {"instanceId", "details"}
    assert instance_id.isdecimal()
    assert details["resourceOwner"] == instance_id
    instance = read["message"]["instance"]
    generated = instance["domains"][1]["domain"]
    assert generated.startswith(f"over-{client}-")
    assert generated.endswith(".localhost")
    stated = [{name: value for name, value in domain.items() if name != "details"} for domain in instance["domains"]]
    assert stated == [
        {"domain": f"{client}.browser.example", "primary": True},
        {"domain": generated, "generated": True},
    ]
    assert {name: value for name, value in instance.items() if name != "domains"} == {
        "id": instance_id,
        "details": details,
        "state": "STATE_RUNNING",
        "name": f"Over {client}",
        "version": version("instanced"),
    }


def test_the_page_reads_every_violation_of_a_refused_request(replies: Mapping[str, Any]) -> None:
    error = replies["broken"]["error"]
    assert error["code"] in {"InvalidArgument", "INVALID_ARGUMENT"}
    fields = [violation["field"] for violation in error["violations"]]
    assert sorted(fields) == ["defaultLanguage", "instanceName", "ownerEmail.email", "ownerPassword.password"]
    assert all(violation["description"] for violation in error["violations"])
    assert error["message"]


def test_the_page_is_told_that_a_wrong_token_is_unauthenticated(replies: Mapping[str, Any]) -> None:
    error = replies["refused"]["error"]
    assert error["code"] in {"Unauthenticated", "UNAUTHENTICATED"}
    assert error["message"]
    assert error["violations"] == []


def test_the_page_is_told_which_host_leads_to_no_instance(replies: Mapping[str, Any]) -> None:
    error = replies["unknown"]["error"]
    assert error["code"] in {"NotFound", "NOT_FOUND"}
    assert "nobody.browser.example" in error["message"]


@pytest.mark.parametrize(("call", "number"), [("added", 1), ("broken", 2)])
def test_the_page_reads_the_id_of_its_request(client: str, replies: Mapping[str, Any], call: str, number: int) -> None:
    # A refused call has the id among its trailers too, all that grpc-web shows of it; connect-web joins the two.
    ids = replies[call]["headers"]["x-request-id"].split(", ")
    assert set(ids) == {f"{client}.{number}"}


def test_chromium_asked_by_preflight_and_was_allowed(visited: Visited, server: Server) -> None:
    paths = {f"{server.url}/zitadel.system.v1.{ADD}", f"{server.url}/zitadel.admin.v1.{GET}"}
    assert {preflight["url"] for preflight in visited.preflights} == paths
    assert {preflight["status"] for preflight in visited.preflights} == {204}


def test_the_page_has_nothing_to_complain_of(visited: Visited) -> None:
    assert visited.complaints == []


def test_every_call_was_a_call_of_grpc_web(visited: Visited, server: Server) -> None:
    protocols = {line["protocol"] for line in server.lines() if str(line.get("request_id", "")).endswith((".1", ".2"))}
    assert visited.replies
    assert protocols == {"grpc-web", "grpc-web-text"}
