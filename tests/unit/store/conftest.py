"""A store on disk, closed when the test ends, and the requests that the tests send to it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.domain.instances import Instances
from server.domain.passwords import Passwords
from server.store.folder import DataFolder
from server.store.sqlite import SQLiteStore, open_store

EXTERNAL_DOMAIN = "localhost"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as held:
        yield held


@pytest.fixture
async def store(folder: DataFolder) -> AsyncIterator[SQLiteStore]:
    opened = await open_store(folder)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def passwords() -> Iterator[Passwords]:
    pool = Passwords()
    yield pool
    pool.close()


@pytest.fixture
def instances(store: SQLiteStore, passwords: Passwords) -> Instances:
    return Instances(store, EXTERNAL_DOMAIN, passwords)


@pytest.fixture
def acme() -> dict[str, Any]:
    return {"instance_name": "Acme", "owner_email": {"email": "a@acme.example"}}
