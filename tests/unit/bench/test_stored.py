"""What is read beside a server of its database."""

import sqlite3
from pathlib import Path

from tests.bench import stored


def test_commits_of_a_writer_are_counted_across_checkpoints(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "instances.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE instances (id INTEGER PRIMARY KEY)")
    before = stored.commits(tmp_path)
    for number in range(1, 6):
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO instances VALUES (?)", [(number * 10 + each,) for each in range(3)])
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("SELECT * FROM instances").fetchall()
    assert stored.commits(tmp_path) - before == 5
    assert stored.instances(tmp_path) == 15
    connection.close()
