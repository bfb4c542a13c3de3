"""What each RPC asks of its caller, read from the option `instanced.v1.authorization` in its .proto."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from instanced import authorization_pb2


class UnguardedRpc(Exception):
    """An RPC says neither which permission it asks for nor that it is public, so the server must not start."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}; set the option instanced.v1.authorization in its .proto")
        self.path = path


@dataclass(frozen=True, slots=True)
class Requirement:
    """The permission that an RPC asks for, None where anyone may call, and whether it is about the asked instance."""

    permission: str | None
    asked_instance: bool = False


PUBLIC = Requirement(permission=None)


class Requirements:
    """The requirement of each RPC by its path, `/package.Service/Method`."""

    def __init__(self, by_path: dict[str, Requirement], public_services: Iterable[str]) -> None:
        self._by_path = by_path
        self._public = tuple(f"/{service}/" for service in public_services)

    def get(self, path: str) -> Requirement | None:
        """Return None for an RPC that nothing was read for."""
        requirement = self._by_path.get(path)
        if requirement is None and path.startswith(self._public):
            return PUBLIC
        return requirement


def read_requirements(
    services: Iterable[str], *, public: Iterable[str] = (), pool: DescriptorPool | None = None
) -> Requirements:
    """Read the requirements of all RPCs of `services`, full names; those in `public` are public by name.

    Raises:
        UnguardedRpc: an RPC has no authorization, or the service has no descriptor.
    """
    pool = pool or descriptor_pool.Default()
    public = frozenset(public)
    by_path: dict[str, Requirement] = {}
    for service in services:
        if service in public:
            continue
        try:
            descriptor = pool.FindServiceByName(service)
        except KeyError:
            raise UnguardedRpc(service, "has no descriptor to read its requirements from") from None
        for method in descriptor.methods:
            path = f"/{service}/{method.name}"
            by_path[path] = _requirement(method, path)
    return Requirements(by_path, public)


def _requirement(method: MethodDescriptor, path: str) -> Requirement:
    options = method.GetOptions()
    if not options.HasExtension(authorization_pb2.authorization):
        raise UnguardedRpc(path, "has no authorization")
    authorization = options.Extensions[authorization_pb2.authorization]
    if authorization.public:
        return PUBLIC
    if not authorization.permission:
        raise UnguardedRpc(path, "names no permission and is not public")
    return Requirement(authorization.permission, authorization.asked_instance)
