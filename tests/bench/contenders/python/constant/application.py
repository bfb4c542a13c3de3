"""The least that an ASGI application can do: the same bytes as the answer to everything."""

from typing import Any


def constant(body: bytes) -> Any:
    """Return an ASGI application that answers with `body`."""
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
    }
    whole = {"type": "http.response.body", "body": body}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(start)
            await send(whole)

    return application
