"""The two ways to one log line: through structlog, and the shorter one of calls."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from server import logs
from server.call import Call
from server.settings import Log

# After so many seconds a line is written.
WRITTEN = 5 * logs._SOON
HOSTILE = 'a"b\\c\n\x00\x7f\u2028é\ud800'


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """Give what stderr's descriptor got since the last time."""
    yield lambda: capfd.readouterr().err.split("\n")[:-1]
    structlog.reset_defaults()
    logs._CallLog.write = staticmethod(logs._structured)


def settings(**values: Any) -> Log:
    return Log.model_validate(values)


@pytest.mark.parametrize("user_id", [None, "user", HOSTILE])
async def test_the_short_way_writes_what_structlog_writes(lines: Callable[[], list[str]], user_id: str | None) -> None:
    logs.set_up(settings(formatter={"format": "json"}))
    call = Call(f"/a.B/{HOSTILE}", "id", user_id=user_id, instance_id=user_id)
    said = (call, "json", "NOT_FOUND", 0.0012345, "ipv4:127.0.0.1:1")
    logs.call_log()(*said)
    await asyncio.sleep(WRITTEN)
    logs._structured(*said)
    short, long = lines()
    now, then = (json.loads(line).pop("timestamp") for line in (short, long))
    assert short.replace(now, "") == long.replace(then, "")
    assert len(now) == len(then)
    assert now <= then


async def test_lines_stand_in_the_order_of_what_happened(lines: Callable[[], list[str]]) -> None:
    logs.set_up(settings(formatter={"format": "json"}))
    write = logs.call_log()
    for number in range(200):
        write(Call("/a.B/C", str(number)), "json", "OK", 0.001, "unix:")
    structlog.get_logger().info("between")
    write(Call("/a.B/C", "last"), "json", "OK", 0.001, "unix:")
    await asyncio.sleep(WRITTEN)
    entries = [json.loads(line) for line in lines()]
    assert [entry.get("request_id") for entry in entries] == [*map(str, range(200)), None, "last"]


@pytest.mark.parametrize("values", [{"level": "warning"}, {"level": "error"}])
async def test_above_their_level_calls_are_not_logged(lines: Callable[[], list[str]], values: dict[str, str]) -> None:
    logs.set_up(settings(**values))
    logs.call_log()(Call("/a.B/C", "id"), "json", "OK", 0.001, "unix:")
    await asyncio.sleep(WRITTEN)
    assert lines() == []


async def test_a_refused_call_says_why(lines: Callable[[], list[str]]) -> None:
    logs.set_up(settings(formatter={"format": "json"}))
    logs.call_log()(Call("/a.B/C", "id", reason="expired"), "json", "UNAUTHENTICATED", 0.001, "unix:")
    [line] = lines()
    assert json.loads(line)["reason"] == "expired"


async def test_an_rpc_that_is_not_served_has_neither_caller_nor_duration(lines: Callable[[], list[str]]) -> None:
    logs.set_up(settings(formatter={"format": "json"}))
    logs.call_log()(Call("/a.B/C", "id"), None, "UNIMPLEMENTED", None, None)
    [line] = lines()
    assert set(json.loads(line)) == {"method", "code", "request_id", "event", "level", "timestamp"}


async def test_a_stderr_that_nobody_reads_fails_nothing(lines: Callable[[], list[str]]) -> None:
    logs.set_up(settings(formatter={"format": "json"}))
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 2)
    try:
        logs.call_log()(Call("/a.B/C", "id"), "json", "OK", 0.001, "unix:")
        await asyncio.sleep(WRITTEN)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writing)
    assert lines() == []
