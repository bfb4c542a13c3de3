"""Published clients of gRPC-Web and Connect, in Chromium, on a page of another origin than the server's.

Each on the one port, plain and over TLS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import tools
from tests.browser.conftest import Visit
from tests.fronts import Front

pytestmark = tools.BUILDS_FIRST

PROTOCOLS = {
    "connect-web": "grpc-web",
    "grpc-web": "grpc-web",
    "grpc-web-text": "grpc-web-text",
    "connect-json": "connect",
    "connect-binary": "connect",
}
CLIENTS = tuple(PROTOCOLS)
# Connect refuses with a status of HTTP, of which Chromium tells on the console.
REFUSAL = "Failed to load resource: the server responded with a status of 4"
ADD, GET = "SystemService/AddInstance", "AdminService/GetMyInstance"


@dataclass
class Visited:
    """What one visit of the page brought, client by client and call by call."""

    replies: Mapping[str, Mapping[str, Any]]
    complaints: list[str]
    exchanges: list[dict[str, Any]]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What was sent to the server beside preflights."""
        return [exchange for exchange in self.exchanges if exchange["method"] != "OPTIONS"]


@pytest.fixture(scope="module")
def visited(visit: Visit, front: Front) -> Visited:
    """Make every call with every client in one visit: Chromium takes longer to start than all of them."""
    calls: list[list[object]] = []
    server = front.server
    for client in CLIENTS:
        request = {
            "instanceName": f"Over {client}",
            "customDomain": f"{client}.browser.example",
            "ownerEmail": {"email": "owner@acme.example"},
        }
        broken = {"ownerEmail": {"email": "nobody"}, "ownerPassword": {"password": "short"}, "defaultLanguage": "???"}
        bearer, asked = server.bearer(), {"x-zitadel-instance-host": f"{client}.browser.example"}
        calls += (
            [client, front.url, ADD, request, {**bearer, "x-request-id": f"{client}.1"}],
            [client, front.url, GET, {}, {**bearer, **asked}],
            [client, front.url, ADD, broken, {**bearer, "x-request-id": f"{client}.2"}],
            [client, front.url, GET, {}, {"authorization": f"{bearer['authorization']}x", **asked}],
            [client, front.url, GET, {}, {**bearer, "x-zitadel-instance-host": "nobody.browser.example"}],
        )
    outcome = visit("visit_clients.mjs", "tests/browser/clients.html", calls=calls, trusted=front.key_hash)
    names = ("added", "read", "broken", "refused", "unknown")
    replies = iter(outcome["result"])
    return Visited(
        {client: {name: next(replies) for name in names} for client in CLIENTS},
        outcome["complaints"],
        [exchange for exchange in outcome["exchanges"] if exchange["url"].startswith(front.url)],
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


def test_chromium_asked_by_preflight_and_was_allowed(visited: Visited, front: Front) -> None:
    preflights = [exchange for exchange in visited.exchanges if exchange["method"] == "OPTIONS"]
    paths = {f"{front.url}/zitadel.system.v1.{ADD}", f"{front.url}/zitadel.admin.v1.{GET}"}
    assert {preflight["url"].partition("?")[0] for preflight in preflights} == paths
    assert {preflight["status"] for preflight in preflights} == {204}


def test_connect_gets_what_has_no_side_effects(visited: Visited) -> None:
    gets = [urlsplit(call["url"]) for call in visited.calls if call["method"] == "GET"]
    assert {url.path for url in gets} == {f"/zitadel.admin.v1.{GET}"}
    asked = [parse_qs(url.query) for url in gets]
    assert {query["connect"][0] for query in asked} == {"v1"}
    assert sorted(query["encoding"][0] for query in asked) == ["json"] * 3 + ["proto"] * 3


def test_chromium_spoke_the_version_of_http_that_the_host_gives_it(visited: Visited, front: Front) -> None:
    assert len(visited.calls) == 5 * len(CLIENTS)
    assert {exchange["protocol"] for exchange in visited.exchanges} == {front.http_of_browsers}


def test_the_page_has_nothing_to_complain_of_but_refusals(visited: Visited) -> None:
    refusals = [complaint for complaint in visited.complaints if complaint.startswith(REFUSAL)]
    assert visited.complaints == refusals
    assert sorted(call["status"] for call in visited.calls if call["status"] != 200) == [400, 400, 401, 401, 404, 404]
    assert len(refusals) == 6


@pytest.mark.parametrize("number", [1, 2])
def test_every_call_was_a_call_of_its_protocol(client: str, visited: Visited, front: Front, number: int) -> None:
    assert visited.replies
    assert front.server.line_of(f"{client}.{number}")["protocol"] == PROTOCOLS[client]
