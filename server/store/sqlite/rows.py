"""Rows to SQL and back: events of the log, changes of the projections, instances."""

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from server.domain.errors import DomainTaken
from server.domain.events import RecordedEvent, from_payload, to_payload
from server.domain.model import Domain, Instance, ObjectDetails
from server.domain.projections import Change, Delete, Insert, Row, Update

_EVENT: Final = (
    "position",
    "instance_id",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "payload",
    "creator",
    "created_at",
)
_READ_LOG: Final = (
    "SELECT position, instance_id, aggregate_id, sequence, event_type, payload, creator, created_at FROM events"
    " WHERE position > ? ORDER BY position LIMIT ?"
)
_INSTANCE: Final = (
    "SELECT i.id, i.sequence, i.creation_date, i.change_date, i.name,"
    " d.sequence, d.creation_date, d.change_date, d.domain, d.is_primary, d.is_generated"
    " FROM instances AS i LEFT JOIN domains AS d ON d.instance_id = i.id"
)
_ORDER: Final = " ORDER BY d.is_primary DESC, d.position"

INSTANCE_BY_ID: Final = f"{_INSTANCE} WHERE i.id = ?{_ORDER}"
INSTANCE_BY_DOMAIN: Final = f"{_INSTANCE} WHERE i.id = (SELECT instance_id FROM domains WHERE domain = ?){_ORDER}"  # noqa: S608 - constants


Cell = str | int | None


def append(connection: sqlite3.Connection, events: Sequence[RecordedEvent]) -> None:
    """Write `events` at the end of the log."""
    connection.executemany(
        _insert("events", _EVENT),
        [
            (
                recorded.position,
                recorded.instance_id,
                recorded.event.aggregate_type,
                recorded.aggregate_id,
                recorded.sequence,
                recorded.event.type,
                to_payload(recorded.event),
                recorded.creator,
                recorded.created_at,
            )
            for recorded in events
        ],
    )


def read_log(connection: sqlite3.Connection, after: int, limit: int) -> list[RecordedEvent]:
    """Return up to `limit` events from those behind position `after`. Raises UnknownEvent."""
    found = connection.execute(_READ_LOG, (after, limit))
    return [
        RecordedEvent(
            position=position,
            instance_id=str(instance_id),
            aggregate_id=str(aggregate_id),
            sequence=sequence,
            event=from_payload(event_type, payload),
            creator=creator,
            created_at=created_at,
        )
        for position, instance_id, aggregate_id, sequence, event_type, payload, creator, created_at in found
    ]


def apply(connection: sqlite3.Connection, change: Change) -> None:
    """Make one change to a projection. Raises DomainTaken where it adds a domain that another instance has."""
    match change:
        case Insert(table, row):
            try:
                connection.execute(_insert(table, tuple(row)), _values(row))
            except sqlite3.IntegrityError:
                if table == "domains" and has_domain(connection, domain := str(row["domain"])):
                    raise DomainTaken(domain) from None
                raise
        case Update(table, values, where, other_than):
            statement = _update(table, tuple(values), tuple(where), tuple(other_than or ()))
            connection.execute(statement, [*_values(values), *_values(where), *_values(other_than or {})])
        case Delete(table, where):
            connection.execute(_delete(table, tuple(where)), _values(where))


def has_domain(connection: sqlite3.Connection, domain: str) -> bool:
    """Tell whether any instance has the domain."""
    return connection.execute("SELECT 1 FROM domains WHERE domain = ?", (domain,)).fetchone() is not None


def to_instance(rows: Sequence[tuple[Any, ...]]) -> Instance | None:
    """Return the instance that the rows of an INSTANCE_BY_… query make up; None where there are none."""
    if not rows:
        return None
    number, sequence, creation_date, change_date, name = rows[0][:5]
    instance_id = str(number)
    return Instance(
        id=instance_id,
        details=ObjectDetails(sequence, creation_date, change_date, instance_id),
        name=name,
        domains=tuple(
            Domain(
                details=ObjectDetails(row[5], row[6], row[7], instance_id),
                domain=row[8],
                primary=bool(row[9]),
                generated=bool(row[10]),
            )
            for row in rows
            if row[8] is not None
        ),
    )


def _values(row: Row) -> list[Cell]:
    return [as_json(value) if isinstance(value, tuple) else value for value in row.values()]


# Tuples are names of roles, of which there are a few.
@lru_cache(maxsize=256)
def as_json(value: tuple[str, ...]) -> str:
    """Return what a column of names holds."""
    return json.dumps(value, separators=(",", ":"))


# Names of tables and columns come from the domain's projections alone, never from a caller. A handful of statements
# recur for every event, so each is put together once.


@lru_cache(maxsize=256)
def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


@lru_cache(maxsize=256)
def _update(table: str, columns: tuple[str, ...], where: tuple[str, ...], other_than: tuple[str, ...]) -> str:
    conditions = [f"{column} = ?" for column in where] + [f"{column} <> ?" for column in other_than]
    return f"UPDATE {table} SET {', '.join(f'{column} = ?' for column in columns)} WHERE {' AND '.join(conditions)}"  # noqa: S608


@lru_cache(maxsize=256)
def _delete(table: str, where: tuple[str, ...]) -> str:
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in where)}"  # noqa: S608
