"""What a host says by itself, in place of the application, and how the application learns of a caller who is gone."""

from typing import Final

import grpc

from gateway._status import status_json
from gateway._types import Headers

# HTTP's status, the gateway's, and what went wrong.
Reason = tuple[int, grpc.StatusCode, str]

MALFORMED: Final[Reason] = (400, grpc.StatusCode.INVALID_ARGUMENT, "the HTTP request is malformed")
TOO_LARGE: Final[Reason] = (431, grpc.StatusCode.RESOURCE_EXHAUSTED, "the request's headers are too large")
TOO_SLOW: Final[Reason] = (408, grpc.StatusCode.DEADLINE_EXCEEDED, "the request's headers did not arrive in time")
STOPPING: Final[Reason] = (503, grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
FAILED: Final[Reason] = (500, grpc.StatusCode.INTERNAL, "unexpected error in the application")


class CallerGone(ConnectionResetError):
    """What `send` raises where nobody is there to be sent to."""


def answer(reason: Reason) -> tuple[Headers, bytes]:
    """Give headers and body of an answer in the JSON form of the gateway's errors."""
    _, code, message = reason
    body = status_json(code, message)
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
    ]
    return headers, body
