import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from server.domain.events import DomainAdded, DomainPrimarySet, DomainRemoved, InstanceChanged
from server.domain.model import Domain, Instance, ObjectDetails
from server.instances import Instances
from server.store.cache import InstanceCache
from server.store.sqlite import SQLiteStore

DETAILS = ObjectDetails(1, 1, 1, "7")


def instance(number: int = 7, name: str = "Acme", *domains: str) -> Instance:
    shown = domains or (f"{number}.example",)
    return Instance(
        str(number), DETAILS, name, tuple(Domain(DETAILS, each, primary=False, generated=False) for each in shown)
    )


class Query:
    """A query whose answer the test gives when it likes."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[asyncio.Future[Instance | None]] = []

    async def __call__(self) -> Instance | None:
        self.asked += 1
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


async def asking(call: Any) -> asyncio.Task[Instance | None]:
    task = asyncio.create_task(call)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_a_read_that_began_before_a_commit_does_not_outlive_it() -> None:
    cache, query = InstanceCache(), Query()
    early = await asking(cache.by_domain("7.example", query))
    cache.drop(["7"])
    late = await asking(cache.by_domain("7.example", query))
    query.answers[0].set_result(instance(name="old"))
    query.answers[1].set_result(instance(name="new"))
    assert (await early, await late) == (instance(name="old"), instance(name="new"))
    assert await cache.by_domain("7.example", query) == instance(name="new")
    assert query.asked == 2


async def test_an_early_read_that_ends_last_does_not_overwrite_a_later_one() -> None:
    cache, query = InstanceCache(), Query()
    early = await asking(cache.by_domain("7.example", query))
    cache.drop(["7"])
    late = await asking(cache.by_domain("7.example", query))
    query.answers[1].set_result(instance(name="new"))
    await late
    query.answers[0].set_result(instance(name="old"))
    await early
    assert await cache.by_id("7", query) == instance(name="new")


async def test_a_read_survives_commits_that_touched_other_instances() -> None:
    cache, query = InstanceCache(), Query()
    read = await asking(cache.by_domain("7.example", query))
    cache.drop(["8"])
    query.answers[0].set_result(instance())
    await read
    await cache.by_domain("7.example", query)
    assert query.asked == 1


async def test_after_clear_nothing_that_was_on_its_way_is_kept() -> None:
    cache, query = InstanceCache(), Query()
    read = await asking(cache.by_domain("7.example", query))
    cache.clear()
    query.answers[0].set_result(instance())
    await read
    await asking(cache.by_domain("7.example", query))
    assert query.asked == 2
    query.answers[1].set_result(None)


async def test_concurrent_misses_share_one_query() -> None:
    cache, query = InstanceCache(), Query()
    first = await asking(cache.by_domain("7.example", query))
    second = await asking(cache.by_domain("7.example", query))
    first.cancel()
    await asyncio.sleep(0)
    query.answers[0].set_result(instance())
    assert await second == instance()
    assert query.asked == 1


async def test_that_there_is_no_instance_is_not_remembered() -> None:
    cache, query = InstanceCache(), Query()
    for _ in range(2):
        read = await asking(cache.by_domain("7.example", query))
        query.answers[-1].set_result(None)
        assert await read is None
    assert query.asked == 2


async def test_a_query_that_fails_fails_all_who_wait_and_is_asked_anew() -> None:
    cache, query = InstanceCache(), Query()
    reads = [await asking(cache.by_domain("7.example", query)) for _ in range(2)]
    query.answers[0].set_exception(ZeroDivisionError())
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2
    read = await asking(cache.by_domain("7.example", query))
    query.answers[1].set_result(instance())
    assert await read == instance()


async def test_the_cache_is_bounded_and_forgets_with_an_instance_its_domains() -> None:
    cache = InstanceCache(size=2)
    for number in range(10):

        async def query(number: int = number) -> Instance:
            return instance(number, "Acme", f"{number}.example", f"www.{number}.example")

        await cache.by_domain(f"{number}.example", query)
    assert len(cache._instances) == 2
    assert set(cache._ids) == {"8.example", "www.8.example", "9.example", "www.9.example"}
    assert not cache._flights


async def test_a_domain_that_moved_leads_to_its_new_instance() -> None:
    cache, query = InstanceCache(), Query()

    async def answered(call: Any, answer: Instance) -> None:
        read = await asking(call)
        query.answers[-1].set_result(answer)
        await read

    await answered(cache.by_id("7", query), instance(7, "A", "moved.example"))
    cache.drop(["7"])
    await answered(cache.by_id("8", query), instance(8, "B", "moved.example"))
    await answered(cache.by_id("7", query), instance(7, "A", "7.example"))
    assert await cache.by_domain("moved.example", query) == instance(8, "B", "moved.example")
    assert query.asked == 3


async def test_reads_of_what_did_not_change_run_no_query(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any]
) -> None:
    added = await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    await instances.by_domain("acme.example")
    before = store.queries
    for _ in range(4):
        await instances.add(acme, creator="a")
        for _ in range(25):
            await instances.by_domain("acme.example")
            await instances.by_id(added.instance_id)
    assert store.queries == before


async def test_a_read_shows_what_was_acknowledged_before_it(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any], happen: Callable[..., Any]
) -> None:
    added = await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    stop = asyncio.Event()

    async def read_on() -> None:
        while not stop.is_set():
            await store.instance_by_domain("acme.example")
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read_on()) for _ in range(4)]
    for number in range(100):
        await store.execute(happen(added.instance_id, [InstanceChanged(f"Acme {number}")]), "a")
        read = await store.instance_by_domain("acme.example")
        assert read is not None
        assert read.name == f"Acme {number}"
    stop.set()
    await asyncio.gather(*readers)


async def test_domains_that_come_and_go_are_seen_at_once(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any], happen: Callable[..., Any]
) -> None:
    added = await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    before = await store.instance_by_domain("acme.example")
    assert before is not None
    assert await store.instance_by_domain("new.example") is None
    change = [
        DomainAdded("new.example", generated=False),
        DomainPrimarySet("new.example"),
        DomainRemoved("acme.example"),
    ]
    await store.execute(happen(added.instance_id, change), "a")
    assert await store.instance_by_domain("acme.example") is None
    after = await store.instance_by_domain("new.example")
    assert after is not None
    assert [(domain.domain, domain.primary) for domain in after.domains] == [
        ("new.example", True),
        (before.domains[1].domain, False),
    ]
    assert after.details == replace(before.details, sequence=12, change_date=after.details.change_date)


async def test_a_removed_domain_is_free_for_another_instance(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any], happen: Callable[..., Any]
) -> None:
    first = await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    await instances.by_domain("acme.example")
    await store.execute(happen(first.instance_id, [DomainRemoved("acme.example")]), "a")
    second = await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    read = await instances.by_domain("acme.example")
    assert read is not None
    assert read.id == second.instance_id
