"""How a call ends: google.rpc.Status, its HTTP status, and its JSON form.

Codes: https://grpc.io/docs/guides/status-codes/, HTTP statuses: google/rpc/code.proto.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, json_format
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest

from gateway._types import Metadata

DETAILS_KEY: Final = "grpc-status-details-bin"

HTTP_STATUS: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}

# grpc types the value as Any: a pair of the number and a lower-case name.
NUMBER: Final[Mapping[grpc.StatusCode, int]] = {code: code.value[0] for code in grpc.StatusCode}
BY_NUMBER: Final[Mapping[int, grpc.StatusCode]] = {number: code for code, number in NUMBER.items()}


@dataclass(frozen=True, slots=True)
class Status(grpc.Status):
    """A status to end a call with; `http_status` where JSON has a closer one than the code's own (413, 415)."""

    code: grpc.StatusCode
    details: str = ""
    trailing_metadata: Metadata = ()
    http_status: int | None = None


class Refused(Exception):
    """What came over the wire cannot become a request; `status` says why, in words that may go to the caller."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.details)
        self.status = status


def refused(code: grpc.StatusCode, details: str, http_status: int | None = None) -> Refused:
    """Give the exception for a request that ends with `code`."""
    return Refused(Status(code, details, (), http_status))


def invalid(details: str, *, field: str | None = None) -> Refused:
    """INVALID_ARGUMENT; with `field`, a JSON path, as google.rpc.Status with a BadRequest that names it."""
    if not field:
        return Refused(Status(grpc.StatusCode.INVALID_ARGUMENT, details))
    message = f"{field}: {details}"
    violation = BadRequest.FieldViolation(field=field, description=details)
    status = status_pb2.Status(code=NUMBER[grpc.StatusCode.INVALID_ARGUMENT], message=message)
    status.details.add().Pack(BadRequest(field_violations=[violation]))
    trailing = ((DETAILS_KEY, status.SerializeToString()),)
    return Refused(Status(grpc.StatusCode.INVALID_ARGUMENT, message, trailing))


def status_json(code: grpc.StatusCode, message: str, trailing: Metadata = ()) -> bytes:
    """Write `{code, message, details[]}`, the details from `grpc-status-details-bin` without those of unknown types."""
    details = [readable for _, readable in details_of(trailing) if readable is not None]
    body = {"code": NUMBER[code], "message": message, "details": details}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def details_of(trailing: Metadata) -> list[tuple[any_pb2.Any, dict[str, Any] | None]]:
    """Give the details of `grpc-status-details-bin`, each with its JSON; None where the pool does not know its type."""
    serialized = b""
    for key, value in trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            serialized = value
    try:
        status = status_pb2.Status.FromString(serialized)
    except DecodeError:
        return []
    return [(detail, _readable(detail)) for detail in status.details]


def _readable(detail: any_pb2.Any) -> dict[str, Any] | None:
    try:
        return json_format.MessageToDict(detail)
    except (TypeError, KeyError, ValueError, DecodeError):
        # The pool does not know the type, or the bytes are not of it.
        return None
