"""What other processes commit, noticed before each read.

https://www.sqlite.org/pragma.html#pragma_data_version
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from server.store.sqlite.commit_mark import CommitMark
from server.store.sqlite.connection import Connector

# So many events at a time are asked which instances they changed; what is further behind forgets everything instead.
CATCH_UP_LIMIT: Final = 10_000
# So often, in seconds, the database itself is asked.
LOOK_EVERY: Final = 0.01


class LogWatch:
    """Looks whether the log has grown, in the thread of whoever asks.

    Each process of the server changes the mark before it acknowledges a commit, so a read that finds the mark as it was
    has missed nothing: 0.3 µs. Where it has changed, `PRAGMA data_version` is asked on a plain connection, and the
    positions in the log say which instances were changed, whoever did it: 30 µs after a commit of one, 270 of 128. The
    pragma before each read would do as well, and did: 12 µs of CPU, a fifth of the calls per CPU-second. It is asked
    every 10 ms at least, for the sake of commits that leave no mark, such as another program's.

    Args:
        path: the database file, which must exist.
        connector: opens it. It is told not to wait for a lock: the event loop would wait with it.
        mark: what the processes of the server change.
        changed: is told the ids of instances that events were recorded of.
        anything_changed: is called where nobody can say which.
    """

    def __init__(
        self,
        path: Path,
        connector: Connector,
        mark: CommitMark,
        *,
        changed: Callable[[Iterable[str]], None],
        anything_changed: Callable[[], None],
    ) -> None:
        self._path = path
        self._connector = connector
        self._mark = mark
        self._changed = changed
        self._anything_changed = anything_changed
        self._connection: sqlite3.Connection | None = None
        # What the last good look has seen; of the version, on this connection: another one counts otherwise.
        self._seen: int | None = None
        self._version: int | None = None
        self._position: int | None = None
        self._due = 0.0
        self._closed = False

    def look(self) -> None:
        """Tell of every commit that was acknowledged before this is called.

        Where the database cannot be asked, anything may have changed. What is read from it after this call may be kept
        all the same: the next look starts from the position that the last good one has seen.
        """
        # Each is read before what it stands for: a commit in between is met once more, not missed.
        mark, now = self._mark.read(), time.monotonic()
        if mark == self._seen and now < self._due:
            return
        if self._closed:
            self._anything_changed()
            return
        try:
            if self._connection is None:
                self._connection = self._connector(self._path, 0)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._catch_up(self._connection)
        except sqlite3.Error:
            # The next look opens another.
            self._disconnect()
            self._anything_changed()
            return
        self._seen, self._version, self._due = mark, version, now + LOOK_EVERY

    def close(self) -> None:
        """Let go of the database; whoever looks from then on is told that anything may have changed."""
        self._closed = True
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection, self._version, self._seen = self._connection, None, None, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        (newest,) = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
        seen = self._position
        if seen is None or not seen <= newest <= seen + CATCH_UP_LIMIT:
            self._anything_changed()
        elif newest > seen:
            found = connection.execute("SELECT DISTINCT instance_id FROM events WHERE position > ?", (seen,))
            self._changed([str(instance_id) for (instance_id,) in found])
        self._position = newest
