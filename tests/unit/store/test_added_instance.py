import json
from collections.abc import Callable
from typing import Any

import pytest

from server.domain.errors import InvalidCommand
from server.instances import Instances
from server.store.folder import DataFolder
from server.store.sqlite import SQLiteStore

Rows = Callable[..., list[tuple[Any, ...]]]


async def test_details_of_an_added_instance_are_those_of_the_read_that_follows(
    instances: Instances, acme: dict[str, Any]
) -> None:
    added = await instances.add(acme | {"custom_domain": "acme.example"}, creator="alice")
    read = await instances.by_domain("acme.example")
    assert read is not None
    assert read == await instances.by_id(added.instance_id)
    assert read.details == added.details
    assert read.details.sequence == 8
    assert read.details.resource_owner == added.instance_id
    assert [(domain.domain.partition("-")[0], domain.primary, domain.generated) for domain in read.domains] == [
        ("acme.example", True, False),
        ("acme", False, True),
    ]
    # The generated domain was changed last by the event that took its flag, which is the one that gave it to the other.
    assert [domain.details.sequence for domain in read.domains] == [5, 5]


async def test_without_a_custom_domain_the_generated_one_leads_to_the_instance(
    instances: Instances, acme: dict[str, Any]
) -> None:
    added = await instances.add(acme, creator="alice")
    read = await instances.by_id(added.instance_id)
    assert read is not None
    [domain] = read.domains
    assert (domain.primary, domain.generated, domain.details.sequence) == (True, True, 3)
    assert added.details == read.details
    assert read.details.sequence == 6
    assert await instances.by_domain(domain.domain) == read


async def test_an_unknown_host_or_id_is_no_instance(instances: Instances, acme: dict[str, Any]) -> None:
    added = await instances.add(acme, creator="alice")
    assert await instances.by_domain("nobody.example") is None
    for other in ("1", "", "not a number", f"0{added.instance_id}", f"{added.instance_id}.0", f" {added.instance_id}"):
        assert await instances.by_id(other) is None


async def test_the_log_holds_exactly_what_happened(instances: Instances, acme: dict[str, Any], rows: Rows) -> None:
    added = await instances.add(acme | {"custom_domain": "acme.example"}, creator="alice")
    log = rows(
        "SELECT position, instance_id, aggregate_type, sequence, event_type, creator, created_at, typeof(aggregate_id)"
        " FROM events ORDER BY position"
    )
    assert [(event[2], event[4]) for event in log] == [
        ("instance", "instance.added"),
        ("instance", "instance.domain.added"),
        ("instance", "instance.domain.primary.set"),
        ("instance", "instance.domain.added"),
        ("instance", "instance.domain.primary.set"),
        ("org", "org.added"),
        ("user", "user.human.added"),
        ("instance", "instance.member.added"),
        ("org", "org.member.added"),
    ]
    assert [event[0] for event in log] == [event[3] for event in log] == list(range(1, 10))
    assert {event[1] for event in log} == {int(added.instance_id)}
    assert {event[5:] for event in log} == {("alice", added.details.creation_date, "integer")}


async def test_one_row_stands_for_each_thing_that_was_set_up(
    instances: Instances, acme: dict[str, Any], rows: Rows
) -> None:
    await instances.add(acme | {"custom_domain": "acme.example"}, creator="alice")
    [(instance,)] = rows("SELECT id FROM instances")
    [(organization,)] = rows("SELECT id FROM organizations WHERE instance_id = ?", instance)
    [(user,)] = rows("SELECT id FROM users WHERE organization_id = ?", organization)
    assert rows("SELECT count(*) FROM domains WHERE instance_id = ?", instance) == [(2,)]
    assert rows("SELECT aggregate_id, user_id, roles, sequence FROM members ORDER BY sequence") == [
        (instance, user, '["IAM_OWNER"]', 8),
        (organization, user, '["ORG_OWNER"]', 9),
    ]


async def test_a_password_is_stored_as_a_hash_alone(
    instances: Instances, acme: dict[str, Any], rows: Rows, folder: DataFolder
) -> None:
    password = {"password": "Passw0rd!Passw0rd!", "password_change_required": True}
    await instances.add(acme | {"owner_password": password}, creator="alice")
    [(payload,)] = rows("SELECT payload FROM events WHERE event_type = 'user.human.added'")
    owner = json.loads(payload)
    assert owner["passwordHash"].startswith("$argon2id$")
    assert owner["passwordChangeRequired"] is True
    assert rows("SELECT password_hash, password_change_required FROM users") == [(owner["passwordHash"], 1)]
    for file in folder.path.iterdir():
        assert b"Passw0rd!" not in file.read_bytes()


async def test_what_is_refused_is_not_stored(instances: Instances, rows: Rows) -> None:
    with pytest.raises(InvalidCommand):
        await instances.add({}, creator="alice")
    assert rows("SELECT count(*) FROM events") == [(0,)]


async def test_any_text_is_kept_as_it_is(instances: Instances, acme: dict[str, Any]) -> None:
    name = "Ünï\u2028✓ \U0001f600 '\"; DROP TABLE events; --"
    added = await instances.add(acme | {"instance_name": name}, creator="a\x00'lice")
    read = await instances.by_id(added.instance_id)
    assert read is not None
    assert read.name == name


async def test_instances_are_there_after_a_restart(
    instances: Instances, store: SQLiteStore, serve: Callable[..., Any], folder: DataFolder, acme: dict[str, Any]
) -> None:
    added = await instances.add(acme, creator="alice")
    before = await instances.by_id(added.instance_id)
    await store.close()
    again = await serve(folder)
    assert await again.instance_by_id(added.instance_id) == before
