"""The call being served: interceptors fill it in, servicers and the access log read it."""

from contextvars import ContextVar
from dataclasses import dataclass

from gateway import Again
from server.domain.errors import DomainError
from server.domain.model import Instance


@dataclass(slots=True)
class Call:
    """One call, from its metadata to its reply.

    `failure`, once set, is raised in place of the servicer's behaviour: a call is refused before its message is read.
    """

    method: str
    request_id: str
    user_id: str | None = None
    instance: Instance | None = None
    instance_id: str | None = None
    failure: DomainError | None = None
    # Tells whether the same may be done once more for the same request; None where that cannot be told at once.
    again: Again | None = None
    # Why the call was refused, in words for the log alone.
    reason: str | None = None

    def asked_instance(self) -> Instance:
        """Return the instance that an RPC with `asked_instance` in its authorization is about.

        Raises:
            RuntimeError: nothing authorized the call for an instance, which is a bug.
        """
        if self.instance is None:
            raise RuntimeError(f"{self.method} was not authorized for an instance")
        return self.instance


current_call: ContextVar[Call] = ContextVar("current_call")
