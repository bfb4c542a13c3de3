"""One way to make a call, for every protocol and path that carries it: a test says once what it expects.

What comes back is decoded by hand here or by the clients' own libraries, never by code of the gateway.
"""

import asyncio
import base64
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import google.rpc.error_details_pb2  # noqa: F401 - JSON needs to know the details' types
import grpc
import requests
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2
from zitadel import admin_pb2, system_pb2

from tests.servers import Server

CODES = {code.value[0]: code for code in grpc.StatusCode}
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Rpc:
    """An RPC, and the rule that leads to it over plain HTTP."""

    path: str
    http_method: str
    http_path: str
    request: type[Message]
    response: type[Message]


ADD = Rpc(
    "/zitadel.system.v1.SystemService/AddInstance",
    "POST",
    "/system/v1/instances",
    system_pb2.AddInstanceRequest,
    system_pb2.AddInstanceResponse,
)
SYSTEM_GET = Rpc(
    "/zitadel.system.v1.SystemService/GetMyInstance",
    "GET",
    "/system/v1/instances/me",
    system_pb2.GetMyInstanceRequest,
    system_pb2.GetMyInstanceResponse,
)
ADMIN_GET = Rpc(
    "/zitadel.admin.v1.AdminService/GetMyInstance",
    "GET",
    "/admin/v1/instances/me",
    admin_pb2.GetMyInstanceRequest,
    admin_pb2.GetMyInstanceResponse,
)


@dataclass
class Reply:
    """What a caller learns, in whatever way the protocol says it; `http_status` where HTTP carries the status."""

    code: grpc.StatusCode
    message: str = ""
    response: Any = None
    status: status_pb2.Status | None = None
    http_status: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def detail(self, kind: type[M]) -> M:
        """Return the one detail of the error, which is of that kind."""
        assert self.status is not None, f"{self.code} carries no details"
        assert (self.status.code, self.status.message) == (self.code.value[0], self.message)
        [packed] = self.status.details
        found = kind()
        assert packed.Unpack(found), packed.type_url
        return found


Headers = dict[str, str]
Run = Callable[[Server, Rpc, Message | bytes, Headers, float | None], Reply]


