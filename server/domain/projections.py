"""What stands, as the sum of what happened: each event says which rows of which projection it changes.

The projections are five tables. Each row has the `sequence` of the event that changed it last, and the dates of its
first and last event in microseconds since 1970-01-01 UTC.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from server.domain.events import (
    DomainAdded,
    DomainPrimarySet,
    DomainRemoved,
    HumanAdded,
    InstanceAdded,
    InstanceChanged,
    InstanceMemberAdded,
    OrganizationAdded,
    OrganizationMemberAdded,
    RecordedEvent,
)

Table = Literal["instances", "domains", "organizations", "users", "members"]
Value = str | int | bool | None | tuple[str, ...]
Row = Mapping[str, Value]

TABLES: Final[tuple[Table, ...]] = ("instances", "domains", "organizations", "users", "members")


class Insert(NamedTuple):
    """One row more."""

    table: Table
    row: Row


class Update(NamedTuple):
    """`values` for each row that equals `where` and, if given, differs from `other_than`, which names one column."""

    table: Table
    values: Row
    where: Row
    other_than: Row | None = None


class Delete(NamedTuple):
    """Each row that equals `where` gone."""

    table: Table
    where: Row


Change = Insert | Update | Delete


def project(recorded: RecordedEvent) -> list[Change]:
    """Return the changes that `recorded` makes to the projections, in the order in which they apply."""
    instance: Row = {"instance_id": recorded.instance_id}
    changed: Row = {"sequence": recorded.sequence, "change_date": recorded.created_at}
    created: Row = {"creation_date": recorded.created_at, **changed}
    # Every event of the instance's own aggregate changes the instance.
    itself = Update("instances", changed, {"id": recorded.instance_id})

    match recorded.event:
        case InstanceAdded(name=name, default_language=language):
            return [
                Insert("instances", {"id": recorded.instance_id, "name": name, "default_language": language, **created})
            ]
        case InstanceChanged(name=name):
            return [Update("instances", {"name": name, **changed}, {"id": recorded.instance_id})]
        case DomainAdded(domain=domain, generated=generated):
            added = {
                "position": recorded.position,
                **instance,
                "domain": domain,
                "is_primary": False,
                "is_generated": generated,
                **created,
            }
            return [Insert("domains", added), itself]
        case DomainPrimarySet(domain=domain):
            return [
                Update(
                    "domains",
                    {"is_primary": False, **changed},
                    {**instance, "is_primary": True},
                    other_than={"domain": domain},
                ),
                Update("domains", {"is_primary": True, **changed}, {**instance, "domain": domain, "is_primary": False}),
                itself,
            ]
        case DomainRemoved(domain=domain):
            return [Delete("domains", {**instance, "domain": domain}), itself]
        case OrganizationAdded(name=name):
            return [Insert("organizations", {"id": recorded.aggregate_id, **instance, "name": name, **created})]
        case HumanAdded() as human:
            return [Insert("users", {"id": recorded.aggregate_id, **instance, **_user(human), **created})]
        case InstanceMemberAdded(user_id=user, roles=roles):
            return [
                Insert(
                    "members",
                    {"aggregate_id": recorded.aggregate_id, "user_id": user, **instance, "roles": roles, **created},
                ),
                itself,
            ]
        case OrganizationMemberAdded(user_id=user, roles=roles):
            return [
                Insert(
                    "members",
                    {"aggregate_id": recorded.aggregate_id, "user_id": user, **instance, "roles": roles, **created},
                )
            ]


def _user(human: HumanAdded) -> Row:
    return {
        "organization_id": human.organization_id,
        "user_name": human.user_name,
        "display_name": human.display_name,
        "first_name": human.first_name,
        "last_name": human.last_name,
        "preferred_language": human.preferred_language,
        "email": human.email,
        "email_verified": human.email_verified,
        "password_hash": human.password_hash,
        "password_change_required": human.password_change_required,
    }
