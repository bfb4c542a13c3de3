"""What a store does, whatever database it stands on."""

from typing import Generic, NamedTuple, Protocol

from server.domain.decisions import Command, Decided_co
from server.domain.events import RecordedEvent
from server.domain.model import Instance


class StoreRefused(Exception):
    """The data cannot be served as it is; the message says why and what to do, for whoever started the program."""


class Recorded(NamedTuple, Generic[Decided_co]):
    """What a command decided, and where the events that follow from it stand in the log; there is at least one.

    `position` and `sequence` are those of the first; `created_at` is in microseconds since 1970-01-01 UTC.
    """

    decided: Decided_co
    creator: str
    position: int
    sequence: int
    created_at: int

    @property
    def instance_id(self) -> str:
        """The instance that all of the events belong to."""
        return self.decided.instance_id

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """The events as they stand in the log."""
        return tuple(
            RecordedEvent(
                position=self.position + number,
                instance_id=self.decided.instance_id,
                aggregate_id=new.aggregate_id,
                sequence=self.sequence + number,
                event=new.event,
                creator=self.creator,
                created_at=self.created_at,
            )
            for number, new in enumerate(self.decided.events)
        )


class Store(Protocol):
    """The event log and its projections."""

    async def execute(self, command: Command[Decided_co], creator: str) -> Recorded[Decided_co]:
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
