"""Load by the driver of this folder, for requests that differ from each other in one value."""

import functools
import json
import os
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.bench import go_programs
from tests.bench.go_programs import BIN
from tests.bench.unmeasured import Void
from tests.bench.wire import Call

DRIVER: Final = Path(__file__).parent / "driver"
# Where a header's value is, one of those that are dealt out.
VARIED: Final = "\x00"


@dataclass(frozen=True, slots=True)
class Group:
    """Connections that make the same kind of call: `calls` in all, or one for `every` so many of the first group.

    Where a header's value is VARIED, the values take turns there. `reply` is the length of the replies' bodies, 0 where
    they differ.
    """

    name: str
    call: Call
    connections: int
    calls: int = 0
    values: Sequence[str] = ()
    reply: int = 0
    every: int = 0

    def of(self, calls: int) -> "Group":
        """Return the same with so many calls."""
        return replace(self, calls=calls)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a group; times are in seconds."""

    calls: int
    seconds: float
    p50: float
    p99: float
    p999: float

    @property
    def rate(self) -> float:
        """Return the calls per second."""
        return self.calls / self.seconds


def never_sent_before(count: int) -> list[str]:
    """Return so many values that no request has had: what repeats none."""
    run = secrets.token_hex(4)
    return [f"https://bench-{run}-{number:06}.example" for number in range(count)]


@functools.cache
def driver() -> Path:
    """Return the program, built.

    Raises:
        Absent: there is no Go.
    """
    go_programs.check()
    program = BIN / "driver"
    if not go_programs.is_newer(program, (path for path in DRIVER.iterdir() if path.is_file())):
        go_programs.build(DRIVER, ".")
    return program


def run(address: str, groups: Sequence[Group], *, within: float = 120) -> dict[str, Outcome]:
    """Make the calls and return what came of each group.

    Raises:
        Void: a call was not answered, or not as it should have been.
    """
    given = {"address": address, "groups": [_planned(group, address) for group in groups]}
    # As h2load it gets one thread, and leaves the other cores to the server.
    environment = {**os.environ, "GOMAXPROCS": "1"}
    try:
        done = subprocess.run(
            [driver()],
            input=json.dumps(given),
            env=environment,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Void(f"the driver was still running after {within} s") from None
    if done.returncode:
        raise Void(f"the driver ended with {done.returncode}: {done.stderr[-500:]}")
    outcomes: dict[str, Outcome] = {}
    for name, each in json.loads(done.stdout).items():
        if each["wrong"]:
            raise Void(f"{name}: {each['wrong']} calls went wrong: {each['problem']}")
        outcomes[name] = Outcome(*(each[key] for key in ("calls", "seconds", "p50", "p99", "p999")))
    for group in groups:
        if group.calls and outcomes[group.name].calls != group.calls:
            raise Void(f"{group.name}: {outcomes[group.name].calls} of {group.calls} calls were made")
    return outcomes


def _planned(group: Group, address: str) -> dict[str, Any]:
    call = group.call
    lines = [f"{'GET' if call.body is None else 'POST'} {call.path} HTTP/1.1", f"host: {address}"]
    lines += [f"{name}: {value}" for name, value in call.headers.items()]
    if call.body is not None:
        lines.append(f"content-length: {len(call.body)}")
    before, _, after = "\r\n".join([*lines, "", (call.body or b"").decode()]).partition(VARIED)
    # A body in JSON or none, hence text.
    return {
        "name": group.name,
        "connections": group.connections,
        "calls": group.calls,
        "before": before,
        "values": list(group.values),
        "after": after,
        "reply": group.reply,
        "every": group.every,
    }
