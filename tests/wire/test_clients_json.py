"""The reference pages' JSON calls by the clients that those pages write them for: curl, requests, Go and axios."""

import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import tools
from tests.servers import Server

pytestmark = tools.BUILDS_FIRST

HERE = Path(__file__).parent
ADD, ME = "/system/v1/instances", "/admin/v1/instances/me"

Outcomes = Mapping[str, Mapping[str, Any]]
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def payload(domain: str) -> str:
    """Return the request body as the pages write it, with values in place of the types."""
    return json.dumps(
        {
            "instanceName": "Acme",
            "firstOrgName": "Acme Sales",
            "customDomain": domain,
            "ownerUserName": "ada",
            "ownerEmail": {"email": "ada@acme.example", "isEmailVerified": True},
            "ownerProfile": {"firstName": "Ada", "lastName": "Lovelace", "preferredLanguage": "de"},
            "ownerPassword": {"password": "Secr3t-enough!", "passwordChangeRequired": True},
            "defaultLanguage": "en",
        }
    )


def by_go(server: Server, domain: str) -> Outcomes:
    program = tools.go_program(HERE / "go", ".", HERE / "go/bin/calls")
    outcomes: Outcomes = tools.run_json([program, server.url, server.token(), domain])
    return outcomes


def by_axios(server: Server, domain: str) -> Outcomes:
    node = tools.find("node")
    tools.node_modules(HERE / "node")
    outcomes: Outcomes = tools.run_json([node, HERE / "node/calls.js", server.url, server.token(), domain])
    return outcomes


def by_curl(server: Server, domain: str) -> Outcomes:
    curl = tools.find("curl")

    def call(method: str, path: str, *arguments: str) -> Mapping[str, Any]:
        written = '{"status": %{http_code}, "contentType": "%{content_type}"}'
        command = [curl, "-sS", "-L", "-X", method, server.url + path, "-H", "Accept: application/json", *arguments]
        # curl writes the reply and then, on a line of its own, what `written` says.
        reply, _, rest = tools.run([*command, "-w", f"\n{written}"]).rpartition("\n")
        return {**json.loads(rest), "body": json.loads(reply)}

    authorization = f"Authorization: Bearer {server.token()}"
    sent = ("-H", "Content-Type: application/json", "--data-raw")
    return {
        "added": call("POST", ADD, *sent, payload(domain), "-H", authorization),
        "read": call("GET", ME, "-H", authorization, "-H", f"x-zitadel-instance-host: {domain}"),
        "byHost": call("GET", ME, "-H", authorization, "-H", f"Host: {domain}"),
        "taken": call("POST", ADD, *sent, payload(domain), "-H", authorization),
        "empty": call("POST", ADD, *sent, "{}", "-H", authorization),
        "refused": call("POST", ADD, *sent, payload(domain), "-H", f"{authorization}x"),
    }


def by_requests(server: Server, domain: str) -> Outcomes:
    def call(method: str, path: str, headers: Mapping[str, str], data: str | None = None) -> Mapping[str, Any]:
        content = {"Content-Type": "application/json"} if data else {}
        headers = {"Accept": "application/json", **content, **headers}
        response = requests.request(method, server.url + path, headers=headers, data=data, timeout=30)
        return {
            "status": response.status_code,
            "contentType": response.headers["Content-Type"],
            "body": response.json(),
        }

    token = server.bearer()
    return {
        "added": call("POST", ADD, token, payload(domain)),
        "read": call("GET", ME, {**token, "x-zitadel-instance-host": domain}),
        "byHost": call("GET", ME, {**token, "Host": domain}),
        "taken": call("POST", ADD, token, payload(domain)),
        "empty": call("POST", ADD, token, "{}"),
        "refused": call("POST", ADD, {"authorization": f"{token['authorization']}x"}, payload(domain)),
    }


