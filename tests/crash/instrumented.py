"""Runs a command of this project with its SQLite connections watched, and set as a test says while it runs.

    python instrumented.py FOLDER /path/to/instanced serve …

Before each transaction, what `FOLDER/pragmas.json` says (`{"synchronous": "OFF"}`) is set. `FOLDER/diary` gets a line
for every command that arrives at the store, for every one that it asks what follows, and for every statement that
begins or ends a transaction or adds rows.
A tracer of the same user may attach to the process. None of it is a setting of the product.
"""

import ctypes
import json
import os
import runpy
import sqlite3
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
PRAGMAS = FOLDER / "pragmas.json"
WRITTEN = ("BEGIN", "COMMIT", "ROLLBACK", "INSERT")
DIARY = os.open(FOLDER / "diary", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

# prctl(2): Yama lets a process be traced by its ancestors alone, unless it says otherwise.
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)


def write(line: str) -> None:
    os.write(DIARY, f"{line}\n".encode())


class Connection(sqlite3.Connection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.set_trace_callback(
            lambda statement: write(statement.split("(")[0]) if statement.startswith(WRITTEN) else None
        )

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement.startswith("BEGIN"):
            for name, value in json.loads(PRAGMAS.read_text()).items():
                super().execute(f"PRAGMA {name} = {value}")
        return super().execute(statement, *parameters)


def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
    return plain_connect(*arguments, **options, factory=Connection)


plain_connect, sqlite3.connect = sqlite3.connect, connect  # type: ignore[assignment]  # the overloads say the same

# Whatever these import must find the connections above.
from server.domain.instance_setup import InstanceSetup  # noqa: E402
from server.store.grouping import GroupCommit  # noqa: E402

plain_execute = GroupCommit.execute


async def execute(self: GroupCommit, *arguments: Any) -> Any:
    write("arrived")
    return await plain_execute(self, *arguments)


plain_decide = InstanceSetup.decide


def decide(self: InstanceSetup, *arguments: Any) -> Any:
    write("decided")
    return plain_decide(self, *arguments)


InstanceSetup.decide = decide  # type: ignore[assignment, method-assign]  # takes what the other takes
GroupCommit.execute = execute  # type: ignore[assignment, method-assign]  # takes what the other takes
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
