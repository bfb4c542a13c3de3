import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from server.domain import names
from server.domain.decisions import Decision, Registry
from server.domain.errors import DomainTaken, StoreUnavailable
from server.domain.events import DomainAdded, InstanceAdded, InstanceChanged
from server.instances import Added, Instances
from server.store.grouping import GroupCommit, Order
from server.store.interface import Recorded
from server.store.sqlite import SQLiteStore

Rows = Callable[..., list[tuple[Any, ...]]]

RECORDED = Recorded(Decision("7", ()), "a", 1, 1, 0)


async def test_one_of_many_gets_a_custom_domain_and_others_in_the_same_groups_are_not_touched(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any], rows: Rows
) -> None:
    contested = [instances.add(acme | {"custom_domain": "acme.example"}, creator="a") for _ in range(64)]
    others = [instances.add(acme | {"custom_domain": f"acme{number}.example"}, creator="a") for number in range(64)]
    outcomes = await asyncio.gather(
        *(call for pair in zip(contested, others, strict=True) for call in pair), return_exceptions=True
    )
    first, second = outcomes[::2], outcomes[1::2]
    assert sum(isinstance(outcome, DomainTaken) for outcome in first) == 63
    assert not any(isinstance(outcome, BaseException) for outcome in second)
    assert rows("SELECT count(*) FROM instances") == [(65,)]
    assert rows("SELECT count(*) FROM events WHERE event_type = 'instance.added'") == [(65,)]


async def test_concurrent_commands_share_commits(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any], rows: Rows
) -> None:
    await asyncio.gather(*(instances.add(acme, creator="a") for _ in range(256)))
    assert rows("SELECT count(*) FROM instances") == [(256,)]
    assert store.commits <= 16


async def test_a_group_waits_for_nobody(instances: Instances, store: SQLiteStore, acme: dict[str, Any]) -> None:
    for _ in range(3):
        await instances.add(acme, creator="a")
    assert store.commits == 3


async def test_positions_and_sequences_have_no_gaps(instances: Instances, acme: dict[str, Any], rows: Rows) -> None:
    taken = acme | {"custom_domain": "acme.example"}
    await asyncio.gather(*(instances.add(taken, creator="a") for _ in range(8)), return_exceptions=True)
    await asyncio.gather(*(instances.add(acme, creator="a") for _ in range(8)))
    positions = [position for (position,) in rows("SELECT position FROM events ORDER BY position")]
    assert positions == list(range(1, 9 + 8 * 7 + 1))
    assert rows("SELECT min(sequence), max(sequence) - count(*) FROM events GROUP BY instance_id") == [(1, 0)] * 9


class Broken:
    """A command with a bug in it."""

    def decide(self, registry: Registry) -> Decision:
        raise ZeroDivisionError


async def test_a_bug_in_one_command_fails_that_command_alone(
    store: SQLiteStore, setup: Callable[..., Any], rows: Rows
) -> None:
    commands = [Broken() if number % 2 else setup() for number in range(16)]
    outcomes = await asyncio.gather(*(store.execute(command, "a") for command in commands), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Recorded, ZeroDivisionError] * 8
    assert rows("SELECT count(*) FROM instances") == [(8,)]


