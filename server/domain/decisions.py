"""How a command turns into events: it decides inside the write transaction, on what stands at that moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from server.domain.events import Event, InstanceAdded


class Registry(Protocol):
    """What a command may ask while it decides. Nothing changes between the answers and the events that follow."""

    def draw_id(self) -> str:
        """Return an id that was never drawn before and is larger than all of them."""

    def has_domain(self, domain: str) -> bool:
        """Tell whether any instance has the domain."""


class NewEvent(NamedTuple):
    """An event to be recorded, and the id of the instance, organization or user that it happened to."""

    aggregate_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class Decision:
    """The events that follow from a command, all of one instance; they are stored together or not at all."""

    instance_id: str
    events: Sequence[NewEvent]

    @property
    def begins_instance(self) -> bool:
        """Whether the events are the first of their instance, so that nothing is stored that they could change."""
        return bool(self.events) and isinstance(self.events[0].event, InstanceAdded)


class Command(Protocol):
    """Something that a store can execute."""

    def decide(self, registry: Registry) -> Decision:
        """Return what follows, or raise the DomainError that stands in the way. Runs on a thread of the store.

        Must not block.
        """