@dataclass(frozen=True)
class Caller:
    """A protocol, on the path of the RPC or on that of its HTTP rule."""

    name: str
    run: Run

    def __call__(
        self,
        server: Server,
        rpc: Rpc,
        message: Message | bytes | None = None,
        *,
        token: str | None = None,
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Make the call. A message in bytes is sent as it is, in a frame where the protocol has frames."""
        sent = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if host is not None:
            sent["x-zitadel-instance-host"] = host
        return self.run(server, rpc, rpc.request() if message is None else message, sent, timeout)

    @property
    def is_json(self) -> bool:
        """Tell whether HTTP carries the status."""
        return self.name.startswith("json")

    @property
    def is_grpcio(self) -> bool:
        """Tell whether grpcio calls, which sends no metadata that is not ASCII."""
        return self.name.startswith("grpc-")

    @property
    def is_native(self) -> bool:
        """Tell whether grpc.aio answers, on the listener of its own."""
        return self.name in {"grpc-sync", "grpc-aio"}


def _serialize(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _native_reply(error: grpc.RpcError | grpc.aio.AioRpcError) -> Reply:
    # Pairs, in both libraries.
    metadata: dict[str, Any] = {
        **dict(error.initial_metadata() or ()),  # type: ignore[union-attr]  # of both errors that clients raise
        **dict(error.trailing_metadata() or ()),  # type: ignore[arg-type]
    }
    details = metadata.pop("grpc-status-details-bin", None)
    status = None if details is None else status_pb2.Status.FromString(details)
    return Reply(error.code(), error.details() or "", status=status, metadata=metadata)


def _grpc_sync(*, one_port: bool, on_rpc_path: bool = True) -> Run:
    def run(
        server: Server, rpc: Rpc, message: Message | bytes, headers: dict[str, str], timeout: float | None
    ) -> Reply:
        # The host of the request is a matter of the channel here.
        sent = {name: value for name, value in headers.items() if name != "host"}
        options = [("grpc.default_authority", headers["host"])] if "host" in headers else []
        with grpc.insecure_channel(server.http if one_port else server.grpc, options=options) as channel:
            path = rpc.path if on_rpc_path else rpc.http_path
            method = channel.unary_unary(path, _serialize, rpc.response.FromString)
            try:
                response, call = method.with_call(message, metadata=tuple(sent.items()), timeout=timeout or 30)
            except grpc.RpcError as error:
                return _native_reply(error)
            metadata = {**dict(call.initial_metadata()), **dict(call.trailing_metadata())}
            return Reply(grpc.StatusCode.OK, response=response, metadata=metadata)

    return run


def _grpc_aio(
    server: Server, rpc: Rpc, message: Message | bytes, headers: dict[str, str], timeout: float | None
) -> Reply:
    async def run() -> Reply:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            method = channel.unary_unary(rpc.path, _serialize, rpc.response.FromString)
            call = method(message, metadata=tuple(headers.items()), timeout=timeout or 30)
            try:
                response = await call
            except grpc.aio.AioRpcError as error:
                return _native_reply(error)
            return Reply(grpc.StatusCode.OK, response=response, metadata=dict(iter(await call.trailing_metadata())))

    return asyncio.run(run())


def frame(message: bytes, flags: int = 0) -> bytes:
    """Put a message into gRPC's frame: a byte of flags, four of length."""
    return struct.pack(">BI", flags, len(message)) + message


def frames(body: bytes) -> Iterable[tuple[int, bytes]]:
    """Take frames apart, to the last byte."""
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        assert len(body) >= 5 + length, "a frame is cut short"
        yield flags, body[5 : 5 + length]
        body = body[5 + length :]


def read_grpc_web(rpc: Rpc, got: requests.Response, body: bytes) -> Reply:
    """Read a reply of gRPC-Web, its trailers in the last frame or, where there is no message, among the headers."""
    assert got.status_code == 200, (got.status_code, got.text)
    response, trailers = None, {}
    parts = list(frames(body))
    for flags, content in parts:
        if flags == 0x80:
            lines = content.decode("ascii").split("\r\n")
            assert lines.pop() == ""
            trailers = dict(line.split(": ", 1) for line in lines)
            assert all(name == name.lower() for name in trailers)
        else:
            assert flags == 0
            response = rpc.response.FromString(content)
    if not parts:
        trailers = {name.lower(): value for name, value in got.headers.items()}
    status, details = None, trailers.get("grpc-status-details-bin")
    if details is not None:
        status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    return Reply(
        CODES[int(trailers["grpc-status"])],
        unquote(trailers.get("grpc-message", "")),
        response,
        status,
        metadata={name.lower(): value for name, value in got.headers.items()},
    )


def _grpc_web(*, text: bool, on_rpc_path: bool) -> Run:
    media_type = "application/grpc-web-text+proto" if text else "application/grpc-web+proto"

    def run(
        server: Server, rpc: Rpc, message: Message | bytes, headers: dict[str, str], timeout: float | None
    ) -> Reply:
        body = frame(_serialize(message))
        sent = {"content-type": media_type, "x-grpc-web": "1", **headers}
        if timeout is not None:
            sent["grpc-timeout"] = f"{int(timeout * 1_000_000)}u"
        path = rpc.path if on_rpc_path else rpc.http_path
        got = requests.post(server.url + path, base64.b64encode(body) if text else body, headers=sent, timeout=30)
        assert got.headers["content-type"] == media_type, got.headers
        return read_grpc_web(rpc, got, base64.b64decode(got.content) if text else got.content)

    return run


def read_json(rpc: Rpc, got: requests.Response) -> Reply:
    """Read a reply in JSON."""
    assert got.headers["content-type"] == "application/json", (got.status_code, got.headers)
    metadata = {name.lower(): value for name, value in got.headers.items()}
    if got.status_code == 200:
        response = json_format.Parse(got.content, rpc.response())
        return Reply(grpc.StatusCode.OK, response=response, http_status=200, metadata=metadata)
    status = json_format.Parse(got.content, status_pb2.Status())
    return Reply(CODES[status.code], status.message, None, status, got.status_code, metadata)


def _json(*, on_rpc_path: bool) -> Run:
    def run(
        server: Server, rpc: Rpc, message: Message | bytes, headers: dict[str, str], timeout: float | None
    ) -> Reply:
        body = message if isinstance(message, bytes) else json_format.MessageToJson(message).encode()
        sent = {"content-type": "application/json", **headers}
        if timeout is not None:
            sent["grpc-timeout"] = f"{int(timeout * 1_000_000)}u"
        method, path = ("POST", rpc.path) if on_rpc_path else (rpc.http_method, rpc.http_path)
        if method == "GET":
            del sent["content-type"]
            body = b""
        return read_json(rpc, requests.request(method, server.url + path, data=body, headers=sent, timeout=30))

    return run


CALLERS = (
    Caller("grpc-sync", _grpc_sync(one_port=False)),
    Caller("grpc-aio", _grpc_aio),
    Caller("grpc-one-port-rpc-path", _grpc_sync(one_port=True)),
    Caller("grpc-one-port-http-path", _grpc_sync(one_port=True, on_rpc_path=False)),
    Caller("web-rpc-path", _grpc_web(text=False, on_rpc_path=True)),
    Caller("web-http-path", _grpc_web(text=False, on_rpc_path=False)),
    Caller("web-text-rpc-path", _grpc_web(text=True, on_rpc_path=True)),
    Caller("web-text-http-path", _grpc_web(text=True, on_rpc_path=False)),
    Caller("json-rpc-path", _json(on_rpc_path=True)),
    Caller("json-http-path", _json(on_rpc_path=False)),
)
