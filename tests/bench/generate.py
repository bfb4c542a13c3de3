"""`python -m tests.bench.generate COUNT FOLDER`: a data folder with COUNT instances, for measuring how cost grows.

They come from the server's own code: a command is parsed, decides, and its events and rows are written by the store,
into the store's own schema. Only what makes a commit durable is left out until the end, when everything is synced.
Instance 123 has the custom domain `i000123.bench.example`, see `custom_domain`. The folder appears when it is whole.
"""

import argparse
import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from server.domain.commands import AddInstance
from server.domain.instance_setup import InstanceSetup
from server.store.folder import DataFolder
from server.store.grouping import Order
from server.store.interface import Recorded
from server.store.sqlite.connection import Opener
from server.store.sqlite.opening import open_database
from server.store.sqlite.store import now
from server.store.sqlite.transaction import write_group

EXTERNAL_DOMAIN: Final = "localhost"
CREATOR: Final = "bench"

# Commands in a transaction.
GROUP: Final = 4_000

_KNUTH: Final = 2_654_435_761


def custom_domain(number: int) -> str:
    """Return the domain by which instance `number`, counted from 0, is asked for."""
    return f"i{number:06d}.bench.example"


def instance_name(number: int) -> str:
    """Return the name of instance `number`.

    Neighbours have names far apart (multiplicative hashing), so that generated domains lie all over their index, as
    those of tenants do, and not one behind the other.
    """
    return f"{number * _KNUTH % 2**32:08x} Bench {number}"


def generate(count: int, path: Path, progress: Callable[[int], None]) -> None:
    """Make the data folder at `path`, which must be missing or empty, with `count` instances.

    `progress` is called with how many there are.
    """
    path = path.absolute()
    if path.exists() and any(path.iterdir()):
        raise FileExistsError(f"{path} is not empty")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with DataFolder.open(beside) as folder:
            asyncio.run(_fill(folder, count, progress))
        os.sync()  # what was written without a sync is on disk before the folder has its name
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside)
        raise


async def _fill(folder: DataFolder, count: int, progress: Callable[[int], None]) -> None:
    connection = await open_database(folder, Opener(folder.database))
    try:
        await connection.run(_relax)
        for first in range(0, count, GROUP):
            last = min(first + GROUP, count)
            await connection.run(partial(_write, numbers=range(first, last)))
            progress(last)
        await connection.run(_finish)
    finally:
        await connection.close()


def _relax(connection: sqlite3.Connection) -> None:
    # A crash would leave a broken file, in a folder that is not there yet. The cache holds the indexes of a million.
    for pragma in ("synchronous = OFF", "locking_mode = EXCLUSIVE", "journal_mode = OFF", "cache_size = -1000000"):
        connection.execute(f"PRAGMA {pragma}").fetchone()


def _write(connection: sqlite3.Connection, numbers: range) -> None:
    group = write_group(connection, [Order(_command(number), CREATOR) for number in numbers], now)
    for outcome in group.outcomes:
        if not isinstance(outcome, Recorded):
            raise outcome


def _command(number: int) -> InstanceSetup:
    fields = {
        "instance_name": instance_name(number),
        "custom_domain": custom_domain(number),
        "owner_email": {"email": f"owner@{custom_domain(number)}"},
    }
    return InstanceSetup(AddInstance.parse(fields, external_domain=EXTERNAL_DOMAIN), None, EXTERNAL_DOMAIN)


def _finish(connection: sqlite3.Connection) -> None:
    # The first write in this mode makes it the file's; closing the connection then ends its log.
    for pragma in ("locking_mode = NORMAL", "synchronous = FULL", "journal_mode = WAL", "wal_checkpoint(TRUNCATE)"):
        connection.execute(f"PRAGMA {pragma}").fetchone()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.generate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("count", type=int, help="how many instances")
    parser.add_argument("folder", type=Path, help="missing, or empty")
    arguments = parser.parse_args()
    began = time.monotonic()

    def progress(done: int) -> None:
        rate = done / (time.monotonic() - began)
        sys.stderr.write(f"\r{done:,} of {arguments.count:,} instances, {rate:,.0f} a second")
        sys.stderr.flush()

    try:
        generate(arguments.count, arguments.folder, progress)
    except FileExistsError as refused:
        parser.error(str(refused))
    sys.stderr.write(f", {time.monotonic() - began:.0f} s in all\n")


if __name__ == "__main__":
    main()
