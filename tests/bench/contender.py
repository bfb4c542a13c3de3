"""A contender: a server that is started, found to answer rightly, put under load beside the others and stopped."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import grpc
import psutil
from zitadel import admin_pb2

from tests.bench.places import ROOT
from tests.bench.unmeasured import Failed
from tests.bench.wire import Call, Wrong, probe

WITHIN = 30.0


class Place(Protocol):
    """What contenders get: where they may write, and the reply that they are to give."""

    @property
    def folder(self) -> Path:
        """Return the folder of this run."""
        ...

    @property
    def reply(self) -> admin_pb2.GetMyInstanceResponse:
        """Return the reply."""
        ...

    @property
    def reply_file(self) -> Path:
        """Return the file with the reply's bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A call at the address that answers it, and how many bytes of data a reply has."""

    address: str
    call: Call
    reply: int


@dataclass
class Running:
    """A contender that runs since `started`. `addresses` gives for a protocol where it is spoken."""

    name: str
    process: subprocess.Popen[str]
    addresses: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None
    started: float = field(default_factory=time.monotonic)

    def cpu(self) -> float:
        """Return the seconds of processor time that the process and those it started have used."""
        return sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def resident(self) -> int:
        """Return the resident bytes of the process and those it started."""
        return int(sum(process.memory_info().rss for process in self._tree()))

    def proportional(self) -> int:
        """Return the same, what several processes share counted once."""
        return int(sum(process.memory_full_info().pss for process in self._tree()))

    def _tree(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise Failed("it has ended") from None

    def target(
        self,
        call: Call,
        expected: admin_pb2.GetMyInstanceResponse,
        *,
        within: float = WITHIN,
        every: float = 0.05,
    ) -> Target:
        """Return the call ready to be repeated, once it is answered rightly; it is tried every so many seconds.

        Raises:
            Failed: it is not, in time.
        """
        call = call.with_headers(self.headers)
        address = self.addresses[call.protocol]
        ends = time.monotonic() + within
        while True:
            try:
                return Target(address, call, probe(address, call, expected))
            except (OSError, HTTPException, grpc.RpcError, Wrong) as error:
                problem: Any = error
            if self.process.poll() is not None:
                raise Failed(f"it ended with {self.process.returncode}")
            if time.monotonic() > ends:
                raise Failed(f"it does not answer: {problem}")
            time.sleep(every)


class Contender(Protocol):
    """What can be started. `calls` gives for a protocol the call that it answers."""

    @property
    def name(self) -> str:
        """Return what tables call it."""
        ...

    @property
    def notes(self) -> Mapping[str, str]:
        """Return, for a protocol, what a reader of its figures has to know."""
        ...

    @property
    def calls(self) -> Mapping[str, Call]:
        """Return the calls by protocol."""
        ...

    def run(self, place: Place) -> contextlib.AbstractContextManager[Running]:
        """Start it, and stop it at the end. It may not answer yet.

        Raises:
            Absent: it cannot be started here.
            Failed: it does not start.
        """
        ...


def log_of(place: Place, name: str) -> Path:
    """Return the file that a contender's stderr goes to."""
    return place.folder / f"{re.sub('[^a-zA-Z0-9]+', '-', name)}.log"


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def process(command: list[str], log: Path, *, stdout: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a command with its stderr in a file; at the end it gets SIGTERM, and SIGKILL if that does not do."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INSTANCED_")}
    environment["PYTHONPATH"] = str(ROOT / "generated")
    with log.open("w") as stderr:
        started = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stdout or stderr, stderr=stderr,
            text=True, start_new_session=True,
        )  # fmt: skip
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        # What a contender has started itself is in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        if started.stdout is not None:
            started.stdout.close()
