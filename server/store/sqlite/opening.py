"""Opening a database: what is refused and why, before anything is served from it.

Looks at the header, the schema and the first page of each table, so the time it takes does not grow with the database.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from server.store.folder import DATABASE, DataFolder
from server.store.interface import StoreRefused
from server.store.sqlite.connection import BUSY_TIMEOUT, Connection, Opener, connect
from server.store.sqlite.failures import cause
from server.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, migrate, version

# STRICT tables. https://www.sqlite.org/stricttables.html
OLDEST_SQLITE: Final = (3, 37, 0)

_ELSEWHERE: Final = "name another folder with --data"
_BACKUP: Final = f"restore it from a backup, or {_ELSEWHERE}"


async def open_database(folder: DataFolder, opener: Opener) -> Connection:
    """Return a connection to the database in `folder`, created or migrated where need be.

    Raises StoreRefused, with what to do, where it is not a database of this program and version, is damaged, or cannot
    be used.
    """
    path = folder.database
    _provide(folder)
    try:
        connection = await opener.open()
    except sqlite3.Error as failure:
        raise refusal(path, failure) from failure
    try:
        await connection.run(lambda database: _check(database, path))
    except sqlite3.Error as failure:
        await connection.close()
        raise refusal(path, failure) from failure
    except BaseException:
        await connection.close()
        raise
    return connection


def prepare_database(folder: DataFolder) -> None:
    """Create or migrate the database in `folder` where need be, for the processes that are to open it.

    Starts no thread. Raises StoreRefused, as `open_database` does.
    """
    _provide(folder)
    try:
        with closing(connect(folder.database, BUSY_TIMEOUT)) as connection:
            _check(connection, folder.database)
    except sqlite3.Error as failure:
        raise refusal(folder.database, failure) from failure


def _provide(folder: DataFolder) -> None:
    """See that there is a database file, an empty one where there was none."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreRefused(f"SQLite {sqlite3.sqlite_version} is too old; use a Python with SQLite {needed} or newer")
    path = folder.database
    log = path.with_name(f"{path.name}-wal")
    if _size(path) == 0 and _size(log) > 0:
        # SQLite would take the log for left over from another database, and delete it.
        raise StoreRefused(f"{path} is missing or empty while its write-ahead log {log.name} is not; {_BACKUP}")
    folder.create(DATABASE)


def refusal(path: Path, failure: sqlite3.Error) -> StoreRefused:
    """Return why the database at `path` cannot be served, of the error that SQLite gave."""
    match getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            found = f"is not an SQLite database, or its first page is damaged; {_BACKUP}"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            found = f"is locked by another program; end it, or {_ELSEWHERE}"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            found = f"cannot be written: {cause(failure)}; make it writable for this user, or {_ELSEWHERE}"
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            found = f"cannot be read or written: {cause(failure)}; look at the disk and its free space"
        case _:
            found = f"is damaged: {cause(failure)}; {_BACKUP}"
    return StoreRefused(f"{path} {found}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(connection: sqlite3.Connection, path: Path) -> None:
    known = len(MIGRATIONS)
    found = version(connection)
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if owner != APPLICATION_ID and not (empty and found == 0):
        raise StoreRefused(f"{path} is a database of another program; {_ELSEWHERE}")
    if found > known:
        schemas = f"its schema is {found}, and this version knows {known}"
        raise StoreRefused(f"{path} was written by a newer version ({schemas}); run that version, or {_ELSEWHERE}")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        raise StoreRefused(f"{path} is on a file system without shared memory, such as a network share; {_ELSEWHERE}")
    migrate(connection)
    # Where a page of the schema or the first of a table or index is damaged, this meets it.
    for kind, name, table in connection.execute(
        "SELECT type, name, tbl_name FROM sqlite_schema WHERE rootpage > 0"
    ).fetchall():
        indexed = f'INDEXED BY "{name}"' if kind == "index" else "NOT INDEXED"
        connection.execute(f'SELECT 1 FROM "{table}" {indexed} LIMIT 1').fetchone()  # noqa: S608
