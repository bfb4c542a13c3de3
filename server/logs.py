"""Log lines on stderr: text for people on a terminal, one JSON object a line elsewhere."""

import asyncio
import io
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import structlog

from server.settings import Log

if TYPE_CHECKING:
    from server.call import Call

# Writes the line of one call: protocol, name of the status code, seconds, address of the caller. None: no such RPC is
# served, and nothing of it is known.
CallLog = Callable[["Call", str | None, str, float | None, str | None], None]

_Told = TypeVar("_Told")

# What pipe(7) writes in one piece: lines of several processes on one pipe never mix.
_ATOMIC = 4096

# How long the line of a call may wait for others, in seconds: a process that is killed takes so much of its log along.
_SOON = 0.01


class _Stderr(io.TextIOBase):
    """Standard error, whole lines at a time; what cannot be written is lost.

    A log whose disk is full or whose reader is gone must not fail the calls that it is about, nor the start.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[Any], str], object]] = deque()

    def write(self, text: str) -> int:
        """Write one line, after those that wait."""
        if self._waiting:
            self.flush()
        _write(text.encode(errors="backslashreplace"))
        return len(text)

    def write_soon(self, render: Callable[[_Told], str], told: _Told) -> None:
        """Write the line that `render` makes of what is told, in 10 ms, with all others of that time.

        Made and written between two calls of grpc.aio a line took 17 µs, where processor caches are cold; put aside it
        takes 1, and made and written together with others 4.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_later(_SOON, self.flush)
        self._waiting.append((render, told))

    def flush(self) -> None:
        """Write what waits."""
        lines: list[bytes] = []
        size = 0
        # Line by line, as a line of another thread may have this run at the same time.
        while True:
            try:
                render, told = self._waiting.popleft()
            except IndexError:
                break
            line = render(told).encode(errors="backslashreplace")
            if size + len(line) > _ATOMIC and lines:
                _write(b"".join(lines))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        if lines:
            _write(b"".join(lines))


def _write(lines: bytes) -> None:
    try:
        os.write(2, lines)
    except OSError:
        return


def _structured(call: "Call", protocol: str | None, code: str, seconds: float | None, peer: str | None) -> None:
    entry: dict[str, object] = {"method": call.method}
    if protocol is not None and seconds is not None:
        entry |= {"protocol": protocol, "code": code, "duration_ms": round(seconds * 1000, 3)}
        entry |= {"user_id": call.user_id, "instance_id": call.instance_id, "peer": peer}
    else:
        entry["code"] = code
    entry["request_id"] = call.request_id
    if call.reason:
        entry["reason"] = call.reason
    structlog.get_logger().info("call", **entry)


def _as_json(stderr: _Stderr) -> CallLog:
    """Return what writes the same lines as structlog with the processors of `set_up`, in 3 µs where that takes 20."""

    def write(call: "Call", protocol: str | None, code: str, seconds: float | None, peer: str | None) -> None:
        if protocol is None or seconds is None or peer is None or call.reason:
            _structured(call, protocol, code, seconds, peer)
            return
        # The request id is taken now: a call that repeats this one has another in its place.
        user, instance, now = call.user_id, call.instance_id, time.time_ns()
        stderr.write_soon(_line, (call.method, protocol, code, seconds, user, instance, peer, call.request_id, now))

    return write


def _line(told: tuple[str, str, str, float, str | None, str | None, str, str, int]) -> str:
    method, protocol, code, seconds, user, instance, peer, request_id, nanoseconds = told
    now = nanoseconds // 1000
    return (
        f'{{"method": {quoted(method)}, "protocol": "{protocol}", "code": "{code}", '
        f'"duration_ms": {round(seconds * 1000, 3)}, "user_id": {"null" if user is None else quoted(user)}, '
        f'"instance_id": {"null" if instance is None else quoted(instance)}, "peer": {quoted(peer)}, '
        f'"request_id": {quoted(request_id)}, "event": "call", "level": "info", '
        f'"timestamp": "{_second(now // 1_000_000)}.{str(now)[-6:]}Z"}}\n'
    )


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _silent(*_: object) -> None:
    """Write nothing: the level is above that of calls."""


class _CallLog:
    """What writes the lines of calls since `set_up`."""

    write: CallLog = staticmethod(_structured)


def call_log() -> CallLog:
    """Return what writes a call's line in the form that `set_up` chose."""
    return _CallLog.write


def set_up(settings: Log) -> None:
    """Send what the server logs, and what its libraries log by `logging`, to stderr in one form."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    text = settings.formatter.format == "text" or (settings.formatter.format == "auto" and terminal)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("%H:%M:%S" if text else "iso", utc=not text),
    ]
    renderer: structlog.typing.Processor
    if text:
        renderer = structlog.dev.ConsoleRenderer(
            colors=terminal,
            sort_keys=False,
            pad_event_to=0,
            pad_level=False,
            # The default one shows the values of local variables, and passwords and tokens are among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    stderr = _Stderr()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stderr)),
        cache_logger_on_first_use=True,
    )
    if level > logging.INFO:
        _CallLog.write = staticmethod(_silent)
    else:
        _CallLog.write = staticmethod(_structured if text else _as_json(stderr))
    handler = logging.StreamHandler(cast("TextIO", stderr))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    # What asyncio says at debug level, and what aiosqlite says of every statement, is for their own developers.
    for library in ("asyncio", "aiosqlite"):
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
