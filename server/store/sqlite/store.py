"""The store on SQLite, put together: a writer behind group commit, a reader behind a cache."""

import sqlite3
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial

from server.domain.decisions import Command, Decided_co
from server.domain.model import Instance
from server.store.cache import InstanceCache
from server.store.folder import DataFolder
from server.store.grouping import GroupCommit
from server.store.interface import Recorded
from server.store.sqlite.commit_mark import CommitMark
from server.store.sqlite.connection import BUSY_TIMEOUT, Connector, Opener, connect
from server.store.sqlite.log_watch import LogWatch
from server.store.sqlite.opening import open_database, refusal
from server.store.sqlite.reader import Reader
from server.store.sqlite.transaction import Clock
from server.store.sqlite.turns import Turns
from server.store.sqlite.writer import Writer


class SQLiteStore:
    """A `server.store.interface.Store`; built by `open_store`."""

    def __init__(
        self, writer: Writer, reader: Reader, cache: InstanceCache, watch: LogWatch | None, turns: Turns | None
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._cache = cache
        self._watch = watch
        self._turns = turns
        self._group_commit = GroupCommit(writer.commit)

    @property
    def commits(self) -> int:
        """How many transactions were committed since the store was opened."""
        return self._writer.commits

    @property
    def queries(self) -> int:
        """How many queries the reads needed since the store was opened."""
        return self._reader.queries

    async def execute(self, command: Command[Decided_co], creator: str) -> Recorded[Decided_co]:
        """Store what follows from `command`; see `Store.execute`."""
        return await self._group_commit.execute(command, creator)

    def known_instance_by_domain(self, domain: str) -> Instance | None:
        """Return the instance that `domain` leads to where no query is needed; see `Store.known_instance_by_domain`."""
        if self._watch is not None:
            self._watch.look()
        return self._cache.known_by_domain(domain)

    async def instance_by_domain(self, domain: str) -> Instance | None:
        """Return the instance that `domain` leads to; see `Store.instance_by_domain`."""
        if self._watch is not None:
            self._watch.look()
        return await self._cache.by_domain(domain, partial(self._reader.instance_by_domain, domain))

    async def instance_by_id(self, instance_id: str) -> Instance | None:
        """Return the instance with that id; see `Store.instance_by_id`."""
        if self._watch is not None:
            self._watch.look()
        return await self._cache.by_id(instance_id, partial(self._reader.instance_by_id, instance_id))

    async def close(self) -> None:
        """Finish the commands that wait, then close; the write-ahead log is emptied into the database file."""
        await self._group_commit.close()
        if self._watch is not None:
            self._watch.close()
        await self._reader.close()
        await self._writer.close()
        if self._turns is not None:
            self._turns.close()


def now() -> int:
    """Return microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


async def open_store(
    folder: DataFolder,
    *,
    alone: bool = True,
    busy_timeout: float = BUSY_TIMEOUT,
    clock: Clock = now,
    connector: Connector = connect,
) -> SQLiteStore:
    """Open the database in `folder`, creating or migrating it where need be.

    The caller closes the store, then the folder. `alone`: no other process writes to it while it is open, so that reads
    need not look for what others have committed. A command waits `busy_timeout` seconds for another process's lock.
    Raises StoreRefused where the database cannot be served.
    """
    opener = Opener(folder.database, busy_timeout, connector)
    cache = InstanceCache()
    async with AsyncExitStack() as undo:
        writing = await open_database(folder, opener)
        undo.push_async_callback(writing.close)
        try:
            reading = await opener.open()
        except sqlite3.Error as failure:
            raise refusal(folder.database, failure) from failure
        undo.push_async_callback(reading.close)
        reader = Reader(reading, opener)
        if alone:
            store = SQLiteStore(Writer(writing, opener, clock=clock, changed=cache.drop), reader, cache, None, None)
        else:
            mark, turns = CommitMark(folder), Turns(folder)
            watch = LogWatch(folder.database, connector, mark, changed=cache.drop, anything_changed=cache.clear)

            def changed(instance_ids: Iterable[str]) -> None:
                cache.drop(instance_ids)
                mark.change()

            writer = Writer(writing, opener, clock=clock, changed=changed, turn=turns.turn)
            store = SQLiteStore(writer, reader, cache, watch, turns)
        undo.pop_all()
    return store
