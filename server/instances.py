"""Instances as the servicers use them: set one up in the store, look one up."""

from collections.abc import Mapping
from dataclasses import dataclass

from server.domain.commands import AddInstance
from server.domain.instance_setup import InstanceSetup
from server.domain.model import Instance, ObjectDetails
from server.domain.passwords import Passwords
from server.store.interface import Store


@dataclass(frozen=True, slots=True)
class Added:
    """A new instance, and the details that the next look-up of it has as well."""

    instance_id: str
    details: ObjectDetails


class Instances:
    """All instances of one store, below one external domain."""

    def __init__(self, store: Store, external_domain: str, passwords: Passwords) -> None:
        self._store = store
        self._external_domain = external_domain
        self._passwords = passwords

    async def add(self, fields: Mapping[str, object], *, creator: str) -> Added:
        """Set up the instance that `fields` of an AddInstanceRequest describe, for the user whose id is `creator`.

        Returns when it is on disk. Raises InvalidCommand, DomainTaken or StoreUnavailable, and then nothing is stored.
        """
        request = AddInstance.parse(fields, external_domain=self._external_domain)
        password = request.owner_password.password.get_secret_value()
        password_hash = await self._passwords.hash(password) if password else None
        recorded = await self._store.execute(InstanceSetup(request, password_hash, self._external_domain), creator)
        return Added(recorded.instance_id, recorded.decided.details(recorded.created_at))

    def known_by_domain(self, host: str) -> Instance | None:
        """Return what `by_domain` would, if that is known without waiting; None means to ask it.

        May raise StoreUnavailable.
        """
        return self._store.known_instance_by_domain(host)

    async def by_domain(self, host: str) -> Instance | None:
        """Return the instance that has `host`, as `names.normalize_host` gives it, among its domains.

        May raise StoreUnavailable.
        """
        return await self._store.instance_by_domain(host)

    async def by_id(self, instance_id: str) -> Instance | None:
        """Return the instance with that id. May raise StoreUnavailable."""
        return await self._store.instance_by_id(instance_id)
