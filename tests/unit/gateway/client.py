"""A caller of ASGI applications, and a reader of gRPC-Web written from its specification alone."""

import asyncio
import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

GRPC_WEB = "application/grpc-web+proto"
GRPC_WEB_TEXT = "application/grpc-web-text"
JSON = "application/json"


@dataclass
class Response:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] | None = None

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name.encode()]
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0].decode() if values else None

    def json(self) -> Any:
        assert self.header("content-type") == JSON, (self.status, self.headers, self.body)
        return json.loads(self.body)


async def request(
    app: Any,
    method: str,
    target: str,
    body: bytes | Sequence[bytes] = b"",
    *,
    content_type: str | None = None,
    headers: Mapping[str, str | bytes] | Sequence[tuple[bytes, bytes]] = (),
    gone: asyncio.Event | None = None,
    unfinished: bool = False,
    scope: Mapping[str, Any] | None = None,
) -> Response:
    """Make one request. A body in pieces is chunked; `gone` says that the caller left; `unfinished` never ends it."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    raw = _raw_headers(headers, content_type, body)
    path, _, query = target.partition("?")
    connection = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 8080),
        **(scope or {}),
    }
    left = gone or asyncio.Event()
    response = Response()
    ended = announced = False

    async def receive() -> dict[str, Any]:
        if left.is_set() or not pieces:
            await left.wait()
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces) or unfinished}

    async def send(event: Any) -> None:
        nonlocal ended, announced
        await asyncio.sleep(0)
        if event["type"] == "http.response.start":
            assert not response.status, "two replies"
            response.status = event["status"]
            response.headers = list(event["headers"])
            announced = event.get("trailers", False)
        elif event["type"] == "http.response.trailers":
            assert announced, "trailers that the start did not announce"
            assert ended, "trailers before the body's end"
            assert response.trailers is None, "trailers twice"
            assert not event.get("more_trailers", False)
            response.trailers = list(event["headers"])
        else:
            assert event["type"] == "http.response.body"
            assert response.status, "a body before its headers"
            assert not ended, "a body after its end"
            assert type(event["body"]) is bytes
            response.body += event["body"]
            response.pieces.append(event["body"])
            ended = not event.get("more_body", False)

    await app(connection, receive, send)
    if not left.is_set():
        assert ended, "the reply has no end"
        assert announced == (response.trailers is not None), "trailers were announced and did not come"
    length = response.header("content-length")
    if length is not None and method != "HEAD":
        assert int(length) == len(response.body)
    return response


def _raw_headers(
    headers: Mapping[str, str | bytes] | Sequence[tuple[bytes, bytes]], content_type: str | None, body: object
) -> list[tuple[bytes, bytes]]:
    raw = [(b"host", b"echo.test:8080")]
    if isinstance(headers, Mapping):
        raw += [(k.lower().encode(), v if isinstance(v, bytes) else v.encode()) for k, v in headers.items()]
    else:
        raw += headers
    if content_type is not None:
        raw.append((b"content-type", content_type.encode()))
    if not isinstance(body, bytes):
        raw.append((b"transfer-encoding", b"chunked"))
    elif body and not any(name == b"content-length" for name, _ in raw):
        raw.append((b"content-length", b"%d" % len(body)))
    return raw


def frame(message: Any, flags: int = 0) -> bytes:
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    return bytes([flags]) + len(payload).to_bytes(4, "big") + payload


def text_frame(message: Any, flags: int = 0) -> bytes:
    return base64.b64encode(frame(message, flags))


@dataclass
class Result:
    """What a gRPC-Web client makes of a reply."""

    messages: list[bytes]
    trailers: list[tuple[str, str]]

    @property
    def status(self) -> int:
        return int(self.trailer("grpc-status") or -1)

    @property
    def message(self) -> str:
        return unquote_to_bytes(self.trailer("grpc-message") or "").decode("utf-8")

    def trailer(self, name: str) -> str | None:
        values = [value for key, value in self.trailers if key == name]
        assert len(values) <= 1
        return values[0] if values else None


def web_result(response: Response) -> Result:
    """Read a gRPC-Web reply strictly: data frames, then one trailers frame, and nothing after it."""
    assert response.status == 200, (response.status, response.body)
    media_type = response.header("content-type") or ""
    assert media_type.startswith("application/grpc-web"), media_type
    body = response.body
    if "text" in media_type:
        groups = re.findall(rb"[A-Za-z0-9+/]+={0,2}", body)
        assert b"".join(groups) == body
        assert all(len(group) % 4 == 0 for group in groups)
        body = b"".join(base64.b64decode(group, validate=True) for group in groups)
    messages: list[bytes] = []
    while body:
        flags, length = body[0], int.from_bytes(body[1:5], "big")
        payload, body = body[5 : 5 + length], body[5 + length :]
        assert len(payload) == length, "a frame is cut short"
        if flags == 0x80:
            assert not body, "something follows the trailers"
            lines = payload.decode("ascii").split("\r\n")
            assert lines.pop() == ""
            trailers = [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]
            assert all(key == key.lower() and key for key, _ in trailers)
            return Result(messages, trailers)
        assert flags == 0
        messages.append(payload)
    raise AssertionError("the reply has no trailers")
