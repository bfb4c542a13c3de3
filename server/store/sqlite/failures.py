"""Which errors of SQLite are the storage's, and which are the statement's own.

https://www.sqlite.org/rescode.html
"""

import sqlite3
from typing import Final

# The statement is at fault, and the transaction around it as good as before: a broken constraint, a value that does not
# fit, SQL that is wrong. The low byte is the primary code.
_OF_THE_STATEMENT: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_TOOBIG,
    }
)


def is_storage_failure(error: sqlite3.Error) -> bool:
    """Tell whether the database could not be read or written: full, locked, read-only, corrupt, an I/O error."""
    # Errors that Python's module raises by itself, about a wrong use of it, carry no code.
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF not in _OF_THE_STATEMENT


def cause(error: BaseException) -> str:
    """Return what the log should say of `error`: its text and SQLite's name for it."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{error} ({name})"
