from collections.abc import Iterator

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo

from server.domain import errors
from server.errors import internal, to_status

TABLE: list[tuple[errors.DomainError, int, type[Message] | None]] = [
    (
        errors.InvalidCommand([errors.Violation("a.b", "is wrong")]),
        code_pb2.INVALID_ARGUMENT,
        BadRequest,
    ),
    (errors.Unauthenticated("secret reason"), code_pb2.UNAUTHENTICATED, None),
    (errors.PermissionDenied("iam.read"), code_pb2.PERMISSION_DENIED, ErrorInfo),
    (errors.InstanceNotFound("a.example"), code_pb2.NOT_FOUND, None),
    (errors.DomainTaken("a.example"), code_pb2.ALREADY_EXISTS, ResourceInfo),
    (errors.StoreUnavailable("secret reason"), code_pb2.UNAVAILABLE, RetryInfo),
]


def reasons(kind: type[errors.DomainError] = errors.DomainError) -> Iterator[type[errors.DomainError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from reasons(sub)


def test_every_reason_has_a_row() -> None:
    named = {kind for kind in reasons() if kind.__module__ == errors.__name__}
    assert named == {type(error) for error, _, _ in TABLE}


@pytest.mark.parametrize(("error", "code", "detail"), TABLE, ids=lambda value: type(value).__name__)
def test_a_reason_has_its_code_and_detail(error: errors.DomainError, code: int, detail: type[Message] | None) -> None:
    status = to_status(error)
    assert isinstance(status, status_pb2.Status)
    assert status.code == code
    assert [any_.TypeName() for any_ in status.details] == ([detail.DESCRIPTOR.full_name] if detail else [])
    assert "secret reason" not in str(status)


def test_a_reason_without_a_row_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no status is defined for DomainError"):
        to_status(errors.DomainError())


def test_a_bug_shows_an_id_and_nothing_else() -> None:
    status = internal("abc123")
    assert status.code == code_pb2.INTERNAL
    assert "abc123" in status.message
    assert not status.details


def test_not_found_names_the_host_that_was_looked_up_and_the_header_to_send() -> None:
    message = to_status(errors.InstanceNotFound("a.example")).message
    assert "a.example" in message
    assert "x-zitadel-instance-host" in message
