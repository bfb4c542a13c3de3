"""What is in a server's database, read beside it, and whether each instance in it is whole."""

import json
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.callers import Outcome

CREATOR = "instanced"

# The events of one AddInstance in their order, without and with a custom domain.
_DOMAIN = ["instance.domain.added", "instance.domain.primary.set"]
_TAIL = ["org.added", "user.human.added", "instance.member.added", "org.member.added"]
EVENTS = {
    False: ["instance.added", *_DOMAIN, *_TAIL],
    True: ["instance.added", *_DOMAIN, *_DOMAIN, *_TAIL],
}

_WAL_HEADER = struct.Struct(">8I")
_FRAME_HEADER = struct.Struct(">6I")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that is there whole."""

    id: str
    name: str
    email: str
    generated_domain: str
    custom_domain: str
    sequence: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The instances by their names, and where the log ends."""

    instances: dict[str, Stored]
    last_position: int


def database(data: Path) -> Path:
    """Return the database file in a data folder."""
    return data / "instanced.db"


@contextmanager
def reading(data: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of a folder to look at it."""
    with closing(sqlite3.connect(f"{database(data).as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


@contextmanager
def write_lock(data: Path) -> Iterator[None]:
    """Keep everyone else from writing, as another program that has the database open would."""
    with closing(sqlite3.connect(database(data), isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def contents(data: Path, after: int = 0) -> Contents:
    """Read what the log holds after position `after` and what the projections say of it; all of it must be whole.

    Fails, too, where the log has holes, an id or a domain is there twice, or SQLite finds the file damaged.
    """
    with reading(data) as connection:
        connection.execute("BEGIN")
        (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert sound == "ok", sound
        events = _rows(connection, f"SELECT * FROM events WHERE position > {after} ORDER BY position")
        assert [event["position"] for event in events] == list(range(after + 1, after + 1 + len(events)))
        # Ids grow, so what a later group stored lies behind the first id of it.
        first = events[0]["instance_id"] if events else (1 << 63) - 1
        rows = {
            table: _rows(connection, f"SELECT * FROM {table} WHERE {column} >= {first}")
            for table, column in {
                "instances": "id",
                "domains": "instance_id",
                "organizations": "instance_id",
                "users": "instance_id",
                "members": "instance_id",
            }.items()
        }
        _assert_unique_over_all(connection)
        connection.execute("COMMIT")

    logs = _by(events, "instance_id")
    assert {row["id"] for row in rows["instances"]} == set(logs), "instances and log differ"
    projections = {table: _by(found, "id" if table == "instances" else "instance_id") for table, found in rows.items()}
    for table, found in projections.items():
        assert set(found) <= set(logs), f"{table} has rows of no instance"
    whole = [
        _whole(log, {table: found.get(instance, []) for table, found in projections.items()})
        for instance, log in logs.items()
    ]
    instances = {stored.name: stored for stored in whole}
    assert len(instances) == len(whole), "a call is stored twice"
    return Contents(instances, after + len(events))


def assert_is(outcome: Outcome, stored: Stored) -> None:
    """An acknowledged instance is the one that was asked for, under the id and details of the reply."""
    assert outcome.details is not None
    assert (stored.id, stored.name, stored.custom_domain, stored.email) == (
        outcome.instance_id,
        outcome.wanted.name,
        outcome.wanted.custom_domain,
        outcome.wanted.email,
    )
    # The instance's own last event is its member; the organization's member follows it.
    assert outcome.details.sequence == stored.sequence - 1
    for date in (outcome.details.creation_date, outcome.details.change_date):
        assert date.ToMicroseconds() == stored.created_at
    assert outcome.details.resource_owner == stored.id


def commits_in_log(data: Path) -> tuple[int, bool]:
    """Return how many commits the write-ahead log holds, and whether frames of one that was cut off follow them.

    https://www.sqlite.org/fileformat.html#the_write_ahead_log
    """
    log = database(data).with_name("instanced.db-wal")
    content = log.read_bytes() if log.exists() else b""
    if len(content) < _WAL_HEADER.size:
        return 0, False
    _, _, page_size, _, *salts = _WAL_HEADER.unpack_from(content)[:6]
    commits, torn = 0, False
    for offset in range(_WAL_HEADER.size, len(content) - _FRAME_HEADER.size + 1, _FRAME_HEADER.size + page_size):
        _, pages_after_commit, *frame_salts = _FRAME_HEADER.unpack_from(content, offset)[:4]
        if frame_salts != salts:
            break  # left over from before the log was begun anew
        commits += pages_after_commit > 0
        torn = pages_after_commit == 0
    return commits, torn


def _whole(log: list[Row], rows: Mapping[str, list[Row]]) -> Stored:
    """Compare the rows of one instance with what its log says they must be."""
    payloads = [json.loads(event["payload"]) for event in log]
    domains = [
        payload["domain"]
        for event, payload in zip(log, payloads, strict=True)
        if event["event_type"] == "instance.domain.added"
    ]
    custom = len(domains) > 1
    told = f"instance {log[0]['instance_id']}"
    assert [event["event_type"] for event in log] == EVENTS[custom], told
    assert [event["sequence"] for event in log] == list(range(1, len(log) + 1)), told
    first = log[0]["position"]
    assert [event["position"] for event in log] == list(range(first, first + len(log))), told
    assert {event["creator"] for event in log} == {CREATOR}, told
    assert len({event["created_at"] for event in log}) == 1, told

    instance, now = log[0]["instance_id"], log[0]["created_at"]
    organization, user = log[-4]["aggregate_id"], log[-3]["aggregate_id"]
    assert len({instance, organization, user}) == 3, told
    assert log[-1]["aggregate_id"] == organization
    assert {event["aggregate_id"] for event in log if event["aggregate_type"] == "instance"} == {instance}, told
    name, human = payloads[0]["name"], payloads[-3]
    dates = {"creation_date": now, "change_date": now}
    of_instance = {"instance_id": instance}
    last = len(log)

    [instance_row] = rows["instances"]
    assert instance_row == {
        "id": instance,
        "name": name,
        "default_language": "en",
        "sequence": last - 1,
        **dates,
    }, told
    # The custom domain, added last, took the flag of the generated one in its last event.
    primaries = [index for index, event in enumerate(log, 1) if event["event_type"] == "instance.domain.primary.set"]
    assert [_without(row, "position") for row in sorted(rows["domains"], key=lambda row: int(row["position"]))] == [
        {
            **of_instance,
            "domain": domain,
            "is_primary": int(number == len(domains) - 1),
            "is_generated": int(number == 0),
            "sequence": primaries[-1],
            **dates,
        }
        for number, domain in enumerate(domains)
    ], told
    assert rows["organizations"] == [
        {"id": organization, **of_instance, "name": name, "sequence": last - 3, **dates}
    ], told
    assert rows["users"] == [
        {
            "id": user,
            **of_instance,
            "organization_id": organization,
            "user_name": human["email"],
            "display_name": human["email"],
            "first_name": "",
            "last_name": "",
            "preferred_language": "en",
            "email": human["email"],
            "email_verified": 0,
            "password_hash": None,
            "password_change_required": 0,
            "sequence": last - 2,
            **dates,
        }
    ], told
    assert sorted(rows["members"], key=lambda row: int(row["sequence"])) == [
        {
            "aggregate_id": instance,
            "user_id": user,
            **of_instance,
            "roles": '["IAM_OWNER"]',
            "sequence": last - 1,
            **dates,
        },
        {
            "aggregate_id": organization,
            "user_id": user,
            **of_instance,
            "roles": '["ORG_OWNER"]',
            "sequence": last,
            **dates,
        },
    ], told
    return Stored(
        id=str(instance),
        name=name,
        email=human["email"],
        generated_domain=domains[0],
        custom_domain=domains[1] if custom else "",
        sequence=last,
        created_at=now,
    )


def _assert_unique_over_all(connection: sqlite3.Connection) -> None:
    """Neither relies on a unique index: both would be there to be seen if the server forgot one."""
    ids = "SELECT id FROM instances UNION ALL SELECT id FROM organizations UNION ALL SELECT id FROM users"
    total, distinct = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM ({ids})").fetchone()
    assert total == distinct, "an id is there twice"
    total, distinct = connection.execute("SELECT count(*), count(DISTINCT domain) FROM domains NOT INDEXED").fetchone()
    assert total == distinct, "a domain is there twice"


def _rows(connection: sqlite3.Connection, query: str) -> list[Row]:
    return [dict(row) for row in connection.execute(query)]


def _by(rows: list[Row], column: str) -> dict[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row[column]].append(row)
    return grouped


def _without(row: Row, column: str) -> Row:
    return {name: value for name, value in row.items() if name != column}
