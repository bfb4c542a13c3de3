"""What a store does, whatever database it stands on."""

from dataclasses import dataclass
from typing import Protocol

from server.domain.decisions import Command
from server.domain.events import RecordedEvent
from server.domain.model import Instance


class StoreRefused(Exception):
    """The data cannot be served as it is; the message says why and what to do, for whoever started the program."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The events of one command as they stand in the log; there is at least one."""

    events: tuple[RecordedEvent, ...]

    @property
    def instance_id(self) -> str:
        """The instance that all of the events belong to."""
        return self.events[0].instance_id


class Store(Protocol):
    """The event log and its projections."""

    async def execute(self, command: Command, creator: str) -> Recorded:
        """Store what follows from `command`, given by the user whose id is `creator`, and return once it is durable.

        Raises the DomainError that the command raises, DomainTaken where a domain it adds belongs to another instance,
        or StoreUnavailable; then nothing of it is stored. Cancelled before its transaction begins, nothing is stored;
        after that, all of it.
        """

    def known_instance_by_domain(self, domain: str) -> Instance | None:
        """Return what `instance_by_domain` would, if that is known without waiting; None means to ask it.

        Raises StoreUnavailable.
        """

    async def instance_by_domain(self, domain: str) -> Instance | None:
        """Return the instance that `domain`, in lower case, leads to, as the last acknowledged command left it.

        Raises StoreUnavailable.
        """

    async def instance_by_id(self, instance_id: str) -> Instance | None:
        """Return the instance with that id, as the last acknowledged command left it. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Execute the commands that wait, refuse new ones, and let go of everything."""
