"""The store on SQLite through aiosqlite: `open_store` for serving, `rebuild` for the projections anew."""

from server.store.sqlite.rebuilding import rebuild
from server.store.sqlite.store import SQLiteStore, open_store

__all__ = ["SQLiteStore", "open_store", "rebuild"]
