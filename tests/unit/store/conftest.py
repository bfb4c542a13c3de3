"""A store on disk, closed when the test ends; commands for it; and faults that a test can switch on."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.domain.commands import AddInstance
from server.domain.decisions import Decision, NewEvent, Registry
from server.domain.events import Event
from server.domain.instance_setup import InstanceSetup
from server.domain.passwords import Passwords
from server.domain.projections import TABLES
from server.instances import Instances
from server.store.folder import DATABASE, DataFolder
from server.store.sqlite import SQLiteStore, open_store
from server.store.sqlite.connection import connect

EXTERNAL_DOMAIN = "localhost"


@dataclass
class Clock:
    """Microseconds since 1970-01-01 UTC, as the test sets them."""

    now: int = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Faults:
    """Where SQLite fails: `before` and `after` are called around each statement with its text, and may raise."""

    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    pages: int | None = None
    opened: list[sqlite3.Connection] = field(default_factory=list)

    def connect(self, path: Path, busy_timeout: float) -> sqlite3.Connection:
        faults = self

        class Faulty(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                faults.before(sql)
                cursor = super().execute(sql, *parameters)
                faults.after(sql)
                return cursor

        plain = connect(path, busy_timeout)
        plain.close()
        connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None, factory=Faulty)
        sqlite3.Connection.execute(connection, "PRAGMA synchronous = FULL")
        if self.pages is not None:
            sqlite3.Connection.execute(connection, f"PRAGMA max_page_count = {self.pages}")
        self.opened.append(connection)
        return connection


@dataclass(frozen=True)
class Happen:
    """A command that these events follow from, all of one instance's own aggregate."""

    instance_id: str
    events: Sequence[Event]

    def decide(self, registry: Registry) -> Decision:
        return Decision(self.instance_id, [NewEvent(self.instance_id, event) for event in self.events])


@pytest.fixture
def happen() -> type[Happen]:
    return Happen


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as held:
        yield held


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[SQLiteStore]]]:
    """Open a store as `open_store` does; whatever becomes of the test, its threads end with it."""
    async with AsyncExitStack() as stack:

        async def start(folder: DataFolder, **options: Any) -> SQLiteStore:
            opened = await open_store(folder, **options)
            stack.push_async_callback(opened.close)
            return opened

        yield start


@pytest.fixture
async def store(
    serve: Callable[..., Awaitable[SQLiteStore]], folder: DataFolder, clock: Clock, faults: Faults
) -> SQLiteStore:
    return await serve(folder, busy_timeout=0.2, clock=clock, connector=faults.connect)


@pytest.fixture(scope="session")
def passwords() -> Iterator[Passwords]:
    pool = Passwords()
    yield pool
    pool.close()


@pytest.fixture
def instances(store: SQLiteStore, passwords: Passwords) -> Instances:
    return Instances(store, EXTERNAL_DOMAIN, passwords)


@pytest.fixture
def acme() -> dict[str, Any]:
    return {"instance_name": "Acme", "owner_email": {"email": "a@acme.example"}}


@pytest.fixture
def setup(acme: dict[str, Any]) -> Callable[..., InstanceSetup]:
    def build(**fields: object) -> InstanceSetup:
        return InstanceSetup(AddInstance.parse(acme | fields, external_domain=EXTERNAL_DOMAIN), None, EXTERNAL_DOMAIN)

    return build


@pytest.fixture
def rows_in() -> Callable[..., list[tuple[Any, ...]]]:
    """Read the database in a folder as another program would."""

    def query(path: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(path / DATABASE)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    return query


@pytest.fixture
def rows(folder: DataFolder, rows_in: Callable[..., list[tuple[Any, ...]]]) -> Callable[..., list[tuple[Any, ...]]]:
    """Read the database of the store as another program would."""
    return partial(rows_in, folder.path)


@pytest.fixture
def projections(rows: Callable[..., list[tuple[Any, ...]]]) -> Callable[[], dict[str, list[tuple[Any, ...]]]]:
    """Return every row of every projection, in the order in which they lie in the file."""

    def dump() -> dict[str, list[tuple[Any, ...]]]:
        return {table: rows(f"SELECT * FROM {table} NOT INDEXED") for table in TABLES}

    return dump
