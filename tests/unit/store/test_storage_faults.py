import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.domain.errors import StoreUnavailable
from server.domain.events import InstanceChanged
from server.instances import Instances
from server.store.folder import DataFolder
from server.store.interface import Recorded
from server.store.sqlite import SQLiteStore

Rows = Callable[..., list[tuple[Any, ...]]]
Setup = Callable[..., Any]


async def outcomes_of(store: SQLiteStore, setup: Setup, count: int) -> list[type]:
    commands = [setup() for _ in range(count)]
    outcomes = await asyncio.gather(*(store.execute(command, "a") for command in commands), return_exceptions=True)
    return [type(outcome) for outcome in outcomes]


def counts(rows: Rows) -> list[int]:
    tables = ("events", "instances", "domains", "organizations", "users", "members")
    return [rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables]


async def limit_pages(store: SQLiteStore, faults: Any, room: int | None) -> None:
    """Let the database grow by `room` pages; None: as far as it likes."""
    connection = store._writer._connection
    assert connection is not None
    limit = (
        1 << 30 if room is None else await connection.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0] + room)
    )
    await connection.run(lambda c: c.execute(f"PRAGMA max_page_count = {limit}").fetchone())
    faults.pages = limit


async def test_a_full_database_fails_the_whole_group_and_works_again_once_there_is_room(
    store: SQLiteStore, setup: Setup, faults: Any, rows: Rows
) -> None:
    assert await outcomes_of(store, setup, 1) == [Recorded]
    before = counts(rows)
    await limit_pages(store, faults, 4)
    assert await outcomes_of(store, setup, 32) == [StoreUnavailable] * 32
    assert counts(rows) == before
    assert await outcomes_of(store, setup, 32) == [StoreUnavailable] * 32
    faults.pages = None
    assert await outcomes_of(store, setup, 32) == [Recorded] * 32
    assert counts(rows) == [before[0] + 32 * 7, *(count + 32 * count for count in before[1:])]


async def test_reads_go_on_while_nothing_can_be_written(
    store: SQLiteStore, instances: Instances, setup: Setup, acme: dict[str, Any], faults: Any
) -> None:
    added = await instances.add(acme, creator="a")
    await limit_pages(store, faults, 0)
    assert StoreUnavailable in await outcomes_of(store, setup, 32)
    assert await instances.by_id(added.instance_id) is not None


