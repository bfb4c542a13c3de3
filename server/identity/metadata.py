"""What a call's metadata says of its caller and of the instance that it asks for."""

from collections.abc import Iterable
from typing import NamedTuple

from server.domain.errors import Unauthenticated

AUTHORIZATION = "authorization"
INSTANCE_HOST = "x-zitadel-instance-host"
AUTHORITY = ":authority"

_SCHEME = "bearer "


class Presented(NamedTuple):
    """The two things that authorization reads, as they were sent; None where they were not."""

    authorization: str | None
    host: str | None


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Presented:
    """Pick out the caller's credentials and the asked host: `x-zitadel-instance-host`, else `:authority`.

    A repeated key is read as one list, the values joined by commas, as any proxy may rewrite it (RFC 9110, section
    5.3): neither a token nor a host has a comma, so two of them are none.
    """
    authorization = header = authority = None
    for key, value in metadata:
        if key == AUTHORIZATION:
            authorization = _joined(authorization, value)
        elif key == INSTANCE_HOST:
            header = _joined(header, value)
        elif key == AUTHORITY:
            authority = _joined(authority, value)
    return Presented(authorization, authority if header is None else header)


def bearer_token(authorization: str | None) -> str:
    """Take the token out of `Bearer TOKEN` (RFC 6750, section 2.1).

    Raises:
        Unauthenticated: there is no token.
    """
    if authorization is None:
        raise Unauthenticated("no authorization metadata")
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthenticated("the authorization metadata is not Bearer and a token")
    return authorization[len(_SCHEME) :].strip(" ")


def _joined(before: str | None, value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("latin-1")
    return text if before is None else f"{before},{text}"
