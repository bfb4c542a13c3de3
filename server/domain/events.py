"""What happened, under the names that ZITADEL's event log has, and how it is written as JSON.

A log outlives the code that wrote it: a field once written keeps its name and meaning, a new one has a default, and a
field that is known no longer is passed over, so that old logs still read.
"""

import json
from dataclasses import dataclass, fields
from json.encoder import encode_basestring
from typing import ClassVar, Final, Literal, NamedTuple

from pydantic.alias_generators import to_camel

AggregateType = Literal["instance", "org", "user"]


@dataclass(frozen=True, slots=True)
class InstanceAdded:
    """An instance exists from now on."""

    type: ClassVar[str] = "instance.added"
    aggregate_type: ClassVar[AggregateType] = "instance"
    name: str
    default_language: str


@dataclass(frozen=True, slots=True)
class InstanceChanged:
    """The instance has another name."""

    type: ClassVar[str] = "instance.changed"
    aggregate_type: ClassVar[AggregateType] = "instance"
    name: str


@dataclass(frozen=True, slots=True)
class DomainAdded:
    """The domain leads to the instance; `generated`: the server made it up."""

    type: ClassVar[str] = "instance.domain.added"
    aggregate_type: ClassVar[AggregateType] = "instance"
    domain: str
    generated: bool


@dataclass(frozen=True, slots=True)
class DomainPrimarySet:
    """The domain, which the instance has already, is its primary one; the one before it no longer is."""

    type: ClassVar[str] = "instance.domain.primary.set"
    aggregate_type: ClassVar[AggregateType] = "instance"
    domain: str


@dataclass(frozen=True, slots=True)
class DomainRemoved:
    """The domain no longer leads to the instance."""

    type: ClassVar[str] = "instance.domain.removed"
    aggregate_type: ClassVar[AggregateType] = "instance"
    domain: str


@dataclass(frozen=True, slots=True)
class OrganizationAdded:
    """The instance has another organization."""

    type: ClassVar[str] = "org.added"
    aggregate_type: ClassVar[AggregateType] = "org"
    name: str


@dataclass(frozen=True, slots=True)
class HumanAdded:
    """The organization has another human user. `password_hash` is in PHC format; None: no password yet."""

    type: ClassVar[str] = "user.human.added"
    aggregate_type: ClassVar[AggregateType] = "user"
    organization_id: str
    user_name: str
    display_name: str
    first_name: str
    last_name: str
    preferred_language: str
    email: str
    email_verified: bool
    password_hash: str | None
    password_change_required: bool


@dataclass(frozen=True, slots=True)
class InstanceMemberAdded:
    """The user holds the roles on the instance."""

    type: ClassVar[str] = "instance.member.added"
    aggregate_type: ClassVar[AggregateType] = "instance"
    user_id: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrganizationMemberAdded:
    """The user holds the roles on the organization."""

    type: ClassVar[str] = "org.member.added"
    aggregate_type: ClassVar[AggregateType] = "org"
    user_id: str
    roles: tuple[str, ...]


Event = (
    InstanceAdded
    | InstanceChanged
    | DomainAdded
    | DomainPrimarySet
    | DomainRemoved
    | OrganizationAdded
    | HumanAdded
    | InstanceMemberAdded
    | OrganizationMemberAdded
)


class RecordedEvent(NamedTuple):
    """An event with its place in the log.

    `position` orders all events, `sequence` those of one instance, from 1; `created_at` is in microseconds since
    1970-01-01 UTC; `creator` is the id of the user who gave the command.
    """

    position: int
    instance_id: str
    aggregate_id: str
    sequence: int
    event: Event
    creator: str
    created_at: int


_EVENTS: Final[tuple[type[Event], ...]] = (
    InstanceAdded,
    InstanceChanged,
    DomainAdded,
    DomainPrimarySet,
    DomainRemoved,
    OrganizationAdded,
    HumanAdded,
    InstanceMemberAdded,
    OrganizationMemberAdded,
)
_BY_TYPE: Final = {event.type: event for event in _EVENTS}
# JSON name of each field, in the order of the class; once, for the writer asks for it on every event.
_JSON_NAMES: Final = {
    event.type: tuple((field.name, to_camel(field.name)) for field in fields(event)) for event in _EVENTS
}
# What json.dumps would write, as a format of the values: it makes an encoder for each call that asks for anything but
# its defaults, 2.5 µs against 1 for each of the seven to nine events of a new instance.
_FORMATS: Final = {
    kind: "{" + ",".join(f"{json.dumps(name)}:%s" for _, name in names) + "}" for kind, names in _JSON_NAMES.items()
}
Value = str | bool | tuple[str, ...] | None
_CONSTANTS: Final = {None: "null", True: "true", False: "false"}


class UnknownEvent(Exception):
    """The log holds an event that this version does not know or cannot read."""


def to_payload(event: Event) -> str:
    """Return the fields of `event` as a JSON object with names in lowerCamelCase."""
    values = [_as_json(getattr(event, field)) for field, _ in _JSON_NAMES[event.type]]
    return _FORMATS[event.type] % tuple(values)


def _as_json(value: Value) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, tuple):
        return f"[{','.join(map(encode_basestring, value))}]"
    return _CONSTANTS[value]


def from_payload(event_type: str, payload: str) -> Event:
    """Return the event that `to_payload` wrote, in this version or an older one.

    Raise UnknownEvent where that fails.
    """
    kind = _BY_TYPE.get(event_type)
    if kind is None:
        raise UnknownEvent(f"this version knows no event of type {event_type}")
    try:
        written = json.loads(payload)
        values = {field: written[name] for field, name in _JSON_NAMES[event_type] if name in written}
        if "roles" in values:
            values["roles"] = tuple(values["roles"])
        return kind(**values)
    except (ValueError, TypeError) as fault:
        raise UnknownEvent(f"the payload of an event of type {event_type} cannot be read: {fault}") from fault
