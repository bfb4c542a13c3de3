import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from server.domain.events import DomainAdded, DomainPrimarySet, DomainRemoved, InstanceAdded, InstanceChanged
from server.instances import Instances
from server.store.folder import DataFolder
from server.store.interface import StoreRefused
from server.store.sqlite import SQLiteStore, rebuild

Dump = Callable[[], dict[str, list[tuple[Any, ...]]]]


def alter(folder: DataFolder, *statements: str) -> None:
    connection = sqlite3.connect(folder.database, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.fixture
async def lived_in(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any], clock: Any, *, happen: Any, folder: DataFolder
) -> DataFolder:
    """Return a folder whose closed database has seen every kind of event, and domains that moved."""
    password = {"password": "Passw0rd!"}
    first = await instances.add(acme | {"custom_domain": "acme.example", "owner_password": password}, creator="a")
    for number in range(10):
        clock.now += 1_000_000
        await instances.add(acme | {"instance_name": f"Ünï {number}"}, creator="b")
    for events in (
        [InstanceChanged("New name")],
        [DomainAdded("second.example", generated=False)],
        [DomainPrimarySet("second.example")],
        [DomainRemoved("acme.example")],
        [DomainPrimarySet("second.example")],
    ):
        clock.now += 1_000_000
        await store.execute(happen(first.instance_id, events), "c")
    await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    await store.close()
    return folder


async def test_the_projections_come_out_the_same_byte_for_byte(lived_in: DataFolder, projections: Dump) -> None:
    before = projections()
    assert await rebuild(lived_in, lambda _done, _total: None) == 9 + 10 * 7 + 5 + 9
    assert projections() == before
    assert all(before.values())


async def test_a_new_instance_that_changes_before_it_is_stored_comes_out_the_same(
    store: SQLiteStore, happen: Any, folder: DataFolder, projections: Dump
) -> None:
    events = [
        InstanceAdded("New", "en"),
        DomainAdded("a.example", generated=False),
        DomainPrimarySet("a.example"),
        DomainAdded("b.example", generated=False),
        DomainPrimarySet("b.example"),
        InstanceChanged("Newer"),
        DomainRemoved("a.example"),
        DomainAdded("c.example", generated=True),
        DomainPrimarySet("b.example"),
    ]
    await store.execute(happen("7", events), "a")
    await store.close()
    before = projections()
    await rebuild(folder, lambda _done, _total: None)
    assert projections() == before


async def test_what_was_lost_or_altered_comes_back(lived_in: DataFolder, projections: Dump) -> None:
    before = projections()
    alter(
        lived_in,
        "DELETE FROM domains WHERE position % 2",
        "UPDATE instances SET name = 'altered'",
        "DELETE FROM users",
        "UPDATE members SET roles = '[]'",
        "DROP TABLE organizations",
    )
    await rebuild(lived_in, lambda _done, _total: None)
    assert projections() == before


async def test_progress_goes_from_none_to_all(lived_in: DataFolder) -> None:
    told: list[tuple[int, int]] = []
    total = await rebuild(lived_in, lambda done, total: told.append((done, total)), batch=40)
    assert told == [(0, 93), (40, 93), (80, 93), (93, 93)]
    assert total == 93


async def test_a_rebuilt_database_is_served_as_before(
    lived_in: DataFolder, serve: Callable[..., Any], setup: Callable[..., Any]
) -> None:
    await rebuild(lived_in, lambda _done, _total: None)
    store = await serve(lived_in)
    read = await store.instance_by_domain("second.example")
    assert read.name == "New name"
    await store.execute(setup(), "a")


async def test_an_empty_log_makes_empty_projections(folder: DataFolder, projections: Dump) -> None:
    assert await rebuild(folder, lambda _done, _total: None) == 0
    assert not any(projections().values())


async def test_an_event_that_this_version_does_not_know_stops_it_and_changes_nothing(
    lived_in: DataFolder, projections: Dump
) -> None:
    before = projections()
    alter(
        lived_in,
        "INSERT INTO events"
        " SELECT max(position) + 1, 1, 'instance', 1, 1, 'instance.exploded', '{}', 'a', 1 FROM events",
    )
    with pytest.raises(StoreRefused, match=r"instance\.exploded.*run the version that wrote it"):
        await rebuild(lived_in, lambda _done, _total: None)
    assert projections() == before


async def test_a_rebuild_that_is_stopped_changes_nothing(lived_in: DataFolder, projections: Dump) -> None:
    before = projections()

    def stop(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rebuild(lived_in, stop)
    assert projections() == before
