"""Instances written into SQLite and nothing else: the rows of real ones, in groups, as fast as one thread can.

`python -m … SOURCE FOLDER INSTANCES GROUP`: the last so many instances of the database SOURCE go into a new one with
the same tables, indexes and triggers, by a connection that is set up as ours are. Prints the seconds that it took, and
those of the processor.
"""

import sqlite3
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from server.store.sqlite.connection import connect

Rows = dict[str, list[tuple[Any, ...]]]


def read(source: sqlite3.Connection, instances: int) -> dict[int, Rows]:
    """Return the rows of each of the newest instances, by table."""
    newest = source.execute("SELECT id FROM instances ORDER BY id DESC LIMIT ?", (instances,)).fetchall()
    first = newest[-1][0]
    found: dict[int, Rows] = {number: defaultdict(list) for (number,) in reversed(newest)}
    for (table,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [column[1] for column in source.execute(f"PRAGMA table_info({table})")]
        belongs = "id" if table == "instances" else "instance_id"
        if belongs in columns:
            at = columns.index(belongs)
            for row in source.execute(f"SELECT * FROM {table} WHERE {belongs} >= ?", (first,)):
                found[row[at]][table].append(row)
    return found


def write(target: sqlite3.Connection, instances: list[Rows], group: int) -> None:
    """Write them, so many in each commit."""
    # The order of rows is that of the log, table by table.
    groups = []
    for first in range(0, len(instances), group):
        together: Rows = defaultdict(list)
        for each in instances[first : first + group]:
            for table, rows in each.items():
                together[table] += rows
        groups.append(together)
    statements = {
        table: f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})" for table, rows in groups[0].items()
    }
    began, used = time.perf_counter(), time.process_time()
    for together in groups:
        target.execute("BEGIN IMMEDIATE")
        for table, rows in together.items():
            target.executemany(statements[table], rows)
        target.execute("COMMIT")
    print(time.perf_counter() - began, time.process_time() - used)


def main() -> None:
    """Run the command line."""
    path, folder, instances, group = sys.argv[1:]
    source = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)
    found = read(source, int(instances))
    file = Path(folder).absolute() / "raw.db"
    file.touch()
    target = connect(file, 5)
    for (statement,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"):
        target.execute(statement)
    write(target, list(found.values()), int(group))


if __name__ == "__main__":
    main()
