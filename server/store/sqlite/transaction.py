"""One group of commands as one transaction.

Commands that set instances up are decided one after another and then written together, a few statements for all of
them. Where one changes what is stored, or a row does not fit, all of the group are done anew, each in a savepoint.

All of it runs on the writer's thread, and knows no asyncio.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from server.domain.decisions import Decided
from server.domain.events import RecordedEvent
from server.domain.ids import next_id
from server.domain.new_instance import NewInstance
from server.domain.projections import project
from server.store.grouping import Order
from server.store.interface import Recorded
from server.store.sqlite import new_instances, rows
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

    outcomes: Sequence[Recorded[Decided] | Exception]

    @property
    def last(self) -> Recorded[Decided] | None:
        """What the group stored last; None: it stored nothing."""
        return next((outcome for outcome in reversed(self.outcomes) if isinstance(outcome, Recorded)), None)

    @property
    def changed(self) -> set[str]:
        """Ids of the instances that the group changed."""
        return {outcome.instance_id for outcome in self.outcomes if isinstance(outcome, Recorded)}


class _Apart(Exception):
    """These commands cannot be written together."""


class _Registry:
    """What commands of one group may ask, one after another; and the place where the log and the ids stand.

    `now` is when the command that asks is executed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.position, self.last_id = connection.execute(
            "SELECT (SELECT coalesce(max(position), 0) FROM events), id FROM last_id"
        ).fetchone()
        self.now = 0

    def draw_id(self) -> str:
        self.last_id = next_id(self.last_id, self.now // 1000)
        return str(self.last_id)

    def has_domain(self, domain: str) -> bool:
        return rows.has_domain(self._connection, domain)

    def has_drawn_domain(self, domain: str) -> bool:
        return self.has_domain(domain)


class _RegistryOfNew(_Registry):
    """The same for commands whose instances are written together, after all have decided.

    Domains that were drawn are looked up among those of the group alone: where another instance has one, the index of
    domains refuses it, and the group is done anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.domains: set[str] = set()

    def has_domain(self, domain: str) -> bool:
        return domain in self.domains or super().has_domain(domain)

    def has_drawn_domain(self, domain: str) -> bool:
        return domain in self.domains


_Outcomes = list[Recorded[Decided] | Exception]
_AnyRegistry = TypeVar("_AnyRegistry", bound=_Registry)


def write_group(connection: sqlite3.Connection, orders: Sequence[Order], clock: Clock) -> Group:
    """Execute `orders` and commit; the group is durable when this returns.

    What a command raises, a broken rule or a bug, undoes that command alone. Raises sqlite3.Error or TransactionLost
    where the storage failed before COMMIT (nothing is stored), and CommitFailed where COMMIT itself did.
    """
    try:
        return _transaction(connection, orders, clock, _RegistryOfNew, _write_together)
    except _Apart:
        return _transaction(connection, orders, clock, _Registry, _write_one_by_one)


def _transaction(
    connection: sqlite3.Connection,
    orders: Sequence[Order],
    clock: Clock,
    open_registry: Callable[[sqlite3.Connection], _AnyRegistry],
    write: Callable[[sqlite3.Connection, Sequence[Order], _AnyRegistry, Clock], _Outcomes],
) -> Group:
    connection.execute("BEGIN IMMEDIATE")
    with _rolled_back_on_error(connection):
        registry = open_registry(connection)
        group = Group(write(connection, orders, registry, clock))
        if group.last is None:
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
    connection: sqlite3.Connection, orders: Sequence[Order], registry: _RegistryOfNew, clock: Clock
) -> _Outcomes:
    outcomes: _Outcomes = []
    recorded: list[Recorded[NewInstance]] = []
    for command, creator in orders:
        registry.now = clock()
        try:
            new = command.decide(registry)
        except Exception as failure:  # noqa: BLE001 - the caller gets it
            # Nothing is written yet, so there is nothing to undo.
            _raise_if_lost(connection, failure)
            outcomes.append(failure)
            continue
        if not isinstance(new, NewInstance):
            raise _Apart
        recorded.append(Recorded(new, creator, registry.position + 1, 1, registry.now))
        registry.position += new.event_count
        registry.domains |= {new.generated_domain, new.custom_domain}
        outcomes.append(recorded[-1])
    try:
        new_instances.write(connection, recorded)
    except Exception as failure:
        _raise_if_lost(connection, failure)
        raise _Apart from failure
    return outcomes


def _write_one_by_one(
    connection: sqlite3.Connection, orders: Sequence[Order], registry: _Registry, clock: Clock
) -> _Outcomes:
    return [_write_one(connection, order, registry, clock) for order in orders]


def _write_one(
    connection: sqlite3.Connection, order: Order, registry: _Registry, clock: Clock
) -> Recorded[Decided] | Exception:
    connection.execute("SAVEPOINT command")
    registry.now = clock()
    try:
        decided = order.command.decide(registry)
        found = connection.execute(
            "SELECT coalesce(max(sequence), 0) FROM events WHERE instance_id = ?", (decided.instance_id,)
        )
        recorded = Recorded(decided, order.creator, registry.position + 1, int(found.fetchone()[0]) + 1, registry.now)
        events = recorded.events
        if not events:
            raise ValueError("a command decided on no events")  # noqa: TRY301
        rows.append(connection, events)
        for event in events:
            for change in project(event):
                rows.apply(connection, change)
    except Exception as failure:  # noqa: BLE001 - the caller gets it
        _raise_if_lost(connection, failure)
        connection.execute("ROLLBACK TO command")
        connection.execute("RELEASE command")
        return failure
    connection.execute("RELEASE command")
    registry.position += len(events)
    return recorded
