"""The page under examples/, used as its reader would."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tools
from tests.browser import javascript_stubs
from tests.browser.conftest import Visit
from tests.servers import Server

pytestmark = tools.BUILDS_FIRST


@pytest.fixture(scope="module")
def shown(visit: Visit, server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    screenshot = tmp_path_factory.mktemp("example") / "page.png"
    steps = [
        {"form": "add", "fill": {"name": "From the page", "domain": "page.example"}},
        {"form": "get", "fill": {}, "screenshot": str(screenshot)},
        {"form": "add", "fill": {"name": "", "email": "nobody"}, "screenshot": str(screenshot.with_name("error.png"))},
        {"form": "get", "fill": {"token": "wrong"}},
    ]
    job = {"server": server.url, "token": server.token(), "steps": steps}
    return visit("visit_example.mjs", "examples/web/index.html", **job) | {"screenshot": screenshot}


def test_the_example_page_says_when_it_is_ready(shown: dict[str, Any]) -> None:
    assert shown["result"][0]["heading"] == "Ready"


def test_the_example_page_adds_an_instance_and_shows_it(shown: dict[str, Any], server: Server) -> None:
    _, added, read, *_ = shown["result"]
    assert (added["kind"], read["kind"]) == ("ok", "ok")
    reply, instance = json.loads(added["body"]), json.loads(read["body"])["instance"]
    assert instance["id"] == reply["instanceId"]
    assert instance["details"] == reply["details"]
    assert instance["name"] == "From the page"
    assert instance["state"] == "STATE_RUNNING"
    assert instance["domains"][0]["domain"] == "page.example"
    request_id = added["heading"].removeprefix("OK · request ")
    assert server.line_of(request_id)["method"] == "/zitadel.system.v1.SystemService/AddInstance"


def test_the_example_page_shows_what_is_wrong_with_which_field(shown: dict[str, Any]) -> None:
    refused = shown["result"][3]
    assert (refused["kind"], refused["heading"]) == ("error", "InvalidArgument")
    assert "  instanceName: " in refused["body"]
    assert "  ownerEmail.email: " in refused["body"]


def test_the_example_page_shows_that_a_token_is_wrong(shown: dict[str, Any]) -> None:
    refused = shown["result"][4]
    assert (refused["kind"], refused["heading"]) == ("error", "Unauthenticated")


def test_the_example_page_draws_without_complaint(shown: dict[str, Any]) -> None:
    screenshot = shown["screenshot"]
    assert isinstance(screenshot, Path)
    assert screenshot.read_bytes().startswith(b"\x89PNG")
    assert shown["complaints"] == []


def test_the_javascript_stubs_are_those_of_the_proto_files() -> None:
    tools.find("node")
    tools.node_modules(Path(__file__).parent)
    assert javascript_stubs.lagging() == [], "run .venv/bin/python -m tests.browser.javascript_stubs"
