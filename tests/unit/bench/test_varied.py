"""The driver for requests that differ, against a server that looks at them."""

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests import tools
from tests.bench import varied
from tests.bench.unmeasured import Void
from tests.bench.varied import VARIED, Group
from tests.bench.wire import Call

pytestmark = tools.BUILDS_FIRST

READ = Call("json", "/read", {"x-value": VARIED})
ADD = Call("json", "/add", {"content-type": "application/json"}, b"{}")


class Seen:
    """A server's address, and how often it was asked for what."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.requests: Counter[tuple[str, str | None, bytes]] = Counter()


@pytest.fixture
def seen() -> Iterator[Seen]:
    tools.find("go")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found.requests[self.path, self.headers.get("x-value"), body] += 1
            self.send_response(403 if self.headers.get("x-value") == "refused" else 200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"reply")

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Seen(f"127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def test_values_take_turns(seen: Seen) -> None:
    outcome = varied.run(seen.address, [Group("reads", READ, 3, 40, ["a", "b"], reply=5)])["reads"]
    assert outcome.calls == 40
    assert 0 < outcome.p50 <= outcome.p99 <= outcome.p999 <= outcome.seconds
    assert seen.requests == {("/read", "a", b""): 20, ("/read", "b", b""): 20}


def test_one_group_follows_the_other(seen: Seen) -> None:
    groups = [Group("reads", READ, 4, 190, ["a"]), Group("adds", ADD, 2, every=19)]
    outcomes = varied.run(seen.address, groups)
    assert outcomes["reads"].calls == 190
    # The last of them may be due when the first group has come to its end.
    assert 8 <= outcomes["adds"].calls <= 10
    assert seen.requests["/add", None, b"{}"] == outcomes["adds"].calls


@pytest.mark.parametrize(
    ("values", "reply", "why"), [(["a"], 6, "a reply of 5 bytes, not 6"), (["a", "refused"], 5, "403")]
)
def test_a_reply_that_is_another_makes_the_run_void(seen: Seen, values: list[str], reply: int, why: str) -> None:
    with pytest.raises(Void, match=why):
        varied.run(seen.address, [Group("reads", READ, 2, 20, values, reply=reply)])
