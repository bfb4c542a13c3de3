"""One way to make a call of any kind through every protocol and codec, and through plain grpc.aio.

The readers are written from the protocols' specifications and share no code with the gateway.
"""

import asyncio
import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import grpc
import grpc.aio
from google.protobuf import any_pb2, json_format
from google.rpc import status_pb2

from tests.unit.gateway.client import Response, request
from tests.unit.gateway.echo import SERVICE, EchoReply, EchoRequest

Metadata = Sequence[tuple[str, str | bytes]]
Pairs = list[tuple[str, str | bytes]]

KINDS: Final = {
    "Unary": (False, False),
    "ServerStream": (False, True),
    "ClientStream": (True, False),
    "Bidi": (True, True),
}
NATIVE: Final = {"extensions": {"http.response.trailers": {}}, "http_version": "2"}


@dataclass
class Outcome:
    """What a caller learns of a call; metadata are those whose keys begin with `x-`, sorted by key."""

    replies: list[Any] = field(default_factory=list)
    initial: Pairs = field(default_factory=list)
    trailing: Pairs = field(default_factory=list)
    code: int = 0
    message: str = ""
    details: list[tuple[str, bytes]] = field(default_factory=list)


# Reading.


def unpadded(text: str) -> bytes:
    assert "=" not in text
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def own(pairs: Sequence[tuple[str, str]]) -> Pairs:
    """Keep the metadata of the tests' own, `-bin` values decoded."""
    kept = [(key, value) for key, value in pairs if key.startswith("x-")]
    return sorted(((k, unpadded(v) if k.endswith("-bin") else v) for k, v in kept), key=lambda pair: pair[0])


def text_pairs(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(key.decode("ascii"), value.decode("ascii")) for key, value in headers]


def enveloped(body: bytes) -> list[tuple[int, bytes]]:
    """Cut a body into flags and payloads."""
    result = []
    while body:
        assert len(body) >= 5, "a prefix is cut short"
        end = 5 + int.from_bytes(body[1:5], "big")
        assert len(body) >= end, "a message is cut short"
        result.append((body[0], body[5:end]))
        body = body[end:]
    return result


def plain(payload: bytes, flags: int, encoding: str | None) -> bytes:
    if flags & 1:
        assert encoding == "gzip"
        return gzip.decompress(payload)
    return payload


def read_grpc_end(outcome: Outcome, trailers: Sequence[tuple[str, str]]) -> None:
    values = dict(trailers)
    outcome.code = int(values["grpc-status"])
    outcome.message = unquote_to_bytes(values.get("grpc-message", "")).decode("utf-8")
    outcome.trailing = own(trailers)
    if "grpc-status-details-bin" in values:
        outcome.details = details_of(unpadded(values["grpc-status-details-bin"]))


def details_of(serialized: bytes) -> list[tuple[str, bytes]]:
    status = status_pb2.Status.FromString(serialized)
    return [(detail.type_url.partition("/")[2], detail.value) for detail in status.details]


CONNECT_CODES: Final = {
    "canceled": (1, 499),
    "unknown": (2, 500),
    "invalid_argument": (3, 400),
    "deadline_exceeded": (4, 504),
    "not_found": (5, 404),
    "already_exists": (6, 409),
    "permission_denied": (7, 403),
    "resource_exhausted": (8, 429),
    "failed_precondition": (9, 400),
    "aborted": (10, 409),
    "out_of_range": (11, 400),
    "unimplemented": (12, 501),
    "internal": (13, 500),
    "unavailable": (14, 503),
    "data_loss": (15, 500),
    "unauthenticated": (16, 401),
}


def read_connect_error(outcome: Outcome, error: Mapping[str, Any]) -> None:
    assert set(error) <= {"code", "message", "details"}, error
    outcome.code = CONNECT_CODES[error["code"]][0]
    outcome.message = error.get("message", "")
    for detail in error.get("details", []):
        assert set(detail) <= {"type", "value", "debug"}
        value = unpadded(detail["value"])
        outcome.details.append((detail["type"], value))
        if "debug" in detail:
            packed = any_pb2.Any(type_url=f"type.googleapis.com/{detail['type']}", value=value)
            assert json_format.MessageToDict(packed) == {"@type": packed.type_url, **detail["debug"]}


# Calling.


