"""One group of commands as one transaction, each in a savepoint.

All of it runs on the writer's thread, and knows no asyncio.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from server.domain.decisions import Decision
from server.domain.events import RecordedEvent
from server.domain.ids import next_id
from server.domain.projections import project
from server.store.grouping import Order
from server.store.interface import Recorded
from server.store.sqlite import rows
from server.store.sqlite.failures import is_storage_failure

# Microseconds since 1970-01-01 UTC.
Clock = Callable[[], int]


class TransactionLost(Exception):
    """SQLite ended the transaction by itself, or a storage error made it worthless.

    It is rolled back and nothing is stored.
    """


class CommitFailed(Exception):
    """COMMIT raised, and whether the group is stored is not known; `group` is what it would have stored."""

    def __init__(self, group: "Group") -> None:
        super().__init__("COMMIT failed")
        self.group = group


@dataclass(slots=True)
class Group:
    """What became of each order of a group, in their order, and the last event that it stored; None: it stored none."""

    outcomes: list[Recorded | Exception] = field(default_factory=list)
    last_event: RecordedEvent | None = None

    @property
    def changed(self) -> set[str]:
        """Ids of the instances that the group changed."""
        return {outcome.instance_id for outcome in self.outcomes if isinstance(outcome, Recorded)}


class _Registry:
    """What commands of one group may ask; and the place where the log and the ids stand."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self.position = int(connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])
        self.last_id = int(connection.execute("SELECT id FROM last_id").fetchone()[0])

    def draw_id(self) -> str:
        self.last_id = next_id(self.last_id, self._clock() // 1000)
        return str(self.last_id)

    def has_domain(self, domain: str) -> bool:
        return rows.has_domain(self._connection, domain)


def write_group(connection: sqlite3.Connection, orders: Sequence[Order], clock: Clock) -> Group:
    """Execute `orders` and commit; the group is durable when this returns.

    What a command raises, a broken rule or a bug, undoes that command alone. Raises sqlite3.Error or TransactionLost
    where the storage failed before COMMIT (nothing is stored), and CommitFailed where COMMIT itself did.
    """
    connection.execute("BEGIN IMMEDIATE")
    with _rolled_back_on_error(connection):
        registry = _Registry(connection, clock)
        group = Group()
        for order in orders:
            outcome = _execute(connection, order, registry, clock)
            group.outcomes.append(outcome)
            if isinstance(outcome, Recorded):
                group.last_event = outcome.events[-1]
                registry.position = outcome.events[-1].position
        if group.last_event is None:
            connection.execute("ROLLBACK")
            return group
        connection.execute("UPDATE last_id SET id = ?", (registry.last_id,))
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as failure:
            raise CommitFailed(group) from failure
    return group


def has_event(connection: sqlite3.Connection, event: RecordedEvent) -> bool:
    """Tell whether the log holds `event` at its position."""
    found = connection.execute(
        "SELECT instance_id, sequence FROM events WHERE position = ?", (event.position,)
    ).fetchone()
    return found is not None and (str(found[0]), found[1]) == (event.instance_id, event.sequence)


@contextmanager
def _rolled_back_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Where SQLite rolled back by itself this would be an error of its own; the first one tells more.
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _execute(connection: sqlite3.Connection, order: Order, registry: _Registry, clock: Clock) -> Recorded | Exception:
    connection.execute("SAVEPOINT command")
    try:
        recorded = _record(order.command.decide(registry), order.creator, connection, registry.position, clock())
    except Exception as failure:
        if isinstance(failure, sqlite3.Error) and is_storage_failure(failure):
            raise
        # SQLITE_FULL and SQLITE_IOERR end the transaction, savepoints and all; the next statement would then commit by
        # itself.
        if not connection.in_transaction:
            raise TransactionLost("the transaction ended inside a command") from failure
        connection.execute("ROLLBACK TO command")
        connection.execute("RELEASE command")
        return failure
    connection.execute("RELEASE command")
    return recorded


def _record(decision: Decision, creator: str, connection: sqlite3.Connection, position: int, now: int) -> Recorded:
    if not decision.events:
        raise ValueError("a command decided on no events")
    found = connection.execute(
        "SELECT coalesce(max(sequence), 0) FROM events WHERE instance_id = ?", (decision.instance_id,)
    )
    sequence = int(found.fetchone()[0])
    events = tuple(
        RecordedEvent(
            position=position + number,
            instance_id=decision.instance_id,
            aggregate_id=new.aggregate_id,
            sequence=sequence + number,
            event=new.event,
            creator=creator,
            created_at=now,
        )
        for number, new in enumerate(decision.events, start=1)
    )
    rows.append(connection, events)
    for recorded in events:
        for change in project(recorded):
            rows.apply(connection, change)
    return Recorded(events)
