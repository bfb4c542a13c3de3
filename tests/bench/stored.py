"""What a server's database says of its work, read from beside it."""

import sqlite3
import struct
from pathlib import Path

from tests.bench.unmeasured import Failed


def database(data: Path) -> Path:
    """Return the database file of a data folder."""
    found = list(data.glob("*.db"))
    if len(found) != 1:
        raise Failed(f"{data} does not hold one database")
    return found[0]


def instances(data: Path) -> int:
    """Return how many instances are stored."""
    connection = sqlite3.connect(f"{database(data).absolute().as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM instances").fetchone()[0])
    finally:
        connection.close()


def commits(data: Path) -> int:
    """Return a counter that each commit of a writer increments: `iChange` in the index of the write-ahead log.

    https://www.sqlite.org/walformat.html#the_wal_index_header
    """
    path = database(data)
    with path.with_name(f"{path.name}-shm").open("rb") as index:
        version, _, change = struct.unpack("=III", index.read(12))
    # The version that the page above describes, 3.7.0 and later.
    if version != 3007000:
        raise Failed(f"the write-ahead log's index has version {version}")
    return int(change)
