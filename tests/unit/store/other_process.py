"""Another process that has the same database open, and commits what it is told to.

    python -m tests.unit.store.other_process FOLDER LOCK

FOLDER is held by whoever started it, who hands the lock down as the file descriptor LOCK. Each line of stdin is a JSON
array of an instance's id and its events, each its type and payload; a line of stdout says that they are stored.
"""

import asyncio
import json
import sys
from pathlib import Path

from server.domain.events import from_payload
from server.store.folder import DataFolder
from server.store.sqlite import open_store
from tests.unit.store.conftest import Happen


async def _main(folder: DataFolder) -> None:
    store = await open_store(folder, alone=False)
    _say("open")
    while line := await asyncio.to_thread(sys.stdin.readline):
        instance_id, events = json.loads(line)
        await store.execute(Happen(instance_id, [from_payload(kind, payload) for kind, payload in events]), "other")
        _say("stored")
    await store.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(DataFolder(Path(sys.argv[1]), int(sys.argv[2]))))
