import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.store.folder import DataFolder
from server.store.interface import StoreRefused
from server.store.sqlite.schema import MIGRATIONS, migrate, version

Serve = Callable[..., Any]


@pytest.fixture
async def filled(serve: Serve, folder: DataFolder, setup: Callable[..., Any]) -> DataFolder:
    """Return a folder with a closed database that some instances are in."""
    store = await serve(folder)
    for _ in range(20):
        await store.execute(setup(), "a")
    await store.close()
    return folder


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def alter(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_a_database_of_a_newer_version_is_refused(serve: Serve, filled: DataFolder) -> None:
    alter(filled.database, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreRefused, match=r"newer version.*run that version"):
        await serve(filled)


async def test_a_database_of_another_program_is_refused_and_left_alone(serve: Serve, folder: DataFolder) -> None:
    alter(folder.database, "CREATE TABLE theirs (x)")
    with pytest.raises(StoreRefused, match="another program"):
        await serve(folder)
    connection = sqlite3.connect(folder.database)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


@pytest.mark.parametrize("content", [os.urandom(8192), b"x" * 100, b"not a database\n" * 1000])
async def test_what_is_no_database_is_refused(serve: Serve, folder: DataFolder, content: bytes) -> None:
    folder.database.write_bytes(content)
    with pytest.raises(StoreRefused, match=r"is not an SQLite database.*restore it from a backup"):
        await serve(folder)
    assert folder.database.read_bytes() == content


@pytest.mark.parametrize("size", [512, 4096, 3 * 4096, -4096])
async def test_a_truncated_database_is_refused(serve: Serve, filled: DataFolder, size: int) -> None:
    whole = filled.database.stat().st_size
    os.truncate(filled.database, size % whole)
    with pytest.raises(StoreRefused, match=r"(is damaged|not an SQLite database).*restore it from a backup"):
        await serve(filled)


@pytest.mark.parametrize("offset", [100, 200, 2000])
async def test_an_overwritten_schema_is_refused(serve: Serve, filled: DataFolder, offset: int) -> None:
    overwrite(filled.database, offset, b"\xff" * (4096 - offset))
    with pytest.raises(StoreRefused, match=r"is damaged.*restore it from a backup"):
        await serve(filled)


async def test_an_overwritten_first_page_of_any_table_is_refused(serve: Serve, filled: DataFolder) -> None:
    connection = sqlite3.connect(filled.database)
    roots = connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall()
    connection.close()
    whole = filled.database.read_bytes()
    assert len(roots) >= 9
    for _name, root in roots:
        overwrite(filled.database, (root - 1) * 4096, b"\xff" * 4096)
        with pytest.raises(StoreRefused, match="is damaged"):  # else the table or index called `_name` is not looked at
            await serve(filled)
        filled.database.write_bytes(whole)


async def test_a_write_ahead_log_without_its_database_is_refused_and_kept(serve: Serve, filled: DataFolder) -> None:
    log = filled.path / "instanced.db-wal"
    log.write_bytes(b"x" * 4096)
    filled.database.unlink()
    with pytest.raises(StoreRefused, match=r"missing or empty.*restore it from a backup"):
        await serve(filled)
    assert log.exists()


async def test_a_locked_database_is_refused(serve: Serve, folder: DataFolder) -> None:
    other = sqlite3.connect(folder.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreRefused, match="locked by another program"):
        await serve(folder, busy_timeout=0.05)
    other.close()


async def test_an_sqlite_without_strict_tables_is_refused(
    serve: Serve, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreRefused, match=re.escape("use a Python with SQLite 3.37.0 or newer")):
        await serve(folder)


async def test_a_failed_start_lets_the_next_one_start(serve: Serve, filled: DataFolder) -> None:
    alter(filled.database, "PRAGMA user_version = 99")
    with pytest.raises(StoreRefused):
        await serve(filled)
    alter(filled.database, f"PRAGMA user_version = {len(MIGRATIONS)}")
    await serve(filled)


def test_migrations_run_once_each_and_in_their_order(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None)
    migrate(connection, MIGRATIONS)
    connection.execute("UPDATE last_id SET id = 7")
    ran: list[int] = []
    longer = [*MIGRATIONS, lambda _: ran.append(1), lambda _: ran.append(2)]
    migrate(connection, longer)
    migrate(connection, longer)
    assert ran == [1, 2]
    assert version(connection) == len(longer)
    assert connection.execute("SELECT id FROM last_id").fetchall() == [(7,)]
    connection.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise ZeroDivisionError

    connection = sqlite3.connect(tmp_path / "db", isolation_level=None)
    migrate(connection)
    with pytest.raises(ZeroDivisionError):
        migrate(connection, [*MIGRATIONS, half])
    assert version(connection) == len(MIGRATIONS)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("statement", ["UPDATE events SET payload = '{}'", "DELETE FROM events"])
async def test_the_log_is_append_only(filled: DataFolder, statement: str) -> None:
    connection = sqlite3.connect(filled.database)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()


async def test_ids_are_stored_as_integers(filled: DataFolder, rows: Callable[..., Any]) -> None:
    for table, column in [
        ("events", "instance_id"),
        ("events", "aggregate_id"),
        ("instances", "id"),
        ("domains", "instance_id"),
        ("organizations", "id"),
        ("users", "organization_id"),
        ("members", "aggregate_id"),
        ("members", "user_id"),
    ]:
        assert rows(f"SELECT DISTINCT typeof({column}) FROM {table}") == [("integer",)]


async def test_commits_are_synced(serve: Serve, folder: DataFolder) -> None:
    connection = (await serve(folder))._writer._connection
    pragmas = [
        await connection.run(lambda database, name=name: database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("journal_mode", "synchronous")
    ]
    assert pragmas == ["wal", 2]
