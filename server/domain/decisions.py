"""How a command turns into events: it decides inside the write transaction, on what stands at that moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from server.domain.events import Event


class Registry(Protocol):
    """What a command may ask while it decides. Nothing changes between the answers and the events that follow."""

    def draw_id(self) -> str:
        """Return an id that was never drawn before and is larger than all of them."""

    def has_domain(self, domain: str) -> bool:
        """Tell whether any instance has the domain."""

    def has_drawn_domain(self, domain: str) -> bool:
        """Tell whether any instance has a domain that was drawn, so that hardly any has it.

        May overlook that one has: the store then finds the domain taken, and lets the command decide once more.
        """


class NewEvent(NamedTuple):
    """An event to be recorded, and the id of the instance, organization or user that it happened to."""

    aggregate_id: str
    event: Event


class Decided(Protocol):
    """What follows from a command: events, all of one instance. They are stored together or not at all."""

    @property
    def instance_id(self) -> str:
        """The instance that the events belong to."""

    @property
    def events(self) -> Sequence[NewEvent]:
        """The events, in their order."""


Decided_co = TypeVar("Decided_co", bound=Decided, covariant=True)


@dataclass(frozen=True, slots=True)
class Decision:
    """Any events of one instance; a `Decided`."""

    instance_id: str
    events: Sequence[NewEvent]


class Command(Protocol[Decided_co]):
    """Something that a store can execute."""

    def decide(self, registry: Registry) -> Decided_co:
        """Return what follows, or raise the DomainError that stands in the way. Runs on a thread of the store.

        Must not block.
        """
