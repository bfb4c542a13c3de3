"""A run counts only if what came is what was asked for; h2load's own word for success is not enough."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from tests import tools
from tests.bench import h2load
from tests.bench.h2load import Result, Shape
from tests.bench.unmeasured import Void
from tests.bench.wire import GRPC_WEB, JSON, Call

PRINTED = """\
finished in 1.35s, 3699.14 req/s, 1.31MB/s
requests: 5000 total, 5000 started, 5000 done, 4990 succeeded, 10 failed, 0 errored, 0 timeout
status codes: 4990 2xx, 0 3xx, 10 4xx, 0 5xx
traffic: 1.76MB (1850000) total, 673.83KB (690000) headers (space savings 0.00%), 942.38KB (965000) data
"""


def test_what_h2load_prints_is_read() -> None:
    assert h2load.parse(PRINTED) == Result(calls=5000, succeeded=4990, rate=3699.14, data=965000)


def test_a_run_that_has_not_finished_is_void() -> None:
    with pytest.raises(Void, match="did not finish"):
        h2load.parse("starting benchmark...")


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (Result(100, 99, 1.0, 54_000), "99 of 100"),
        (Result(90, 90, 1.0, 48_600), "90 of 100"),
        (Result(100, 100, 1.0, 53_999), "53999 bytes"),
        (Result(100, 100, 1.0, 0), "0 bytes"),
    ],
)
def test_a_run_without_each_whole_reply_is_void(result: Result, why: str) -> None:
    with pytest.raises(Void, match=why):
        result.check(calls=100, reply=540)


def test_a_run_with_each_whole_reply_counts() -> None:
    Result(100, 100, 1.0, 54_000).check(calls=100, reply=540)
    Result(100, 100, 1.0, 12_345).check(calls=100, reply=None)


def test_a_call_that_failed_makes_the_log_void() -> None:
    assert h2load.read_log("1700000000000000\t200\t1500\n1700000000000001\t200\t2500\n") == [0.0015, 0.0025]
    with pytest.raises(Void, match="answered with 503"):
        h2load.read_log("1700000000000000\t200\t1500\n1700000000000001\t503\t100\n")


@contextmanager
def serving(shorter_every: int) -> Iterator[str]:
    """Serve 100 bytes with status 200, one less in each so manieth reply, as an error of gRPC-Web may be."""
    served = count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = b"x" * (99 if shorter_every and next(served) % shorter_every == 0 else 100)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("call", [JSON, GRPC_WEB], ids=lambda call: str(call.protocol))
def test_h2load_counts_the_bytes_that_decide(call: Call) -> None:
    tools.find(h2load.PROGRAM)
    with serving(shorter_every=0) as address:
        h2load.run(address, call, Shape(2), 50).check(calls=50, reply=100)
    with serving(shorter_every=25) as address:
        result = h2load.run(address, call, Shape(2), 50)
        assert result.succeeded == 50
        with pytest.raises(Void, match="4998 bytes"):
            result.check(calls=50, reply=100)
