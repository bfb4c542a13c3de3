"""What a server wrote, synced and sent, in the order in which the kernel did it, by strace(1)."""

import re
import signal
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import wait_until
from tests.tools import find, unavailable

_SYNCS = frozenset({"fsync", "fdatasync"})
_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})
_SENDS = frozenset({"write", "writev", "sendto", "sendmsg", "sendmmsg"})
_CALLS = _SYNCS | _WRITES | _SENDS

_LINE = re.compile(r"(?P<thread>\d+) +(?P<rest>.*)")
_ENTRY = re.compile(r"(?P<name>\w+)\((?:\d+<(?P<file>[^>]*)>)?(?P<rest>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_RESULT = re.compile(r"= (?P<result>-?\d+)(?: \w+ \([^)]*\))?$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FRAME_HEADER = struct.Struct(">6I")


@dataclass(slots=True)
class Call:
    """A system call; `began` and `ended` are places in the order of all beginnings and ends."""

    name: str
    file: str
    data: bytes
    began: int
    ended: int = -1
    result: int = -1


def strace(output: Path) -> tuple[str, ...]:
    """Return the command that runs another one and writes its calls to `output`; the test is skipped without strace."""
    traced = ",".join(sorted(_CALLS))
    # -D: the server, not strace, is the process that the test has started.
    options = ("-f", "-D", "-q", "-y", "-xx", "-s", "65536", "-e", "signal=none", "-e", f"trace={traced}")
    return (find("strace"), *options, "-o", str(output), "--")


@contextmanager
def failing_syncs(process: int) -> Iterator[None]:
    """Make every sync of a running process an I/O error; the test is skipped where strace may not attach to it."""
    syncs = ",".join(sorted(_SYNCS))
    options = ("-f", "-q", "-e", f"trace={syncs}", "-e", f"inject={syncs}:error=EIO", "-o", "/dev/null")
    with subprocess.Popen([find("strace"), *options, "-p", str(process)], stderr=subprocess.PIPE) as tracer:
        try:
            wait_until(lambda: tracer.poll() is not None or _is_traced(process))
            if tracer.returncode is not None:
                assert tracer.stderr is not None
                unavailable(f"strace cannot attach: {tracer.stderr.read().decode().strip()}")
            yield
        finally:
            # It lets go of the process and ends by the same signal.
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)


def _is_traced(process: int) -> bool:
    statuses = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/status")]
    return all("TracerPid:\t0\n" not in status for status in statuses)


def read_trace(output: Path, process: int) -> list[Call]:
    """Return the calls of a server that has ended, in the order in which they began."""
    # strace ends a moment after what it watches.
    wait_until(lambda: re.search(rf"^{process} +\+\+\+ ", output.read_text(), re.MULTILINE))
    calls: list[Call] = []
    open_calls: dict[str, Call] = {}
    for place, line in enumerate(output.read_text().splitlines()):
        match = _LINE.fullmatch(line)
        assert match is not None, line
        thread, rest = match["thread"], match["rest"]
        if entry := _ENTRY.fullmatch(rest):
            data = b"".join(bytes.fromhex(string.replace("\\x", "")) for string in _STRING.findall(entry["rest"]))
            call = Call(entry["name"], _path(entry["file"] or ""), data, began=place)
            calls.append(call)
            if rest.endswith("<unfinished ...>"):
                open_calls[thread] = call
                continue
        elif resumed := _RESUMED.fullmatch(rest):
            call = open_calls.pop(thread)
            assert call.name == resumed["name"], line
        else:
            continue
        call.ended = place
        if result := _RESULT.search(rest):
            call.result = int(result["result"])
    return calls


def sent_before_synced(calls: list[Call], log: Path, replies: Mapping[str, str]) -> set[str]:
    """Return the ids whose reply began to leave before the sync of their commit had ended.

    `replies` has the id for each name that was asked for. The name is looked for in what goes into the write-ahead log,
    the id in what goes to a socket; the commit ends with the first frame from there on that is marked as a commit's
    last. https://www.sqlite.org/fileformat.html#the_write_ahead_log
    """
    logged = [call for call in calls if call.name in _WRITES and call.file == str(log)]
    syncs = [call for call in calls if call.name in _SYNCS and call.file == str(log) and call.result == 0]
    sends = [call for call in calls if call.name in _SENDS and call.file.startswith("socket:")]
    early = set()
    for name, instance_id in replies.items():
        committed = _end_of_commit(logged, name.encode())
        reply = next((call for call in sends if instance_id.encode() in call.data), None)
        assert reply is not None, f"the reply with {instance_id} is not in the trace"
        synced = next((call.ended for call in syncs if call.began > committed.ended), None)
        if synced is None or synced > reply.began:
            early.add(instance_id)
    return early


def _end_of_commit(logged: list[Call], marker: bytes) -> Call:
    """Return the write that ends the first commit with `marker` in it."""
    frames = list(_frames(logged))
    first = next((number for number, (_, page) in enumerate(frames) if marker in page.data), None)
    assert first is not None, f"{marker!r} is not in the write-ahead log"
    return next(page for is_last, page in frames[first:] if is_last)


def _frames(logged: list[Call]) -> Iterator[tuple[bool, Call]]:
    """Pair each page that was written to the log with whether its frame's header says that a commit ends there."""
    is_last = False
    for call in logged:
        if len(call.data) == _FRAME_HEADER.size:
            is_last = _FRAME_HEADER.unpack(call.data)[1] > 0
        elif len(call.data) > 32:  # the header of the whole log has 32
            yield is_last, call


def _path(shown: str) -> str:
    return bytes.fromhex(shown.replace("\\x", "")).decode() if shown.startswith("\\x") else shown
