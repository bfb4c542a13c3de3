"""The rows of new instances, of the log and of all projections, written in a few statements.

They are what `project` makes of the same events one by one, and a test holds them to that. Here they are laid down as
they come out, which takes 4 µs for each instance; to make its seven to nine events and sum up their changes took 40.
"""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, groupby
from json.encoder import encode_basestring as quoted
from operator import itemgetter
from typing import Final

from server.domain.events import (
    DomainAdded,
    DomainPrimarySet,
    Event,
    HumanAdded,
    InstanceAdded,
    InstanceMemberAdded,
    OrganizationAdded,
    OrganizationMemberAdded,
)
from server.domain.new_instance import INSTANCE_ROLES, ORGANIZATION_ROLES, NewInstance
from server.store.interface import Recorded
from server.store.sqlite.rows import Cell, as_json

Values = tuple[Cell, ...]

# Instances in one statement, so that the interpreter is let go of and waited for less often. More brought nothing, and
# SQLite takes longer to prepare them than their number grows: 0.6 ms for the log's of 16, 5.6 of 64.
_TOGETHER: Final = 16

_INSTANCE_ROLES: Final = as_json(INSTANCE_ROLES)
_ORGANIZATION_ROLES: Final = as_json(ORGANIZATION_ROLES)
_BOOLEANS: Final = {True: "true", False: "false"}


class _Rows:
    """The rows that each instance has in a table, as SQL; `:name` in them stands for a value of that instance.

    Columns are in the order of the schema. What all instances have in common stands in the statement. What comes more
    than once is given once here, and as often as it comes to SQLite: a numbered parameter would be given once, but from
    3.12 on Python looks for its name, and takes five times as long.
    """

    def __init__(self, table: str, *rows: str) -> None:
        text = ", ".join(f"({row})" for row in rows)
        names = re.findall(r":(\w+)", text)
        # Values are given in the order in which the rows name them first.
        given = list(dict.fromkeys(names))
        self._spread = itemgetter(*map(given.index, names))
        self._table = table
        self._rows = re.sub(r":\w+", "?", text)
        self._statement = lru_cache(maxsize=None)(self._put_together)

    def insert(self, connection: sqlite3.Connection, values: Sequence[Values]) -> None:
        """Add the rows of instances, by their values."""
        for first in range(0, len(values), _TOGETHER):
            some = values[first : first + _TOGETHER]
            connection.execute(self._statement(len(some)), [*chain.from_iterable(map(self._spread, some))])

    def _put_together(self, count: int) -> str:
        return f"INSERT INTO {self._table} VALUES {', '.join([self._rows] * count)}"  # noqa: S608 - nothing of a caller's


def _event(number: int, kind: type[Event], aggregate: str, payload: str) -> str:
    """Return the row of an event, `number` being its place among those of the instance, from 1."""
    return (
        f":position + {number - 1}, :instance, '{kind.aggregate_type}', :{aggregate}, {number}, '{kind.type}',"
        f" :{payload}, :creator, :now"
    )


def _log(*custom: str) -> _Rows:
    domains = 3 + len(custom)
    return _Rows(
        "events",
        _event(1, InstanceAdded, "instance", "added"),
        _event(2, DomainAdded, "instance", "generated_added"),
        _event(3, DomainPrimarySet, "instance", "generated_set"),
        *custom,
        _event(domains + 1, OrganizationAdded, "organization", "organization_added"),
        _event(domains + 2, HumanAdded, "owner", "human_added"),
        _event(domains + 3, InstanceMemberAdded, "instance", "instance_member_added"),
        _event(domains + 4, OrganizationMemberAdded, "organization", "organization_member_added"),
    )


