"""The body of an HTTP request, received within its limits."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import grpc

from gateway._lifetime import GONE
from gateway._status import Refused, refused
from gateway._types import Receive


async def read_body(receive: Receive, head: Mapping[bytes, bytes], limit: int) -> bytes:
    """Receive a whole body.

    Raises:
        Refused: RESOURCE_EXHAUSTED as soon as it is announced, or grows, beyond `limit` bytes; CANCELLED where the
        caller
            goes away.
    """
    announced = head.get(b"content-length")
    if (
        announced is not None
        and announced.isdigit()
        and (len(announced) > len(str(limit)) + 20 or int(announced) > limit)
    ):
        raise _too_large(limit)
    event = await receive()
    if event["type"] == "http.disconnect":
        raise Refused(GONE)
    body: bytes = event.get("body", b"")
    if not event.get("more_body"):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    chunks = bytearray(body)
    while True:
        if len(chunks) > limit:
            raise _too_large(limit)
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Refused(GONE)
        chunks += event.get("body", b"")
        if not event.get("more_body"):
            if len(chunks) > limit:
                raise _too_large(limit)
            return bytes(chunks)


async def read_chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Receive a body piece by piece.

    Raises:
        Refused: CANCELLED where the caller goes away.
    """
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Refused(GONE)
        body = event.get("body", b"")
        if body:
            yield body
        else:
            # A host that gives empty pieces without end must not keep the loop.
            await asyncio.sleep(0)
        if not event.get("more_body"):
            return


def _too_large(limit: int) -> Refused:
    return refused(
        grpc.StatusCode.RESOURCE_EXHAUSTED, f"the body has more than the {limit} bytes that are allowed", 413
    )
