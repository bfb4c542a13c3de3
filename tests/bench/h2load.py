"""Load by h2load, and what makes a run count.

h2load calls a request succeeded by its HTTP status, which gRPC and gRPC-Web leave at 200 whatever came of the call. So
a run counts if the bytes of its data are those of as many whole replies. Over HTTP/2 h2load counts the payload of DATA
frames, over HTTP/1.1 the body without the marks of its chunks; an error in trailers alone has none of it.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.unmeasured import Void
from tests.bench.wire import Call

PROGRAM: Final = "h2load"
MISSING: Final = "h2load is not on the PATH; Debian and Ubuntu have it in nghttp2-client"

_RATE: Final = re.compile(r"^finished in (\S+), (\S+) req/s", re.MULTILINE)
_REQUESTS: Final = re.compile(
    r"^requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
    re.MULTILINE,
)
_DATA: Final = re.compile(r"^traffic: .* \((\d+)\) data$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Shape:
    """How many connections, and how many calls at once on each."""

    connections: int
    streams: int = 1

    @property
    def at_once(self) -> int:
        """Return the number of calls that are under way."""
        return self.connections * self.streams


@dataclass(frozen=True, slots=True)
class Result:
    """What h2load says of a run; `rate` is calls per second, `data` bytes."""

    calls: int
    succeeded: int
    rate: float
    data: int

    def check(self, *, calls: int, reply: int | None) -> None:
        """See that all calls were answered, each with a reply of `reply` bytes; None where replies differ in length.

        Raises:
            Void: they were not.
        """
        if self.calls != calls or self.succeeded != calls:
            raise Void(f"{self.succeeded} of {calls} calls have succeeded")
        if reply is not None and self.data != calls * reply:
            raise Void(f"{self.data} bytes of data are not {calls} replies of {reply} bytes")


def missing() -> str | None:
    """Say why there is no load; None if there can be."""
    return None if shutil.which(PROGRAM) else MISSING


def parse(output: str) -> Result:
    """Read what h2load prints.

    Raises:
        Void: it has not come to an end.
    """
    rate, requests, data = _RATE.search(output), _REQUESTS.search(output), _DATA.search(output)
    if rate is None or requests is None or data is None:
        raise Void(f"h2load did not finish: {output[-500:]}")
    return Result(int(requests[1]), int(requests[3]), float(rate[2]), int(data[1]))


def command(
    address: str, call: Call, shape: Shape, calls: int, *, body: Path | None, more: Sequence[str] = ()
) -> list[str]:
    """Give the command line; `body` is a file with the call's body."""
    made = [PROGRAM, "-t", "1", "-c", str(shape.connections), "-m", str(shape.streams), "-n", str(calls), *more]
    if not call.http2:
        made.append("--h1")
    for name, value in call.headers.items():
        made += ["-H", f"{name}: {value}"]
    if body is not None:
        made += ["-d", str(body)]
    return [*made, f"http://{address}{call.path}"]


def run(address: str, call: Call, shape: Shape, calls: int, more: Sequence[str] = (), *, within: float = 120) -> Result:
    """Make that many calls and return what came of them.

    Raises:
        Void: h2load has not come to an end.
    """
    with tempfile.NamedTemporaryFile() as body:
        if call.body is not None:
            body.write(call.body)
            body.flush()
        file = None if call.body is None else Path(body.name)
        line = command(address, call, shape, calls, body=file, more=more)
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=within, check=False)
        except subprocess.TimeoutExpired:
            raise Void(f"h2load was still running after {within} s") from None
    if done.returncode:
        raise Void(f"h2load ended with {done.returncode}: {done.stderr[-500:]}")
    return parse(done.stdout)


def read_log(text: str) -> list[float]:
    """Return the seconds that each call took; a line of h2load's log is a start, a status and microseconds.

    Raises:
        Void: a call was not answered with 200.
    """
    times: list[float] = []
    for line in text.splitlines():
        _, status, microseconds = line.split("\t")
        if status != "200":
            raise Void(f"a call was answered with {status}")
        times.append(int(microseconds) / 1e6)
    return times
