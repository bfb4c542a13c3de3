"""The projections anew, from the log."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final

from server.domain.events import UnknownEvent
from server.domain.projections import TABLES, project
from server.store.folder import DataFolder
from server.store.interface import StoreRefused
from server.store.sqlite import rows
from server.store.sqlite.connection import Opener
from server.store.sqlite.opening import open_database, refusal
from server.store.sqlite.schema import PROJECTIONS, run_script

# Events per trip to the connection's thread; progress is told after each.
BATCH: Final = 2_000


async def rebuild(folder: DataFolder, progress: Callable[[int, int], None], *, batch: int = BATCH) -> int:
    """Drop the projections in `folder` and write them from the log, in one transaction; return the number of events.

    `progress` is called with the events done and all there are, from none done to all. Raises StoreRefused where the
    database or its log cannot be read or written; the projections are then as they were.
    """
    connection = await open_database(folder, Opener(folder.database))
    try:
        total = await connection.run(_begin)
        done = position = 0
        progress(done, total)
        while done < total:
            count, position = await connection.run(partial(_replay, after=position, batch=batch))
            done += count
            progress(done, total)
        await connection.run(_finish)
    except sqlite3.Error as failure:
        raise refusal(folder.database, failure) from failure
    except UnknownEvent as unknown:
        raise StoreRefused(
            f"{folder.database} cannot be rebuilt: {unknown}; run the version that wrote it"
        ) from unknown
    finally:
        await connection.close()  # rolls back what is not committed
    return total


def _begin(connection: sqlite3.Connection) -> int:
    connection.execute("BEGIN IMMEDIATE")
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    run_script(connection, PROJECTIONS)
    return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def _replay(connection: sqlite3.Connection, after: int, batch: int) -> tuple[int, int]:
    events = rows.read_log(connection, after, batch)
    for recorded in events:
        for change in project(recorded):
            rows.apply(connection, change)
    return len(events), events[-1].position


def _finish(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