CLIENTS: dict[str, Callable[[Server, str], Outcomes]] = {
    "curl": by_curl,
    "requests": by_requests,
    "go": by_go,
    "axios": by_axios,
}


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    name = request.param
    assert isinstance(name, str)
    return name


@pytest.fixture(scope="module")
def outcomes(client: str, server: Server) -> Outcomes:
    """What came of the calls, which each client makes once for all tests."""
    return CLIENTS[client](server, f"{client}.json.example")


def test_all_replies_are_json(outcomes: Outcomes) -> None:
    assert {outcome["contentType"] for outcome in outcomes.values()} == {"application/json"}


def test_an_instance_is_added(outcomes: Outcomes) -> None:
    added = outcomes["added"]
    assert added["status"] == 200
    assert added["body"].keys() == {"instanceId", "details"}
    details = added["body"]["details"]
    assert details.keys() == {"sequence", "creationDate", "changeDate", "resourceOwner"}
    assert details["resourceOwner"] == added["body"]["instanceId"]
    assert details["sequence"].isdecimal()
    assert TIMESTAMP.fullmatch(details["creationDate"])
    assert TIMESTAMP.fullmatch(details["changeDate"])


@pytest.mark.parametrize("call", ["read", "byHost"])
def test_the_instance_is_read_back_by_the_host_that_is_asked(outcomes: Outcomes, client: str, call: str) -> None:
    read, added = outcomes[call], outcomes["added"]["body"]
    assert read["status"] == 200
    instance = read["body"]["instance"]
    generated = instance["domains"][1]["domain"]
    assert re.fullmatch(r"acme-[a-z0-9]{6}\.localhost", generated)
    assert {name: value for name, value in instance.items() if name != "domains"} == {
        "id": added["instanceId"],
        "details": added["details"],
        "state": "STATE_RUNNING",
        "name": "Acme",
        "version": version("instanced"),
    }
    stated = [{name: value for name, value in domain.items() if name != "details"} for domain in instance["domains"]]
    assert stated == [
        {"domain": f"{client}.json.example", "primary": True},
        {"domain": generated, "generated": True},
    ]
    assert {domain["details"]["resourceOwner"] for domain in instance["domains"]} == {added["instanceId"]}


def test_a_domain_that_is_taken_is_a_conflict(outcomes: Outcomes, client: str) -> None:
    taken = outcomes["taken"]
    assert (taken["status"], taken["body"]["code"]) == (409, 6)
    [resource] = taken["body"]["details"]
    assert resource["@type"] == "type.googleapis.com/google.rpc.ResourceInfo"
    assert resource["resourceName"] == f"{client}.json.example"


def test_an_empty_request_is_told_all_that_is_missing(outcomes: Outcomes) -> None:
    empty = outcomes["empty"]
    assert (empty["status"], empty["body"]["code"]) == (400, 3)
    [violations] = empty["body"]["details"]
    assert violations["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    fields = [violation["field"] for violation in violations["fieldViolations"]]
    assert sorted(fields) == ["instanceName", "ownerEmail"]


def test_a_wrong_token_is_unauthenticated(outcomes: Outcomes) -> None:
    refused = outcomes["refused"]
    assert (refused["status"], refused["body"]["code"]) == (401, 16)
    assert refused["body"]["message"]


def test_curl_reaches_a_generated_domain_without_dns(server: Server) -> None:
    curl = tools.find("curl")
    instance_id = server.add("By its own name", customDomain="own-name.json.example")
    asked = {**server.bearer(), "x-zitadel-instance-host": "own-name.json.example"}
    instance = requests.get(server.url + ME, headers=asked, timeout=30).json()["instance"]
    generated = instance["domains"][1]["domain"]
    url = f"http://{generated}:{server.http.rpartition(':')[2]}{ME}"
    reply = tools.run_json([curl, "-sS", "-L", url, "-H", f"Authorization: Bearer {server.token()}"])
    assert reply["instance"]["id"] == instance_id
    assert reply["instance"] == instance
