"""Chromium, and an origin of its own for the pages that it opens."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import tools

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLE = ROOT / "examples/web"

Visit = Callable[..., dict[str, Any]]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing about it."""

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="session")
def pages() -> Iterator[str]:
    """The URL that the checkout's files are served at: another origin than any server's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=ROOT)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def visit(pages: str) -> Visit:
    """Run a script of this folder on a page of the checkout: what came of it, complaints of the page, preflights."""
    node, chromium = tools.find("node"), tools.chromium()
    for package in (HERE, EXAMPLE):
        tools.node_modules(package)

    def run(script: str, page: str, **job: object) -> dict[str, Any]:
        stdin = json.dumps({"chromium": chromium, "url": f"{pages}/{page}", **job})
        outcome = tools.run_json([node, HERE / script], stdin=stdin, within=120)
        assert isinstance(outcome, dict)
        return outcome

    return run
