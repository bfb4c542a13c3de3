"""Processes that take turns: the one that waits goes before the one that was just there."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from server.store.folder import DataFolder
from server.store.sqlite.turns import Turns
from tests.servers import wait_until

# Holds its turn until it is told to go on; then it wants another at once.
OTHER = """
import fcntl, os, pathlib, sys
from server.store.folder import DataFolder
from server.store.sqlite.turns import Turns
turns = Turns(DataFolder(pathlib.Path(sys.argv[1]), os.open(os.devnull, os.O_RDONLY)))
while True:
    with turns.turn():
        print("its turn", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def other(folder: DataFolder) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert said(process) == "its turn\n"
        yield process
        process.kill()


@pytest.fixture
def turns(folder: DataFolder) -> Iterator[Turns]:
    opened = Turns(folder)
    yield opened
    opened.close()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


class Waiting:
    """A thread that waits for its turn, and holds it until `end`."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.begun, self._may_end = turns, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._may_end.set()
        self._thread.join()

    def _run(self) -> None:
        with self.turns.turn():
            self.begun.set()
            self._may_end.wait(30)


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a machine that does other things, but for tests that say how long."""
    monkeypatch.setattr("server.store.sqlite.turns._PATIENCE", getattr(request, "param", 60.0))


def test_who_waits_goes_before_who_was_there(turns: Turns, other: Any) -> None:
    waiting = Waiting(turns)
    # For it to be next.
    time.sleep(0.3)
    assert not waiting.begun.is_set()
    other.stdin.write("\n")
    other.stdin.flush()
    assert waiting.begun.wait(30)
    reader = threading.Thread(target=said, args=(other,))
    reader.start()
    reader.join(0.1)
    assert reader.is_alive()
    waiting.end()
    reader.join(30)
    assert not reader.is_alive()


def test_a_turn_ends_with_the_process_that_has_it(turns: Turns, other: Any) -> None:
    waiting = Waiting(turns)
    time.sleep(0.05)
    assert not waiting.begun.is_set()
    other.kill()
    wait_until(waiting.begun.is_set)
    waiting.end()


@pytest.mark.parametrize("patience", [0.1], indirect=True)
def test_a_turn_that_does_not_end_is_not_waited_for_for_ever(turns: Turns, other: Any) -> None:
    waiting = Waiting(turns)
    wait_until(waiting.begun.is_set)
    waiting.end()
    # Nothing was taken, so nothing is left taken: the other one goes on as before.
    other.stdin.write("\n")
    other.stdin.flush()
    assert said(other) == "its turn\n"
