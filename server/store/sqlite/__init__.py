"""The store on SQLite through aiosqlite: `open_store` for serving, `rebuild` for the projections anew.

`prepare_database` goes before several processes that open the store.
"""

from server.store.sqlite.opening import prepare_database
from server.store.sqlite.rebuilding import rebuild
from server.store.sqlite.store import SQLiteStore, open_store

__all__ = ["SQLiteStore", "open_store", "prepare_database", "rebuild"]
