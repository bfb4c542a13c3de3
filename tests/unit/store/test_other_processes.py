"""Several processes on one database: no read shows what another one's acknowledged commit has overtaken."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from server.domain.errors import StoreUnavailable
from server.domain.events import DomainAdded, DomainPrimarySet, DomainRemoved, Event, InstanceChanged, to_payload
from server.domain.model import Instance
from server.domain.passwords import Passwords
from server.instances import Instances
from server.store.folder import DataFolder
from server.store.sqlite import SQLiteStore
from server.store.sqlite.log_watch import CATCH_UP_LIMIT, LOOK_EVERY
from tests.unit.store.conftest import EXTERNAL_DOMAIN, Faults

HOST = "acme.example"

Serve = Callable[..., Awaitable[SQLiteStore]]


class OtherProcess:
    """A process beside this one; `record` returns when what it recorded is acknowledged."""

    def __init__(self, folder: DataFolder) -> None:
        lock = folder._lock
        assert lock is not None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.store.other_process", str(folder.path), str(lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(lock,),
            text=True,
        )
        self.wait_for("open")

    def order(self, instance_id: str, events: Sequence[Event]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([instance_id, [[each.type, to_payload(each)] for each in events]]) + "\n")
        self.process.stdin.flush()

    def wait_for(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{line}\n"

    def record(self, instance_id: str, *events: Event) -> None:
        self.order(instance_id, events)
        self.wait_for("stored")


@pytest.fixture
def other(folder: DataFolder, sharing: SQLiteStore) -> Iterator[OtherProcess]:
    other = OtherProcess(folder)
    yield other
    with other.process:
        assert other.process.stdin is not None
        other.process.stdin.close()
    assert other.process.returncode == 0


@pytest.fixture(params=[False])
async def sharing(request: pytest.FixtureRequest, serve: Serve, folder: DataFolder, faults: Faults) -> SQLiteStore:
    """A store that does not have its database alone; but it takes that for granted where the parameter is true."""
    return await serve(folder, alone=request.param, connector=faults.connect)


@pytest.fixture
async def acme_id(sharing: SQLiteStore, passwords: Passwords, acme: dict[str, Any]) -> str:
    """An instance with a domain of each kind, that this process has read before."""
    added = await Instances(sharing, EXTERNAL_DOMAIN, passwords).add(acme | {"custom_domain": HOST}, creator="a")
    assert await sharing.instance_by_domain(HOST) is not None
    return added.instance_id


async def read(store: SQLiteStore, instance_id: str) -> Instance:
    by_id, by_domain = await store.instance_by_id(instance_id), await store.instance_by_domain(HOST)
    assert by_id is not None
    assert by_id == by_domain
    return by_id


# The tests of what another process commits run once more without the check, and must then fail.
with_and_without_the_check = pytest.mark.parametrize(
    "sharing",
    [
        pytest.param(False, id="with the check"),
        pytest.param(
            True,
            id="without the check",
            marks=pytest.mark.xfail(
                raises=AssertionError, strict=True, reason="nobody looks for what other processes commit"
            ),
        ),
    ],
    indirect=True,
)


@with_and_without_the_check
async def test_a_name_that_another_process_changed_is_read_at_once(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess
) -> None:
    before = await read(sharing, acme_id)
    other.record(acme_id, InstanceChanged("Renamed"))
    after = await read(sharing, acme_id)
    assert (after.name, after.details.sequence) == ("Renamed", before.details.sequence + 2)


@with_and_without_the_check
async def test_a_primary_domain_that_another_process_set_is_read_at_once(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess
) -> None:
    custom, generated = (await read(sharing, acme_id)).domains
    other.record(acme_id, DomainPrimarySet(generated.domain))
    domains = (await read(sharing, acme_id)).domains
    assert [(each.domain, each.primary) for each in domains] == [(generated.domain, True), (custom.domain, False)]


@with_and_without_the_check
async def test_a_domain_that_another_process_removed_leads_nowhere_at_once(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess
) -> None:
    other.record(acme_id, DomainRemoved(HOST))
    assert await sharing.instance_by_domain(HOST) is None
    left = await sharing.instance_by_id(acme_id)
    assert left is not None
    assert [each.generated for each in left.domains] == [True]


async def test_a_domain_that_another_process_added_leads_to_the_instance_at_once(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess
) -> None:
    assert await sharing.instance_by_domain("new.example") is None
    other.record(acme_id, DomainAdded("new.example", generated=False))
    found = await sharing.instance_by_domain("new.example")
    assert found is not None
    assert found.id == acme_id


async def test_a_domain_that_moved_in_another_process_leads_to_its_new_instance(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess, passwords: Passwords, acme: dict[str, Any]
) -> None:
    second = await Instances(sharing, EXTERNAL_DOMAIN, passwords).add(acme, creator="a")
    assert await sharing.instance_by_id(second.instance_id) is not None
    other.record(acme_id, DomainRemoved(HOST))
    other.record(second.instance_id, DomainAdded(HOST, generated=False))
    found = await sharing.instance_by_domain(HOST)
    assert found is not None
    assert found.id == second.instance_id


async def test_reads_under_way_never_bring_back_what_was_overtaken(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess
) -> None:
    stop = asyncio.Event()

    async def read_on() -> None:
        while not stop.is_set():
            await sharing.instance_by_domain(HOST)
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read_on()) for _ in range(4)]
    for number in range(200):
        await asyncio.to_thread(other.record, acme_id, InstanceChanged(f"Acme {number}"))
        assert (await read(sharing, acme_id)).name == f"Acme {number}"
    stop.set()
    await asyncio.gather(*readers)


async def test_both_processes_commit_and_each_read_shows_the_last_of_both(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess, happen: Callable[..., Any]
) -> None:
    for number in range(50):
        other.order(acme_id, [InstanceChanged("theirs")])
        await sharing.execute(happen(acme_id, [InstanceChanged("ours")]), "a")
        await asyncio.to_thread(other.wait_for, "stored")
        # Which of them was last, the log alone knows; a store that has never read anything asks it.
        last = await sharing._reader.instance_by_id(acme_id)
        assert await read(sharing, acme_id) == last, number


async def test_commits_of_other_instances_leave_what_is_known(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess, passwords: Passwords, acme: dict[str, Any]
) -> None:
    second = await Instances(sharing, EXTERNAL_DOMAIN, passwords).add(acme, creator="a")
    await read(sharing, acme_id)
    before = sharing.queries
    for number in range(3):
        other.record(second.instance_id, InstanceChanged(f"Second {number}"))
        await Instances(sharing, EXTERNAL_DOMAIN, passwords).add(acme, creator="a")
        await read(sharing, acme_id)
    assert sharing.queries == before


async def test_more_than_it_looks_through_is_no_less_seen(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess
) -> None:
    many = [InstanceChanged(f"Acme {number}") for number in range(CATCH_UP_LIMIT + 1)]
    other.record(acme_id, *many)
    assert (await read(sharing, acme_id)).name == many[-1].name


async def test_while_the_database_cannot_be_asked_for_changes_nothing_comes_from_memory(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess, faults: Faults
) -> None:
    def locked(sql: str) -> None:
        if "max(position)" in sql:
            raise sqlite3.OperationalError("database is locked")

    await read(sharing, acme_id)
    faults.before = locked
    other.record(acme_id, InstanceChanged("One"))
    assert (await read(sharing, acme_id)).name == "One"
    other.record(acme_id, InstanceChanged("Two"))
    assert (await read(sharing, acme_id)).name == "Two"
    faults.before = lambda _: None
    other.record(acme_id, InstanceChanged("Three"))
    assert (await read(sharing, acme_id)).name == "Three"
    before = sharing.queries
    await read(sharing, acme_id)
    assert sharing.queries == before


async def test_a_look_leaves_nothing_open_that_a_checkpoint_would_wait_for(
    sharing: SQLiteStore, acme_id: str, other: OtherProcess, rows: Callable[..., list[tuple[Any, ...]]]
) -> None:
    for name in ("One", "Two"):
        other.record(acme_id, InstanceChanged(name))
        await read(sharing, acme_id)
        blocked, left, _ = rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        assert (blocked, left) == (0, 0)
        assert (await read(sharing, acme_id)).name == name


async def test_another_program_that_says_nothing_of_its_commit_is_seen_all_the_same(
    sharing: SQLiteStore, acme_id: str, folder: DataFolder
) -> None:
    columns = "position, instance_id, aggregate_type, aggregate_id, sequence, event_type, payload, creator, created_at"
    await read(sharing, acme_id)
    with closing(sqlite3.connect(folder.database)) as program, program:
        program.execute(
            f"INSERT INTO events ({columns})"
            " SELECT max(position) + 1, ?, 'instance', ?, 99, ?, ?, 'program', 0 FROM events",
            (acme_id, acme_id, InstanceChanged.type, to_payload(InstanceChanged("Renamed"))),
        )
        program.execute("UPDATE instances SET name = 'Renamed' WHERE id = ?", (acme_id,))
    await asyncio.sleep(2 * LOOK_EVERY)
    assert (await read(sharing, acme_id)).name == "Renamed"


async def test_a_closed_store_opens_nothing(serve: Serve, folder: DataFolder, faults: Faults) -> None:
    store = await serve(folder, alone=False, connector=faults.connect)
    await store.instance_by_id("1")
    await store.close()
    opened = len(faults.opened)
    with pytest.raises(StoreUnavailable):
        await store.instance_by_id("1")
    assert len(faults.opened) == opened
