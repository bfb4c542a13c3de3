"""Instances kept in memory, never older than the last acknowledged command."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache

from server.domain.model import Instance

SIZE: Final = 10_000

Query = Callable[[], Awaitable[Instance | None]]


@dataclass(eq=False, slots=True)
class _Flight:
    """A query on its way, and which instances were changed since it began."""

    task: "asyncio.Task[Instance | None] | None" = None
    overtaken: set[str] = field(default_factory=set)
    overtaken_all: bool = False


class InstanceCache:
    """The instances used last, by id and by each of their domains. What is not there is not remembered.

    Whoever commits calls `drop` before the commit is acknowledged; of what other processes commit, whoever reads tells
    before it asks here. A query that began before that may have seen the state before it: its result goes to those who
    asked by then, and not into the cache; whoever asks later starts another.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._instances = _Evicting(size, self._forget_domains)
        self._ids: dict[str, str] = {}
        self._joinable: dict[tuple[str, str], _Flight] = {}
        self._flights: set[_Flight] = set()

    def known_by_domain(self, domain: str) -> Instance | None:
        """Return the instance that `domain` leads to, None where only `by_domain` can tell."""
        instance_id = self._ids.get(domain)
        return None if instance_id is None else self._instances[instance_id]

    async def by_domain(self, domain: str, query: Query) -> Instance | None:
        """Return the instance that `domain` leads to, by `query` where it is not known."""
        instance_id = self._ids.get(domain)
        if instance_id is not None:
            return self._instances[instance_id]
        return await self._ask(("domain", domain), query)

    async def by_id(self, instance_id: str, query: Query) -> Instance | None:
        """Return the instance with that id, by `query` where it is not known."""
        known = self._instances.get(instance_id)
        if known is not None:
            return known
        return await self._ask(("id", instance_id), query)

    def drop(self, instance_ids: Iterable[str]) -> None:
        """Forget these instances: a commit changed them."""
        changed = set(instance_ids)
        for instance_id in changed:
            self._forget(instance_id)
        for flight in self._flights:
            flight.overtaken |= changed
        self._joinable.clear()

    def clear(self) -> None:
        """Forget everything: something, nobody knows what, was changed."""
        self._instances.clear()
        self._ids.clear()
        for flight in self._flights:
            flight.overtaken_all = True
        self._joinable.clear()

    async def _ask(self, key: tuple[str, str], query: Query) -> Instance | None:
        flight = self._joinable.get(key)
        if flight is None or flight.task is None:
            flight = _Flight()
            flight.task = asyncio.create_task(self._fly(key, flight, query), name=f"look up {key[0]}")
            flight.task.add_done_callback(_retrieve)
            self._joinable[key] = flight
            self._flights.add(flight)
        # Shielded: others may share the query, so one caller's deadline must not end it.
        return await asyncio.shield(flight.task)

    async def _fly(self, key: tuple[str, str], flight: _Flight, query: Query) -> Instance | None:
        try:
            instance = await query()
        finally:
            self._flights.discard(flight)
            if self._joinable.get(key) is flight:
                del self._joinable[key]
        if instance is not None and not flight.overtaken_all and instance.id not in flight.overtaken:
            self._keep(instance)
        return instance

    def _keep(self, instance: Instance) -> None:
        self._forget(instance.id)
        self._instances[instance.id] = instance
        for domain in instance.domains:
            self._ids[domain.domain] = instance.id

    def _forget(self, instance_id: str) -> None:
        instance = self._instances.pop(instance_id, None)
        if instance is not None:
            self._forget_domains(instance)

    def _forget_domains(self, instance: Instance) -> None:
        for domain in instance.domains:
            if self._ids.get(domain.domain) == instance.id:
                del self._ids[domain.domain]


class _Evicting(LRUCache[str, Instance]):
    """cachetools asks for a subclass where an eviction must have a consequence."""

    def __init__(self, size: int, evicted: Callable[[Instance], None]) -> None:
        super().__init__(size)
        self._evicted = evicted

    def popitem(self) -> tuple[str, Instance]:
        """Remove the instance used longest ago, and say so."""
        instance_id, instance = super().popitem()
        self._evicted(instance)
        return instance_id, instance


def _retrieve(task: asyncio.Task[Instance | None]) -> None:
    # Where every caller went away, nobody else asks for the failure, and asyncio would log it as lost.
    if not task.cancelled():
        task.exception()
