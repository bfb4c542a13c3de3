import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.decisions import Decided, Decision, Registry
from server.domain.new_instance import NewInstance
from server.store.grouping import Order
from server.store.interface import Recorded
from server.store.sqlite.schema import migrate
from server.store.sqlite.transaction import write_group

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(bool)


def new_instance(ids: Sequence[int], domains: Sequence[str], *, custom: bool) -> st.SearchStrategy[NewInstance]:
    return st.builds(
        NewInstance,
        *map(st.just, map(str, ids)),
        name=TEXT,
        default_language=TEXT,
        generated_domain=st.just(domains[0]),
        custom_domain=st.just(domains[1] if custom else ""),
        organization_name=TEXT,
        user_name=TEXT,
        display_name=TEXT,
        first_name=TEXT,
        last_name=TEXT,
        preferred_language=TEXT,
        email=TEXT,
        email_verified=st.booleans(),
        password_hash=st.none() | TEXT,
        password_change_required=st.booleans(),
    )


@st.composite
def new_instances(draw: st.DrawFn) -> list[NewInstance]:
    """Draw up to 20 instances: more than the rows for which each number has a statement of its own."""
    customs = draw(st.lists(st.booleans(), min_size=1, max_size=20))
    count = len(customs)
    ids = draw(st.lists(st.integers(0, 2**63 - 1), min_size=3 * count, max_size=3 * count, unique=True))
    domains = draw(st.lists(NAME, min_size=2 * count, max_size=2 * count, unique=True))
    return [
        draw(new_instance(ids[3 * number :][:3], domains[2 * number :][:2], custom=custom))
        for number, custom in enumerate(customs)
    ]


@dataclass(frozen=True)
class Decide:
    """A command that this follows from."""

    decided: Decided

    def decide(self, registry: Registry) -> Decided:
        return self.decided


def written(decisions: Sequence[Decided], creator: str) -> tuple[list[list[Any]], bool]:
    """Return all rows after the decisions were written as one group, and whether each was written by itself."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    group = write_group(connection, [Order(Decide(decided), creator) for decided in decisions], lambda: 1_800_000_000)
    assert all(isinstance(outcome, Recorded) for outcome in group.outcomes)
    connection.set_trace_callback(None)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    rows = [connection.execute(f"SELECT * FROM {table} NOT INDEXED").fetchall() for (table,) in tables]
    connection.close()
    return rows, any(statement.startswith("SAVEPOINT") for statement in statements)


@settings(deadline=None)
@given(new_instances(), TEXT)
def test_what_is_written_together_is_what_the_events_come_to_one_by_one(
    instances: list[NewInstance], creator: str
) -> None:
    together, apart = written(instances, creator)
    assert not apart
    one_by_one, apart = written([Decision(new.instance_id, new.events) for new in instances], creator)
    assert apart
    assert together == one_by_one


@given(new_instances())
def test_the_number_of_events_is_known_without_them(instances: list[NewInstance]) -> None:
    assert [new.event_count for new in instances] == [len(new.events) for new in instances]