@dataclass(frozen=True)
class Caller:
    """A protocol with a codec."""

    protocol: str
    codec: str
    compress: bool = False

    def __str__(self) -> str:
        return f"{self.protocol}+{self.codec}" + ("+gzip" if self.compress else "")

    def can(self, method: str) -> bool:
        return self.protocol not in ("json", "connect-get") or method == "Unary"

    async def call(
        self,
        app: Any,
        method: str,
        requests: Sequence[Any],
        metadata: Metadata = (),
        *,
        timeout_ms: int | None = None,
        gone: asyncio.Event | None = None,
    ) -> Outcome:
        response = await self.send(app, method, requests, metadata, timeout_ms=timeout_ms, gone=gone)
        return Outcome() if gone is not None and gone.is_set() else self.read(response, method)

    async def send(
        self,
        app: Any,
        method: str,
        requests: Sequence[Any],
        metadata: Metadata = (),
        *,
        timeout_ms: int | None = None,
        gone: asyncio.Event | None = None,
    ) -> Response:
        headers = [
            (key.encode(), base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode())
            for key, value in metadata
        ]
        if timeout_ms is not None:
            connect = self.protocol.startswith("connect")
            name, value = ("connect-timeout-ms", f"{timeout_ms}") if connect else ("grpc-timeout", f"{timeout_ms}m")
            headers.append((name.encode(), value.encode()))
        headers += [(name.encode(), value.encode()) for name, value in self._headers(method).items()]
        if self.protocol == "connect-get":
            data = self.encoded(requests[0])
            query = f"connect=v1&encoding={self.codec}&base64=1"
            if self.compress:
                data, query = gzip.compress(data), f"{query}&compression=gzip"
            query += "&message=" + base64.urlsafe_b64encode(data).decode().rstrip("=")
            return await request(app, "GET", f"/{SERVICE}/Get?{query}", headers=headers, gone=gone)
        content_type, body = self.media_type(method), self._body(method, requests)
        return await request(
            app,
            "POST",
            f"/{SERVICE}/{method}",
            body if any(KINDS[method]) else b"".join(body),
            content_type=content_type,
            headers=headers,
            gone=gone,
            scope=NATIVE if self.protocol == "grpc" else None,
        )

    def media_type(self, method: str) -> str:
        if self.protocol == "connect":
            return f"application/connect+{self.codec}" if any(KINDS[method]) else f"application/{self.codec}"
        if self.protocol == "json":
            return "application/json"
        return f"application/{self.protocol}+{self.codec}"

    def _headers(self, method: str) -> dict[str, str]:
        if self.protocol == "grpc":
            headers = {"te": "trailers"}
        elif self.protocol == "connect":
            headers = {"connect-protocol-version": "1"}
        else:
            headers = {}
        if self.compress:
            prefix = "grpc-"
            if self.protocol.startswith("connect"):
                prefix = "connect-" if any(KINDS[method]) else ""
            headers[f"{prefix}accept-encoding"] = "br, gzip"
            if self.protocol != "connect-get":
                key = f"{prefix}content-encoding" if self.protocol == "connect" else "grpc-encoding"
                headers[key] = "gzip"
        return headers

    def encoded(self, message: Any) -> bytes:
        if self.codec == "proto":
            serialized: bytes = message.SerializeToString()
            return serialized
        return json_format.MessageToJson(message).encode()

    def decoded(self, payload: bytes) -> Any:
        if self.codec == "proto":
            return EchoReply.FromString(payload)
        return json_format.Parse(payload, EchoReply())

    def _body(self, method: str, requests: Sequence[Any]) -> list[bytes]:
        messages = [self.encoded(each) for each in requests]
        if self.compress:
            messages = [gzip.compress(each) for each in messages]
        if self.protocol == "json" or (self.protocol == "connect" and not any(KINDS[method])):
            return messages
        frames = [bytes([self.compress]) + len(each).to_bytes(4, "big") + each for each in messages]
        return [base64.b64encode(each) for each in frames] if self.protocol == "grpc-web-text" else frames

    def read(self, response: Response, method: str) -> Outcome:
        headers = text_pairs(response.headers)
        assert response.header("cache-control") == "no-store"
        if self.protocol == "json":
            return self._read_json(response, headers)
        if self.protocol.startswith("connect") and not any(KINDS[method]):
            return self._read_connect_unary(response, headers)
        assert (response.status, response.header("content-type")) == (200, self.media_type(method)), response
        outcome = Outcome(initial=own(headers))
        if self.protocol == "connect":
            self._read_connect_stream(outcome, response)
        elif self.protocol == "grpc":
            self._read_messages(outcome, enveloped(response.body), response.header("grpc-encoding"))
            assert response.trailers is not None
            read_grpc_end(outcome, text_pairs(response.trailers))
        else:
            self._read_grpc_web(outcome, response)
        return outcome

    def _read_messages(self, outcome: Outcome, frames: list[tuple[int, bytes]], encoding: str | None) -> None:
        assert all(flags in (0, 1) for flags, _ in frames)
        outcome.replies = [self.decoded(plain(payload, flags, encoding)) for flags, payload in frames]

    def _read_grpc_web(self, outcome: Outcome, response: Response) -> None:
        pieces = response.pieces
        if self.protocol == "grpc-web-text":
            pieces = [base64.b64decode(piece, validate=True) for piece in pieces]
        *frames, (flags, end) = enveloped(b"".join(pieces))
        assert flags == 0x80
        self._read_messages(outcome, frames, response.header("grpc-encoding"))
        lines = end.decode("ascii").removesuffix("\r\n").split("\r\n")
        read_grpc_end(outcome, [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines])

    def _read_connect_stream(self, outcome: Outcome, response: Response) -> None:
        *frames, (flags, end) = enveloped(response.body)
        assert flags == 2
        self._read_messages(outcome, frames, response.header("connect-content-encoding"))
        parsed = json.loads(end)
        assert set(parsed) <= {"error", "metadata"}
        if "error" in parsed:
            read_connect_error(outcome, parsed["error"])
        metadata = parsed.get("metadata", {})
        outcome.trailing = own([(key, value) for key, values in metadata.items() for value in values])

    def _read_connect_unary(self, response: Response, headers: list[tuple[str, str]]) -> Outcome:
        trailers = [(key.removeprefix("trailer-"), value) for key, value in headers if key.startswith("trailer-")]
        outcome = Outcome(initial=own(headers), trailing=own(trailers))
        body = response.body
        if response.header("content-encoding") is not None:
            assert response.header("content-encoding") == "gzip"
            body = gzip.decompress(body)
        if response.status == 200:
            assert response.header("content-type") == f"application/{self.codec}"
            outcome.replies = [self.decoded(body)]
            return outcome
        assert response.header("content-type") == "application/json", response
        error = json.loads(body)
        read_connect_error(outcome, error)
        assert response.status == CONNECT_CODES[error["code"]][1]
        return outcome

    def _read_json(self, response: Response, headers: list[tuple[str, str]]) -> Outcome:
        prefix = "grpc-trailer-"
        trailers = [(key.removeprefix(prefix), value) for key, value in headers if key.startswith(prefix)]
        outcome = Outcome(initial=own(headers), trailing=own(trailers))
        if response.status == 200:
            outcome.replies = [self.decoded(response.body)]
            return outcome
        error = response.json()
        outcome.code, outcome.message = error["code"], error["message"]
        for each in error["details"]:
            detail: Any = json_format.ParseDict(each, any_pb2.Any())
            outcome.details.append((detail.type_url.partition("/")[2], detail.value))
        return outcome


