"""The writing connection: commits groups, finds out what a failed COMMIT left, and comes back after a storage error."""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from server.domain.decisions import Decided
from server.domain.errors import StoreUnavailable
from server.store.grouping import Order
from server.store.interface import Recorded
from server.store.sqlite.connection import Connection, Opener
from server.store.sqlite.failures import cause
from server.store.sqlite.transaction import Clock, CommitFailed, Group, TransactionLost, has_event, write_group

_log = logging.getLogger(__name__)


class Writer:
    """Commits one group at a time, as `grouping.Commit`.

    `changed` is told the instances of a commit before anyone else is. `turn` is entered around each transaction, on the
    connection's thread.
    """

    def __init__(
        self,
        connection: Connection,
        opener: Opener,
        *,
        clock: Clock,
        changed: Callable[[Iterable[str]], None],
        turn: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._connection: Connection | None = connection
        self._opener = opener
        self._clock = clock
        self._changed = changed
        self._turn = turn
        self.commits = 0

    async def commit(self, orders: Sequence[Order]) -> Sequence[Recorded[Decided] | Exception]:
        """Return the outcome of each order, durable.

        Raises StoreUnavailable where the storage failed: nothing is stored.
        """
        try:
            connection = await self._connected()
            group = await connection.run(partial(self._write, orders=orders))
        except CommitFailed as failure:
            group = await self._settle(failure)
        except (sqlite3.Error, TransactionLost) as failure:
            await self._disconnect()
            _log.warning("a group of %d commands is not stored: %s", len(orders), cause(failure))
            raise StoreUnavailable(cause(failure)) from failure
        except BaseException:
            # A bug, or the loop ending: the connection may be anywhere in the group.
            await self._disconnect()
            raise
        if group.last is not None:
            self.commits += 1
        self._changed(group.changed)
        return group.outcomes

    async def close(self) -> None:
        """Move the log into the database file, so that a copy of that file alone is whole, and close."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error, _CheckpointBlocked):  # the next start reads the write-ahead log
                await self._connection.run(_checkpoint)
        await self._disconnect()

    def _write(self, connection: sqlite3.Connection, orders: Sequence[Order]) -> Group:
        with self._turn():
            return write_group(connection, orders, self._clock)

    async def _settle(self, failure: CommitFailed) -> Group:
        """Find out on a new connection whether a group is stored whose COMMIT failed, and make that true for good.

        A sync that failed may have lost pages that it called written, so a group that is there is acknowledged only
        after a checkpoint. One that is not there may have left frames in the write-ahead log that a crash would bring
        back: the same checkpoint cuts them off, or else they are written over.
        """
        group, reason = failure.group, cause(failure.__cause__ or failure)
        await self._disconnect()
        self._changed(group.changed)
        try:
            connection = await self._connected()
            stored = await connection.run(partial(_has_last_event, group=group))
            if stored:
                await connection.run(_checkpoint)
        except (sqlite3.Error, _CheckpointBlocked) as second:
            await self._disconnect()
            _log.critical("COMMIT failed (%s); whether its group is stored is not known: %s", reason, cause(second))
            raise StoreUnavailable(f"COMMIT failed, outcome unknown: {reason}; {cause(second)}") from second
        if not stored:
            try:
                await connection.run(_checkpoint)
            except (sqlite3.Error, _CheckpointBlocked):
                with contextlib.suppress(sqlite3.Error):
                    await connection.run(_write_over)
                # That one is set up otherwise than others.
                await self._disconnect()
            _log.warning("COMMIT failed (%s); its group of %d commands is not stored", reason, len(group.outcomes))
            raise StoreUnavailable(f"COMMIT failed: {reason}") from failure
        _log.warning("COMMIT failed (%s), and yet its group is stored; it was synced anew", reason)
        return group

    async def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = await self._opener.open()
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                await connection.close()


class _CheckpointBlocked(Exception):
    """Another connection reads or writes and has not let the checkpoint finish in time."""


def _has_last_event(connection: sqlite3.Connection, group: Group) -> bool:
    return (last := group.last) is not None and has_event(connection, last.events[-1])


def _checkpoint(connection: sqlite3.Connection) -> None:
    # TRUNCATE syncs the log, writes it into the database file, syncs that and empties the log.
    blocked, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if blocked:
        raise _CheckpointBlocked("the write-ahead log is in use")


def _write_over(connection: sqlite3.Connection) -> None:
    # A commit that skips an id goes where the failed one began, and the log then ends with it: what follows no longer
    # continues its running checksum. Without a sync, which would fail too; a process that is killed needs none.
    # https://www.sqlite.org/fileformat.html#the_write_ahead_log
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # a checkpoint without syncs could lose what is durable
    connection.execute("PRAGMA synchronous = OFF")
    try:
        connection.execute("UPDATE last_id SET id = id + 1")
    finally:
        connection.execute("PRAGMA synchronous = FULL")
