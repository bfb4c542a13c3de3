"""One group of commands as one transaction.

Commands that set instances up are decided one after another and then written together, a few statements for all of
them. Where one changes what is stored, or a row does not fit, all of the group are done anew, each in a savepoint.

All of it runs on the writer's thread, and knows no asyncio.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from server.domain.decisions import Decision
from server.domain.events import RecordedEvent
from server.domain.ids import next_id
from server.domain.projections import TABLES, Row, Table, Value, project, rows_of_new
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


@dataclass(frozen=True, slots=True)
class Group:
    """What became of each order of a group, in their order."""

    outcomes: Sequence[Recorded | Exception]

    @property
    def last_event(self) -> RecordedEvent | None:
        """The last event that the group stored; None: it stored none."""
        stored = (outcome.events[-1] for outcome in reversed(self.outcomes) if isinstance(outcome, Recorded))
        return next(stored, None)

    @property
    def changed(self) -> set[str]:
        """Ids of the instances that the group changed."""
        return {outcome.instance_id for outcome in self.outcomes if isinstance(outcome, Recorded)}


class _Apart(Exception):
    """These commands cannot be written together."""


class _Registry:
    """What commands of one group may ask; and the place where the log and the ids stand.

    `domains` are those that the group adds and that are not written yet.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self.position = int(connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])
        self.last_id = int(connection.execute("SELECT id FROM last_id").fetchone()[0])
        self.domains: set[Value] = set()

    def draw_id(self) -> str:
        self.last_id = next_id(self.last_id, self._clock() // 1000)
        return str(self.last_id)

    def has_domain(self, domain: str) -> bool:
        return domain in self.domains or rows.has_domain(self._connection, domain)


_Write = Callable[[sqlite3.Connection, Sequence[Order], _Registry, Clock], list[Recorded | Exception]]


def write_group(connection: sqlite3.Connection, orders: Sequence[Order], clock: Clock) -> Group:
    """Execute `orders` and commit; the group is durable when this returns.

    What a command raises, a broken rule or a bug, undoes that command alone. Raises sqlite3.Error or TransactionLost
    where the storage failed before COMMIT (nothing is stored), and CommitFailed where COMMIT itself did.
    """
    try:
        return _transaction(connection, orders, clock, _write_together)
    except _Apart:
        return _transaction(connection, orders, clock, _write_one_by_one)


def _transaction(connection: sqlite3.Connection, orders: Sequence[Order], clock: Clock, write: _Write) -> Group:
    connection.execute("BEGIN IMMEDIATE")
    with _rolled_back_on_error(connection):
        registry = _Registry(connection, clock)
        group = Group(write(connection, orders, registry, clock))
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


def _raise_if_lost(connection: sqlite3.Connection, failure: Exception) -> None:
    """Raise where nothing of the transaction can be saved after `failure`."""
    if isinstance(failure, sqlite3.Error) and is_storage_failure(failure):
        raise failure
    # SQLITE_FULL and SQLITE_IOERR end the transaction, savepoints and all; the next statement would then commit by
    # itself.
    if not connection.in_transaction:
        raise TransactionLost("the transaction ended inside a command") from failure


def _write_together(
    connection: sqlite3.Connection, orders: Sequence[Order], registry: _Registry, clock: Clock
) -> list[Recorded | Exception]:
    outcomes: list[Recorded | Exception] = []
    log: list[RecordedEvent] = []
    projections: dict[Table, list[Row]] = {table: [] for table in TABLES}
    for order in orders:
        try:
            recorded = _begin_instance(order, registry, clock())
            added = rows_of_new(recorded.events)
        except _Apart:
            raise
        except Exception as failure:  # noqa: BLE001 - the caller gets it
            # Nothing is written yet, so there is nothing to undo.
            _raise_if_lost(connection, failure)
            outcomes.append(failure)
            continue
        log += recorded.events
        for table in TABLES:
            projections[table] += added[table]
        registry.domains.update(row["domain"] for row in added["domains"])
        registry.position = recorded.events[-1].position
        outcomes.append(recorded)
    try:
        rows.append(connection, log)
        for table in TABLES:
            rows.insert(connection, table, projections[table])
    except Exception as failure:
        _raise_if_lost(connection, failure)
        raise _Apart from failure
    return outcomes


def _begin_instance(order: Order, registry: _Registry, now: int) -> Recorded:
    decision = order.command.decide(registry)
    if not decision.begins_instance:
        raise _Apart
    return _record(decision, order.creator, registry.position, 0, now)


def _write_one_by_one(
    connection: sqlite3.Connection, orders: Sequence[Order], registry: _Registry, clock: Clock
) -> list[Recorded | Exception]:
    return [_write_one(connection, order, registry, clock) for order in orders]


def _write_one(connection: sqlite3.Connection, order: Order, registry: _Registry, clock: Clock) -> Recorded | Exception:
    connection.execute("SAVEPOINT command")
    try:
        decision = order.command.decide(registry)
        found = connection.execute(
            "SELECT coalesce(max(sequence), 0) FROM events WHERE instance_id = ?", (decision.instance_id,)
        )
        recorded = _record(decision, order.creator, registry.position, int(found.fetchone()[0]), clock())
        rows.append(connection, recorded.events)
        for event in recorded.events:
            for change in project(event):
                rows.apply(connection, change)
    except Exception as failure:  # noqa: BLE001 - the caller gets it
        _raise_if_lost(connection, failure)
        connection.execute("ROLLBACK TO command")
        connection.execute("RELEASE command")
        return failure
    connection.execute("RELEASE command")
    registry.position = recorded.events[-1].position
    return recorded


def _record(decision: Decision, creator: str, position: int, sequence: int, now: int) -> Recorded:
    """Give the events of `decision` the places behind `position` in the log and `sequence` in their instance."""
    if not decision.events:
        raise ValueError("a command decided on no events")
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
    return Recorded(events)
