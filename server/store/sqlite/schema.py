"""The tables, and how an older database becomes one of this version.

`PRAGMA user_version` counts the migrations that a database has seen; `PRAGMA application_id` tells it from other SQLite
files. STRICT tables hold what their columns say, and turn the decimal strings that ids are in the domain into integers.
https://www.sqlite.org/stricttables.html
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

# "inst" in ASCII.
APPLICATION_ID: Final = 0x696E7374

LOG: Final = """
CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  instance_id INTEGER NOT NULL,
  aggregate_type TEXT NOT NULL,
  aggregate_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  event_type TEXT NOT NULL,
  payload TEXT NOT NULL,
  creator TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_instance ON events (instance_id, sequence);
CREATE TRIGGER events_stay_as_they_are BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TABLE last_id (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id INTEGER NOT NULL
) STRICT;
INSERT INTO last_id VALUES (1, 0);
"""

# Keys are such that rows lie in the file in the order of the log, also when they are written anew.
PROJECTIONS: Final = """
CREATE TABLE instances (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  default_language TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  creation_date INTEGER NOT NULL,
  change_date INTEGER NOT NULL
) STRICT;
CREATE TABLE domains (
  position INTEGER PRIMARY KEY,
  instance_id INTEGER NOT NULL,
  domain TEXT NOT NULL,
  is_primary INTEGER NOT NULL,
  is_generated INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  creation_date INTEGER NOT NULL,
  change_date INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX domains_by_name ON domains (domain);
CREATE INDEX domains_by_instance ON domains (instance_id);
CREATE TABLE organizations (
  id INTEGER PRIMARY KEY,
  instance_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  creation_date INTEGER NOT NULL,
  change_date INTEGER NOT NULL
) STRICT;
CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  instance_id INTEGER NOT NULL,
  organization_id INTEGER NOT NULL,
  user_name TEXT NOT NULL,
  display_name TEXT NOT NULL,
  first_name TEXT NOT NULL,
  last_name TEXT NOT NULL,
  preferred_language TEXT NOT NULL,
  email TEXT NOT NULL,
  email_verified INTEGER NOT NULL,
  password_hash TEXT,
  password_change_required INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  creation_date INTEGER NOT NULL,
  change_date INTEGER NOT NULL
) STRICT;
CREATE TABLE members (
  aggregate_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL,
  instance_id INTEGER NOT NULL,
  roles TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  creation_date INTEGER NOT NULL,
  change_date INTEGER NOT NULL,
  PRIMARY KEY (aggregate_id, user_id)
) STRICT, WITHOUT ROWID;
"""

Migration = Callable[[sqlite3.Connection], None]


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Execute the statements of `script` inside the transaction that is open.

    Sqlite3's executescript would commit it first.
    """
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    run_script(connection, LOG)
    run_script(connection, PROJECTIONS)


# Each takes a database from its place in the list to the next. Once released, a migration is never edited: another
# follows it.
MIGRATIONS: Final[Sequence[Migration]] = (_create,)


def version(connection: sqlite3.Connection) -> int:
    """Return how many migrations the database has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the database up to the last of `migrations`, in one transaction or not at all. Raises sqlite3.Error."""
    if version(connection) >= len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in migrations[version(connection) :]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
