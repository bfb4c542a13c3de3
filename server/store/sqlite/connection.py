"""Connections: how each is set up, and how a whole piece of work runs on a connection's thread in one trip."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite

Result = TypeVar("Result")

# Opens a database file; the number is how many seconds to wait for another process's lock. Tests put faults in here.
Connector = Callable[[Path, float], sqlite3.Connection]

BUSY_TIMEOUT: Final = 5.0


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open the database file at `path`, which must exist, for durable commits in WAL mode.

    Transactions are begun by hand. Raises sqlite3.Error. https://www.sqlite.org/pragma.html#pragma_synchronous
    """
    # mode=rw: SQLite would create a missing file with the permissions of the umask.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        # Those of new instances alone are 128.
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # On macOS a plain fsync leaves data in the disk's own cache; elsewhere this says nothing.
        connection.execute("PRAGMA fullfsync = ON")
        # 16 MB of pages each, instead of 2 and 4. With a million instances, whose domains lie all over their index, an
        # add reads 20 KiB and not 38, makes 20 system calls and not 25, and takes some 7 % less of the processor; with
        # a hundred it writes a tenth less. A log of 16 MB is read in a moment where one is left by a crash.
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA wal_autocheckpoint = 4000").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that also runs whole functions on its thread.

    aiosqlite makes a trip to the thread for each statement: 28 µs on an idle machine, and an AddInstance takes 22 of
    them. A group of 128 goes in one trip instead of 2,800. aiosqlite's own way there, `_execute`, is protected; this
    class is the only place that uses it.
    """

    async def opened(self) -> None:
        """Open it. Raises what the connector raises."""
        try:
            await self
        except Exception:
            # aiosqlite has told its thread to end and does not wait for that; the thread would find the event loop of a
            # command that is refused closed, and say so with a traceback.
            self._thread.join()
            raise

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return `work(connection)`, run on the connection's thread; raises what it raises.

        Cancelled, it still runs to its end.
        """
        result: Result = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite leaves it so
        return result


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens connections to one database file, all set up alike."""

    path: Path
    busy_timeout: float = BUSY_TIMEOUT
    connector: Connector = connect

    async def open(self) -> Connection:
        """Return a connection on a thread of its own; the caller closes it. Raises sqlite3.Error."""
        connection = Connection(lambda: self.connector(self.path, self.busy_timeout), iter_chunk_size=64)
        await connection.opened()
        return connection
