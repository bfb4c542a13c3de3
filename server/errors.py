"""One table from the reasons of `server/domain/errors.py` to `google.rpc.Status`, which every protocol carries."""

import functools
from collections.abc import Sequence

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo

from server.domain import errors

# The `domain` of google.rpc.ErrorInfo: who defines the reason.
ERROR_DOMAIN = "instanced"


def status(code: int, message: str, details: Sequence[Message] = ()) -> status_pb2.Status:
    """Build a `google.rpc.Status`; `code` is a number of google/rpc/code.proto."""
    packed = []
    for detail in details:
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    return status_pb2.Status(code=code, message=message, details=packed)


@functools.singledispatch
def to_status(error: errors.DomainError) -> status_pb2.Status:
    """Map a reason to the status that the caller reads.

    Raises:
        TypeError: the reason stands in no row of the table, which is a bug.

    """
    raise TypeError(f"no status is defined for {type(error).__name__}")


@to_status.register
def _(error: errors.InvalidCommand) -> status_pb2.Status:
    violations = [
        BadRequest.FieldViolation(field=violation.field, description=violation.description)
        for violation in error.violations
    ]
    return status(code_pb2.INVALID_ARGUMENT, str(error), [BadRequest(field_violations=violations)])


@to_status.register
def _(error: errors.Unauthenticated) -> status_pb2.Status:
    return status(code_pb2.UNAUTHENTICATED, str(error))


@to_status.register
def _(error: errors.PermissionDenied) -> status_pb2.Status:
    info = ErrorInfo(reason="PERMISSION_MISSING", domain=ERROR_DOMAIN, metadata={"permission": error.permission})
    return status(code_pb2.PERMISSION_DENIED, str(error), [info])


@to_status.register
def _(error: errors.InstanceNotFound) -> status_pb2.Status:
    return status(code_pb2.NOT_FOUND, str(error))


@to_status.register
def _(error: errors.DomainTaken) -> status_pb2.Status:
    resource = ResourceInfo(
        resource_type="zitadel.instance.v1.Domain", resource_name=error.domain, description="the domain is taken"
    )
    return status(code_pb2.ALREADY_EXISTS, str(error), [resource])


@to_status.register
def _(error: errors.StoreUnavailable) -> status_pb2.Status:
    retry = RetryInfo(retry_delay=duration_pb2.Duration(seconds=1))
    return status(code_pb2.UNAVAILABLE, str(error), [retry])


def internal(error_id: str) -> status_pb2.Status:
    """Build the status of a bug: nothing of the exception, and the id under which the log has it."""
    return status(code_pb2.INTERNAL, f"an internal error occurred; the server's log has it under the id {error_id}")


CODES = {code.value[0]: code for code in grpc.StatusCode}
