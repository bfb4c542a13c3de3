"""The reading connection never waits for the writer: in WAL mode each query sees the last commit and locks nothing.

https://www.sqlite.org/wal.html#concurrency
"""

import asyncio
import contextlib
import sqlite3
from functools import partial

from server.domain.errors import StoreUnavailable
from server.domain.model import Instance
from server.store.sqlite import rows
from server.store.sqlite.connection import Connection, Opener
from server.store.sqlite.failures import cause


class Reader:
    """Looks instances up; `queries` counts how often the database was asked."""

    def __init__(self, connection: Connection, opener: Opener) -> None:
        self._connection: Connection | None = connection
        self._opener = opener
        self._opening = asyncio.Lock()
        self._closed = False
        self.queries = 0

    async def instance_by_domain(self, domain: str) -> Instance | None:
        """Return the instance that `domain` leads to. Raises StoreUnavailable."""
        return await self._instance(rows.INSTANCE_BY_DOMAIN, domain)

    async def instance_by_id(self, instance_id: str) -> Instance | None:
        """Return the instance with that id. Raises StoreUnavailable."""
        found = await self._instance(rows.INSTANCE_BY_ID, instance_id)
        # The column is an integer, and SQLite would take "07" for 7.
        return found if found is not None and found.id == instance_id else None

    async def close(self) -> None:
        """Close the connection; reads raise StoreUnavailable from then on."""
        self._closed = True
        await self._disconnect()

    async def _instance(self, query: str, key: str) -> Instance | None:
        self.queries += 1
        try:
            connection = await self._connected()
            return await connection.run(partial(_fetch, query=query, key=key))
        except sqlite3.Error as failure:
            # A new connection is cheap, and whatever the error left behind goes with the old one.
            await self._disconnect()
            raise StoreUnavailable(cause(failure)) from failure

    async def _connected(self) -> Connection:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._connection is None:
            async with self._opening:
                if self._connection is None:
                    self._connection = await self._opener.open()
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                await connection.close()


def _fetch(connection: sqlite3.Connection, query: str, key: str) -> Instance | None:
    return rows.to_instance(connection.execute(query, (key,)).fetchall())
