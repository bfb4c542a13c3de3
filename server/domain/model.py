"""What the projections say of an instance, as values that nothing can change."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectDetails:
    """Which events made an object what it is.

    Dates are microseconds since 1970-01-01 UTC. `resource_owner` is the id of the instance that the object belongs to.
    """

    sequence: int
    creation_date: int
    change_date: int
    resource_owner: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A host name that leads to one instance: lower case, without a port, international names as `xn--`."""

    details: ObjectDetails
    domain: str
    primary: bool
    generated: bool


@dataclass(frozen=True, slots=True)
class Instance:
    """A tenant that is RUNNING; the domains stand primary first, then as they were added."""

    id: str
    details: ObjectDetails
    name: str
    domains: tuple[Domain, ...]