PROTOCOLS: Final = ("grpc-web", "grpc-web-text", "connect", "connect-get", "grpc")
CALLERS: Final = (
    *(Caller(protocol, codec) for protocol in PROTOCOLS for codec in ("proto", "json")),
    *(Caller(protocol, "proto", compress=True) for protocol in PROTOCOLS),
    Caller("json", "json"),
)


async def call_grpc_aio(
    channel: grpc.aio.Channel,
    method: str,
    requests: Sequence[Any],
    metadata: Metadata = (),
    *,
    timeout_ms: int | None = None,
) -> Outcome:
    """Make the same call of a grpc.aio server."""
    many_in, many_out = KINDS[method]
    make: Any = getattr(channel, f"{'stream' if many_in else 'unary'}_{'stream' if many_out else 'unary'}")
    multi = make(f"/{SERVICE}/{method}", EchoRequest.SerializeToString, EchoReply.FromString)
    given = iter(requests) if many_in else requests[0]
    call = multi(given, metadata=metadata, timeout=None if timeout_ms is None else timeout_ms / 1000)
    outcome = Outcome()
    try:
        if many_out:
            async for reply in call:
                outcome.replies.append(reply)
        else:
            outcome.replies = [await call]
    except grpc.aio.AioRpcError:
        pass
    outcome.code = (await call.code()).value[0]
    outcome.message = await call.details() or ""
    outcome.initial = _own_of_grpc(await call.initial_metadata())
    trailing = await call.trailing_metadata()
    outcome.trailing = _own_of_grpc(trailing)
    for key, value in trailing:
        if key == "grpc-status-details-bin":
            outcome.details = details_of(value)
    return outcome


def _own_of_grpc(metadata: Any) -> Pairs:
    return sorted(((k, v) for k, v in metadata if k.startswith("x-")), key=lambda pair: str(pair[0]))