async def test_a_database_locked_by_another_program_is_waited_for_and_then_given_up(
    store: SQLiteStore, setup: Setup, folder: DataFolder, rows: Rows
) -> None:
    other = sqlite3.connect(folder.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await outcomes_of(store, setup, 4) == [StoreUnavailable] * 4
    waiting = asyncio.create_task(outcomes_of(store, setup, 4))
    await asyncio.sleep(0.05)
    other.execute("ROLLBACK")
    assert await waiting == [Recorded] * 4
    other.close()
    assert counts(rows)[1] == 4


def failing(statement: str, times: int = 1) -> Callable[[str], None]:
    """Raise an I/O error on the statements that begin so, a number of times."""
    left = [times]

    def check(sql: str) -> None:
        if sql.startswith(statement) and left[0]:
            left[0] -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error

    return check


@pytest.mark.parametrize(
    "statement", ["BEGIN", "SELECT", "INSERT INTO events", "INSERT INTO members", "UPDATE last_id"]
)
async def test_an_io_error_anywhere_in_a_group_fails_all_of_it(
    store: SQLiteStore, setup: Setup, faults: Any, rows: Rows, statement: str
) -> None:
    faults.before = failing(statement)
    assert await outcomes_of(store, setup, 8) == [StoreUnavailable] * 8
    assert counts(rows)[:2] == [0, 0]
    assert await outcomes_of(store, setup, 8) == [Recorded] * 8


@pytest.mark.parametrize(
    "statement", ["SAVEPOINT", "UPDATE instances", "INSERT INTO domains", "RELEASE", "UPDATE last_id"]
)
async def test_an_io_error_anywhere_in_a_group_of_savepoints_fails_all_of_it(
    store: SQLiteStore,
    instances: Instances,
    setup: Setup,
    acme: Any,
    happen: Any,
    *,
    faults: Any,
    rows: Rows,
    statement: str,
) -> None:
    added = await instances.add(acme, creator="a")
    faults.before = failing(statement)
    assert await outcomes_of(store, apart(setup, happen, added.instance_id), 8) == [StoreUnavailable] * 8
    assert counts(rows)[:2] == [7, 1]
    assert await outcomes_of(store, apart(setup, happen, added.instance_id), 8) == [Recorded] * 8


def apart(setup: Setup, happen: Any, instance_id: str) -> Setup:
    """Return what makes every other command a change of the instance, so that a group of them goes one by one."""
    number = itertools.count()
    return lambda: setup() if next(number) % 2 else happen(instance_id, [InstanceChanged("New")])


async def test_a_transaction_that_sqlite_ended_by_itself_is_not_written_on(
    store: SQLiteStore, setup: Setup, faults: Any, rows: Rows
) -> None:
    def end_it(sql: str) -> None:
        if sql.startswith("INSERT INTO users"):
            sqlite3.Connection.execute(faults.opened[0], "ROLLBACK")
            raise ZeroDivisionError

    faults.before = end_it
    assert await outcomes_of(store, setup, 8) == [StoreUnavailable] * 8
    assert counts(rows)[:2] == [0, 0]


async def test_a_transaction_that_sqlite_ended_by_itself_in_a_savepoint_is_not_written_on(
    store: SQLiteStore, instances: Instances, setup: Setup, acme: Any, happen: Any, *, faults: Any, rows: Rows
) -> None:
    added = await instances.add(acme, creator="a")
    seen = []

    def end_it(sql: str) -> None:
        seen.append(sql)
        if sql.startswith("INSERT INTO users") and seen.count("SAVEPOINT command") == 4:
            sqlite3.Connection.execute(faults.opened[0], "ROLLBACK")
            raise ZeroDivisionError

    faults.before = end_it
    assert await outcomes_of(store, apart(setup, happen, added.instance_id), 8) == [StoreUnavailable] * 8
    assert counts(rows)[:2] == [7, 1]


async def test_deciding_in_a_transaction_that_sqlite_ended_by_itself_loses_the_group(
    store: SQLiteStore, setup: Setup, faults: Any, rows: Rows
) -> None:
    def end_it(sql: str) -> None:
        if sql.startswith("SELECT 1 FROM domains"):
            sqlite3.Connection.execute(faults.opened[0], "ROLLBACK")
            raise ZeroDivisionError

    faults.before = end_it
    assert await outcomes_of(store, partial(setup, custom_domain="acme.example"), 8) == [StoreUnavailable] * 8
    assert counts(rows)[:2] == [0, 0]


async def test_a_commit_that_failed_and_left_nothing_is_unavailable(
    store: SQLiteStore, setup: Setup, faults: Any, rows: Rows
) -> None:
    faults.before = failing("COMMIT")
    assert await outcomes_of(store, setup, 8) == [StoreUnavailable] * 8
    assert counts(rows)[:2] == [0, 0]
    assert await outcomes_of(store, setup, 8) == [Recorded] * 8


async def test_a_commit_that_failed_and_stored_the_group_is_made_durable_and_acknowledged(
    store: SQLiteStore, setup: Setup, faults: Any, rows: Rows, folder: DataFolder
) -> None:
    faults.after = failing("COMMIT")
    assert await outcomes_of(store, setup, 8) == [Recorded] * 8
    assert (folder.path / "instanced.db-wal").stat().st_size == 0
    assert counts(rows)[1] == 8


async def test_after_a_failed_commit_reads_show_what_is_stored(
    store: SQLiteStore, instances: Instances, acme: dict[str, Any], faults: Any, happen: Callable[..., Any]
) -> None:
    added = await instances.add(acme, creator="a")
    await instances.by_id(added.instance_id)
    faults.after = failing("COMMIT")
    await store.execute(happen(added.instance_id, [InstanceChanged("New")]), "a")
    read = await instances.by_id(added.instance_id)
    assert read is not None
    assert read.name == "New"


async def test_a_commit_whose_outcome_cannot_be_found_out_is_unavailable_and_logged(
    store: SQLiteStore, setup: Setup, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    faults.after = failing("COMMIT")
    faults.before = failing("PRAGMA wal_checkpoint")
    assert await outcomes_of(store, setup, 8) == [StoreUnavailable] * 8
    assert "whether its group is stored is not known" in caplog.text
    assert await outcomes_of(store, setup, 8) == [Recorded] * 8


async def test_a_read_that_fails_is_unavailable_and_the_next_one_works(
    store: SQLiteStore, instances: Instances, acme: dict[str, Any], faults: Any
) -> None:
    added = await instances.add(acme, creator="a")
    faults.before = failing("SELECT i.id")
    with pytest.raises(StoreUnavailable):
        await instances.by_id(added.instance_id)
    assert await instances.by_id(added.instance_id) is not None


CHILD = """
import asyncio, pathlib, resource, signal, sys
from server.domain.commands import AddInstance
from server.domain.instance_setup import InstanceSetup
from server.store.folder import DataFolder
from server.store.sqlite import open_store

def command():
    fields = {"instance_name": "Acme", "owner_email": {"email": "a@acme.example"}}
    return InstanceSetup(AddInstance.parse(fields, external_domain="localhost"), None, "localhost")

async def adds(store, count):
    outcomes = await asyncio.gather(*(store.execute(command(), "a") for _ in range(count)), return_exceptions=True)
    return sorted({type(outcome).__name__ for outcome in outcomes})

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with DataFolder.open(pathlib.Path(sys.argv[1])) as folder:
        store = await open_store(folder)
        print(*await adds(store, 1))
        largest = max(file.stat().st_size for file in folder.path.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 4096, resource.RLIM_INFINITY))
        print(*await adds(store, 32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(*await adds(store, 32))
        await store.close()

asyncio.run(main())
"""


def test_an_io_error_of_the_file_system_fails_the_whole_group(tmp_path: Path, rows_in: Callable[..., Any]) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "data")], capture_output=True, text=True, timeout=30, check=False
    )
    assert child.stdout.split("\n") == ["Recorded", "StoreUnavailable", "Recorded", ""], child.stderr
    assert rows_in(tmp_path / "data", "SELECT count(*) FROM instances") == [(33,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this system lets nobody mount: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


async def test_a_full_disk_fails_the_whole_group_and_works_again_once_there_is_room(
    small_disk: Path, serve: Callable[..., Any], setup: Setup, rows_in: Callable[..., Any]
) -> None:
    with DataFolder.open(small_disk / "data") as folder:
        store = await serve(folder)
        assert await outcomes_of(store, setup, 4) == [Recorded] * 4
        filler = small_disk / "filler"
        fill(filler)
        assert await outcomes_of(store, setup, 32) == [StoreUnavailable] * 32
        assert rows_in(folder.path, "SELECT count(*) FROM instances") == [(4,)]
        filler.unlink()
        assert await outcomes_of(store, setup, 8) == [Recorded] * 8
        await store.close()
        assert rows_in(folder.path, "SELECT count(*) FROM instances") == [(12,)]
        assert rows_in(folder.path, "PRAGMA integrity_check") == [("ok",)]


KILLED = """
import asyncio, pathlib, sys
from server.domain.commands import AddInstance
from server.domain.instance_setup import InstanceSetup
from server.store.folder import DataFolder
from server.store.sqlite import open_store

async def caller(store, number):
    fields = {"instance_name": "Acme", "owner_email": {"email": "a@acme.example"}}
    while True:
        number += 32
        request = AddInstance.parse(fields | {"custom_domain": f"a{number}.example"}, external_domain="localhost")
        recorded = await store.execute(InstanceSetup(request, None, "localhost"), "a")
        print(recorded.instance_id, flush=True)

async def main():
    with DataFolder.open(pathlib.Path(sys.argv[1])) as folder:
        store = await open_store(folder)
        await asyncio.gather(*(caller(store, number) for number in range(32)))

asyncio.run(main())
"""


def killed_after(lines: int, path: Path) -> set[int]:
    """Kill a process under load once it acknowledged so many instances; return the ids of all that it acknowledged."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.readlines()
    return {int(line) for line in acknowledged if line.endswith("\n")}


@pytest.mark.parametrize("lines", [1, 40, 333])
async def test_what_was_acknowledged_before_a_kill_is_there_whole_and_nothing_in_part(
    tmp_path: Path, serve: Callable[..., Any], rows_in: Callable[..., Any], lines: int
) -> None:
    path = tmp_path / "data"
    complete = killed_after(lines, path)
    with DataFolder.open(path) as folder:
        await (await serve(folder)).close()
    stored = {number for (number,) in rows_in(path, "SELECT id FROM instances")}
    assert complete <= stored
    assert len(complete) >= lines
    for query in (
        "SELECT count(*) = 9 FROM events GROUP BY instance_id",
        "SELECT count(*) = 2 AND sum(is_primary) = 1 FROM domains GROUP BY instance_id",
        "SELECT count(*) = 1 FROM organizations GROUP BY instance_id",
        "SELECT count(*) = 1 FROM users GROUP BY instance_id",
        "SELECT count(*) = 2 FROM members GROUP BY instance_id",
    ):
        assert rows_in(path, query) == [(1,)] * len(stored)
    assert rows_in(path, "PRAGMA integrity_check") == [("ok",)]
