"""Authorizes every call before its message is read."""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from gateway import Again, EncodedOnce, Metadata, Repeatable
from server.call import Call, current_call
from server.domain.errors import DomainError
from server.domain.model import Instance
from server.identity.authorizer import Authorizer
from server.identity.metadata import Presented, read_metadata
from server.identity.requirements import Requirement, Requirements
from server.identity.tokens import Claims
from server.interceptors.layers import Behaviour, Context, Deserializer, Handler, Layer, Waiting, responses


class Authentication(Layer):
    """Fills in who calls and which instance is asked for, or sets the call's `failure`.

    The failure is raised in place of the behaviour, inside of whatever stands around it, and the message is not parsed.
    Public RPCs pass as they are, and so do unknown ones, for the front to answer alike with or without a token.
    """

    def __init__(self, authorizer: Authorizer, requirements: Requirements) -> None:
        self._authorizer = authorizer
        self._requirements = requirements

    def opened(self, details: grpc.HandlerCallDetails, handler: Handler | None) -> Waiting | None:
        """Authorize the call, unless anyone may make it."""
        requirement = self._requirements.get(details.method)
        if handler is None or (requirement is not None and requirement.permission is None):
            return None
        call = current_call.get()
        if call.failure is not None:
            return None
        waiting: Waiting | None = None
        try:
            if requirement is None:
                raise RuntimeError(f"{call.method} is served, and its requirements were not read at start")  # noqa: TRY301
            presented = read_metadata(details.invocation_metadata)
            claims = self._authorizer.authenticate(presented)
            call.user_id = claims.user.id
            instance = call.instance = self._authorizer.admit_known(requirement, claims, presented)
            if instance is None:
                waiting = functools.partial(self._admit, call, requirement, claims, presented)
            else:
                self._admitted(call, claims, presented, instance)
        except DomainError as error:
            call.failure = error
        except Exception as error:  # noqa: BLE001 - outside of a behaviour it would end the call with no status of ours
            call.failure = _Unforeseen(error)
        return waiting

    async def unary(self, inner: Behaviour, request: Any, context: Context) -> Any:
        """Answer a call that has one response, if it may run."""
        _raise_failure()
        response = await inner(request, context)
        if type(response) is EncodedOnce:
            again = current_call.get().again
            return response if again is None else Repeatable(response, again)
        return response

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Answer a call that has a stream of responses, if it may run."""
        _raise_failure()
        async for response in responses(inner, request, context):
            yield response

    def deserializer(self, inner: Deserializer) -> Deserializer:
        """Return one that leaves the message of a refused call alone."""
        return functools.partial(_deserialize, inner)

    def _admitted(self, call: Call, claims: Claims, presented: Presented, instance: Instance) -> None:
        call.instance_id = instance.id
        if presented.host is not None:
            call.again = _again(self._authorizer.admits_still(claims, presented.host, instance))

    async def _admit(self, call: Call, requirement: Requirement, claims: Claims, presented: Presented) -> None:
        try:
            instance = call.instance = await self._authorizer.admit(requirement, claims, presented)
            if instance is None:
                return
            call.instance_id = instance.id
            if self._authorizer.admit_known(requirement, claims, presented) is instance:
                # It is remembered by now, and the caller one whose roles reach everywhere.
                self._admitted(call, claims, presented, instance)
        except DomainError as error:
            call.failure = error
        except Exception as error:  # noqa: BLE001 - as above
            call.failure = _Unforeseen(error)


class _Unforeseen(DomainError):
    """Carries an exception that no rule foresees to where failures are raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("an internal error occurred")
        self.cause = cause


def _again(still: Callable[[], bool]) -> Again:
    def again(_peer: str, _apart: Metadata) -> Metadata | None:
        try:
            return () if still() else None
        except DomainError:
            # The call in full says why.
            return None

    return again


def _raise_failure() -> None:
    failure = current_call.get().failure
    if failure is not None:
        raise failure.cause if isinstance(failure, _Unforeseen) else failure


def _deserialize(deserializer: Deserializer, data: bytes) -> Any:
    return deserializer(data) if current_call.get().failure is None else data