async def test_a_domain_that_only_the_unique_index_finds_taken_is_taken(
    instances: Instances, store: SQLiteStore, acme: dict[str, Any], happen: Callable[..., Any], rows: Rows
) -> None:
    await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    other = await instances.add(acme, creator="a")
    events = [InstanceChanged("New"), DomainAdded("acme.example", generated=False)]
    commits = store.commits
    outcomes = await asyncio.gather(
        store.execute(happen(other.instance_id, events), "a"), instances.add(acme, creator="a"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [DomainTaken, Added]
    assert store.commits == commits + 1
    assert rows("SELECT count(*) FROM instances WHERE name = 'New'") == [(0,)]
    assert rows("SELECT count(*) FROM events") == [(9 + 7 + 7,)]


async def test_a_new_instance_with_a_domain_that_only_the_unique_index_finds_taken_fails_alone(
    instances: Instances,
    store: SQLiteStore,
    setup: Callable[..., Any],
    acme: dict[str, Any],
    *,
    happen: Any,
    rows: Rows,
) -> None:
    await instances.add(acme | {"custom_domain": "acme.example"}, creator="a")
    events = [InstanceAdded("New", "en"), DomainAdded("acme.example", generated=False)]
    commits = store.commits
    outcomes = await asyncio.gather(
        *(store.execute(command, "a") for command in (setup(), happen("7", events), setup())), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Recorded, DomainTaken, Recorded]
    assert store.commits == commits + 1
    assert rows("SELECT count(*) FROM instances WHERE name = 'New'") == [(0,)]
    assert rows("SELECT max(position), count(*) FROM events") == [(9 + 7 + 7, 9 + 7 + 7)]


async def test_a_drawn_domain_that_another_instance_has_is_drawn_anew(
    store: SQLiteStore, setup: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rows: Rows
) -> None:
    # Drawn by the first instance; by the second of the group, and not asked for; when all of them draw once more.
    drawn = iter(["aaaaaa", "bbbbbb", "aaaaaa", "cccccc", "dddddd", "aaaaaa", "eeeeee", "ffffff"])
    monkeypatch.setattr(names, "_suffix", lambda: next(drawn))
    await store.execute(setup(), "a")
    outcomes = await asyncio.gather(*(store.execute(setup(), "a") for _ in range(3)))
    assert [type(outcome) for outcome in outcomes] == [Recorded] * 3
    assert rows("SELECT domain FROM domains ORDER BY position") == [
        (f"acme-{suffix * 6}.localhost",) for suffix in "adef"
    ]
    assert store.commits == 2


async def test_a_domain_drawn_twice_in_a_group_is_drawn_anew(
    store: SQLiteStore, setup: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rows: Rows
) -> None:
    drawn = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr(names, "_suffix", lambda: next(drawn))
    await asyncio.gather(*(store.execute(setup(), "a") for _ in range(2)))
    assert rows("SELECT domain FROM domains ORDER BY position") == [
        ("acme-aaaaaa.localhost",),
        ("acme-bbbbbb.localhost",),
    ]


async def test_of_new_instances_in_one_group_that_do_not_ask_for_their_domain_the_first_gets_it(
    store: SQLiteStore, happen: Any, rows: Rows
) -> None:
    events = [InstanceAdded("New", "en"), DomainAdded("acme.example", generated=False)]
    outcomes = await asyncio.gather(
        *(store.execute(happen(str(number), events), "a") for number in range(1, 5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Recorded, DomainTaken, DomainTaken, DomainTaken]
    assert rows("SELECT id FROM instances") == [(1,)]


async def test_an_event_that_cannot_be_written_fails_its_command_alone(
    store: SQLiteStore, setup: Callable[..., Any], happen: Any, rows: Rows
) -> None:
    commands = [setup(), happen("7", [InstanceAdded("\ud800", "en")]), setup()]
    outcomes = await asyncio.gather(*(store.execute(command, "a") for command in commands), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Recorded, UnicodeEncodeError, Recorded]
    assert rows("SELECT count(*) FROM instances") == [(2,)]


async def test_a_group_that_changes_an_instance_sees_what_came_before_in_it(
    instances: Instances,
    store: SQLiteStore,
    setup: Callable[..., Any],
    acme: dict[str, Any],
    *,
    happen: Any,
    rows: Rows,
) -> None:
    added = await instances.add(acme, creator="a")
    renamed = [happen(added.instance_id, [InstanceChanged(name)]) for name in ("First", "Second")]
    outcomes = await asyncio.gather(
        *(store.execute(command, "a") for command in (setup(), renamed[0], setup(), renamed[1]))
    )
    assert [outcome.events[0].position for outcome in outcomes] == [8, 15, 16, 23]
    assert rows("SELECT name, sequence FROM instances WHERE id = ?", added.instance_id) == [("Second", 9)]


class Gate:
    """A commit that waits until it is let through, and notes what it was given."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.groups: list[list[str]] = []
        self.failure: Exception | None = None

    async def commit(self, orders: Sequence[Order]) -> Sequence[Recorded[Any] | Exception]:
        self.groups.append([order.creator for order in orders])
        await self.open.wait()
        if self.failure:
            raise self.failure
        return [RECORDED for _ in orders]


async def begun(*calls: Any) -> list[asyncio.Task[Recorded[Any]]]:
    tasks = [asyncio.create_task(call) for call in calls]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def test_a_caller_who_goes_away_while_waiting_is_dropped() -> None:
    gate = Gate()
    groups = GroupCommit(gate.commit)
    [first] = await begun(groups.execute(Broken(), "first"))
    second, third = await begun(groups.execute(Broken(), "second"), groups.execute(Broken(), "third"))
    second.cancel()
    gate.open.set()
    assert await first == await third == RECORDED
    await groups.close()
    assert gate.groups == [["first"], ["third"]]


async def test_a_caller_who_asks_again_at_once_goes_along_with_those_who_wait() -> None:
    gate = Gate()
    groups = GroupCommit(gate.commit)

    async def twice() -> None:
        await groups.execute(Broken(), "first")
        await groups.execute(Broken(), "first again")

    first = asyncio.create_task(twice())
    [second] = await begun(groups.execute(Broken(), "second"))
    assert gate.groups == [["first", "second"]]
    third = asyncio.create_task(groups.execute(Broken(), "third"))
    gate.open.set()
    await asyncio.gather(first, second, third)
    await groups.close()
    assert gate.groups == [["first", "second"], ["third", "first again"]]


async def test_a_caller_who_goes_away_after_the_group_began_does_not_stop_it(
    store: SQLiteStore, setup: Callable[..., Any], rows: Rows
) -> None:
    inside, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow:
        def decide(self, registry: Registry) -> Decision:
            loop.call_soon_threadsafe(inside.set)
            asyncio.run_coroutine_threadsafe(leave.wait(), loop).result()
            decision: Decision = setup().decide(registry)
            return decision

    [caller] = await begun(store.execute(Slow(), "a"))
    await inside.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    leave.set()
    await store.execute(setup(), "b")
    assert rows("SELECT creator, count(*) FROM events GROUP BY creator") == [("a", 7), ("b", 7)]


async def test_more_commands_than_may_wait_are_refused() -> None:
    gate = Gate()
    groups = GroupCommit(gate.commit, waiting_limit=2)
    tasks = await begun(groups.execute(Broken(), "first"))
    tasks += await begun(*(groups.execute(Broken(), str(number)) for number in range(3)))
    gate.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Recorded, Recorded, Recorded, StoreUnavailable]
    await groups.close()


async def test_a_group_has_a_largest_size() -> None:
    gate = Gate()
    gate.open.set()
    groups = GroupCommit(gate.commit, group_limit=4)
    await asyncio.gather(*(groups.execute(Broken(), str(number)) for number in range(10)))
    await groups.close()
    assert [len(group) for group in gate.groups] == [4, 4, 2]


async def test_a_bug_in_the_writer_reaches_its_callers_and_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    gate.open.set()
    gate.failure = ZeroDivisionError()
    groups = GroupCommit(gate.commit)
    with pytest.raises(ZeroDivisionError):
        await groups.execute(Broken(), "a")
    gate.failure = None
    assert await groups.execute(Broken(), "b") == RECORDED
    assert "a group of 1 commands failed" in caplog.text
    await groups.close()


async def test_a_commit_that_forgets_an_outcome_leaves_nobody_waiting() -> None:
    async def forgetful(orders: Sequence[Order]) -> Sequence[Recorded[Any] | Exception]:
        return []

    groups = GroupCommit(forgetful)
    with pytest.raises(ValueError, match="zip"):
        await groups.execute(Broken(), "a")
    await groups.close()


async def test_closing_finishes_what_waits_and_refuses_what_comes() -> None:
    gate = Gate()
    groups = GroupCommit(gate.commit)
    tasks = await begun(groups.execute(Broken(), "first"))
    tasks += await begun(groups.execute(Broken(), "second"))
    [closing] = await begun(groups.close())
    with pytest.raises(StoreUnavailable):
        await groups.execute(Broken(), "late")
    gate.open.set()
    await closing
    assert [task.result() for task in tasks] == [RECORDED] * 2


async def test_a_cancelled_writer_leaves_nobody_waiting() -> None:
    gate = Gate()
    groups = GroupCommit(gate.commit)
    tasks = await begun(groups.execute(Broken(), "first"))
    tasks += await begun(groups.execute(Broken(), "second"))
    groups._task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
    with pytest.raises(StoreUnavailable):
        await groups.execute(Broken(), "late")
    await groups.close()
