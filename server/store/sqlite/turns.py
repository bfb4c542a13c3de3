"""Processes that write to one database, one after the other.

SQLite's own lock has no queue: whoever finds it taken looks again after 1 ms, and then less and less often, down to
every 100 ms, while the process that let go of it takes it again at once. Of two processes with four callers each one
got 2 to 3 times what the other did, and calls waited for over a second. Here they take turns before they ask for it,
and get the same. SQLite's lock still decides who writes; a turn is but a better moment to ask.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from server.store.folder import DataFolder

_FILE: Final = "turns"

# Two bytes of the file, each locked by one process at a time (fcntl(2); the kernel lets go when the process dies): who
# writes, and who is next. Whoever has written must become next before it writes again, and so lets the other go first.
_WRITES: Final = 0
_NEXT: Final = 1

# How often a lock is asked for, in seconds. Waiting in the kernel would be for ever where its holder is stopped.
_ASK_EVERY: Final = 0.0002
# After so long the turn is let go: SQLite will say whether the database is locked.
_PATIENCE: Final = 1.0


class Turns:
    """This process's place among those that write to the database of one folder. Raises StoreRefused."""

    def __init__(self, folder: DataFolder) -> None:
        folder.create(_FILE)
        self._file: int | None = os.open(folder.path / _FILE, os.O_RDWR | os.O_CLOEXEC)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this process's turn, and give it up at the end. Blocks the thread."""
        file, ends = self._file, time.monotonic() + _PATIENCE
        if file is None:
            raise ValueError("the turns are closed")
        _take(file, _NEXT, ends)
        _take(file, _WRITES, ends)
        _give_up(file, _NEXT)
        try:
            yield
        finally:
            _give_up(file, _WRITES)

    def close(self) -> None:
        """Let go of the file; to be called when no turn is under way."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _take(file: int, byte: int, ends: float) -> None:
    while time.monotonic() < ends:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            time.sleep(_ASK_EVERY)
        else:
            return


def _give_up(file: int, byte: int) -> None:
    # One that was not taken is none to give up, and that is no error.
    fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
