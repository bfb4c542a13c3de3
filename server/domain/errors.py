"""Why a call fails, each reason typed once; `server/errors.py` maps them to status codes in one table."""

from collections.abc import Sequence
from dataclasses import dataclass


class DomainError(Exception):
    """A rule of the domain, of identity or of the store stands in the way; the message is meant for the caller."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks a rule.

    `field` is the path in JSON names, `ownerEmail.email`; `description` says what is wrong and what is accepted.
    """

    field: str
    description: str


class InvalidCommand(DomainError):
    """A command breaks rules on its fields, all of which are listed."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in violations))
        self.violations = tuple(violations)


class DomainTaken(DomainError):
    """The custom domain belongs to an instance already."""

    def __init__(self, domain: str) -> None:
        super().__init__(f"the domain {domain} belongs to another instance; choose another")
        self.domain = domain


class InstanceNotFound(DomainError):
    """No instance has the host that was looked up; `None` where the call named no host at all."""

    def __init__(self, host: str | None) -> None:
        named = "the call names no instance" if host is None else f"no instance has the domain {host}"
        super().__init__(f"{named}; name one in the header x-zitadel-instance-host, or as the host of the request")
        self.host = host


class Unauthenticated(DomainError):
    """The caller proved no identity. Callers all read one message; `reason` is for the log alone."""

    def __init__(self, reason: str) -> None:
        super().__init__("the call needs a valid bearer token in the authorization metadata")
        self.reason = reason


class PermissionDenied(DomainError):
    """The caller is known, and its roles do not hold the permission here."""

    def __init__(self, permission: str) -> None:
        super().__init__(f"the caller lacks the permission {permission}")
        self.permission = permission


class StoreUnavailable(DomainError):
    """The store cannot write or read now, and nothing of the command is stored; `cause` is for the log alone."""

    def __init__(self, cause: str) -> None:
        super().__init__("the store cannot be used at the moment and nothing was stored; try again later")
        self.cause = cause