# By whether there is a custom domain.
_LOG: Final = {
    False: _log(),
    True: _log(
        _event(4, DomainAdded, "instance", "custom_added"), _event(5, DomainPrimarySet, "instance", "custom_set")
    ),
}
_DOMAINS: Final = {
    False: _Rows("domains", ":position + 1, :instance, :generated, 1, 1, 3, :now, :now"),
    True: _Rows(
        "domains",
        # The event that gave the other its flag took it of this one.
        ":position + 1, :instance, :generated, 0, 1, 5, :now, :now",
        ":position + 3, :instance, :custom, 1, 0, 5, :now, :now",
    ),
}
# `:domains` is the sequence of the last event about domains, 3 or 5.
_INSTANCES: Final = _Rows("instances", ":instance, :name, :language, :domains + 3, :now, :now")
_ORGANIZATIONS: Final = _Rows("organizations", ":organization, :instance, :name, :domains + 1, :now, :now")
_USERS: Final = _Rows(
    "users",
    ":owner, :instance, :organization, :user_name, :display_name, :first_name, :last_name, :language, :email,"
    " :email_verified, :password_hash, :password_change_required, :domains + 2, :now, :now",
)
_MEMBERS: Final = _Rows(
    "members",
    f":instance, :owner, :instance, '{_INSTANCE_ROLES}', :domains + 3, :now, :now",
    f":organization, :owner, :instance, '{_ORGANIZATION_ROLES}', :domains + 4, :now, :now",
)


def write(connection: sqlite3.Connection, recorded: Iterable[Recorded[NewInstance]]) -> None:
    """Write the rows of new instances.

    Raises sqlite3.IntegrityError where one has a domain that another instance has.
    """
    instances: list[Values] = []
    organizations: list[Values] = []
    users: list[Values] = []
    members: list[Values] = []
    for has_custom, alike in groupby(recorded, lambda each: bool(each.decided.custom_domain)):
        last = 5 if has_custom else 3
        log: list[Values] = []
        domains: list[Values] = []
        for new, creator, position, _, now in alike:
            # The columns are integers, and SQLite takes longer to make one of a text.
            instance, organization, owner = int(new.instance_id), int(new.organization_id), int(new.owner_id)
            generated, member = quoted(new.generated_domain), f'{{"userId":"{owner}","roles":'
            added: Values = (
                position,
                instance,
                f'{{"name":{quoted(new.name)},"defaultLanguage":{quoted(new.default_language)}}}',
                creator,
                now,
                f'{{"domain":{generated},"generated":true}}',
                f'{{"domain":{generated}}}',
            )
            has: Values = (position, instance, new.generated_domain, now)
            if has_custom:
                custom = quoted(new.custom_domain)
                added += (f'{{"domain":{custom},"generated":false}}', f'{{"domain":{custom}}}')
                has += (new.custom_domain,)
            added += (
                organization,
                f'{{"name":{quoted(new.organization_name)}}}',
                owner,
                _human(new),
                f"{member}{_INSTANCE_ROLES}}}",
                f"{member}{_ORGANIZATION_ROLES}}}",
            )
            log.append(added)
            domains.append(has)
            instances.append((instance, new.name, new.default_language, last, now))
            organizations.append((organization, instance, new.organization_name, last, now))
            users.append(
                (
                    owner,
                    instance,
                    organization,
                    new.user_name,
                    new.display_name,
                    new.first_name,
                    new.last_name,
                    new.preferred_language,
                    new.email,
                    new.email_verified,
                    new.password_hash,
                    new.password_change_required,
                    last,
                    now,
                )
            )
            members.append((instance, owner, last, now, organization))
        _LOG[has_custom].insert(connection, log)
        _DOMAINS[has_custom].insert(connection, domains)
    _INSTANCES.insert(connection, instances)
    _ORGANIZATIONS.insert(connection, organizations)
    _USERS.insert(connection, users)
    _MEMBERS.insert(connection, members)


def _human(new: NewInstance) -> str:
    password = "null" if new.password_hash is None else quoted(new.password_hash)
    return (
        f'{{"organizationId":"{new.organization_id}","userName":{quoted(new.user_name)}'
        f',"displayName":{quoted(new.display_name)},"firstName":{quoted(new.first_name)}'
        f',"lastName":{quoted(new.last_name)},"preferredLanguage":{quoted(new.preferred_language)}'
        f',"email":{quoted(new.email)},"emailVerified":{_BOOLEANS[new.email_verified]}'
        f',"passwordHash":{password},"passwordChangeRequired":{_BOOLEANS[new.password_change_required]}}}'
    )
