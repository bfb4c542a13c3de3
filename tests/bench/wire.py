"""GetMyInstance as each protocol speaks it: what is sent, and how a reply is checked before anything is measured."""

import http.client
import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import grpc
from zitadel import admin_pb2, instance_pb2

RPC_PATH = "/zitadel.admin.v1.AdminService/GetMyInstance"
RULE_PATH = "/admin/v1/instances/me"
INSTANCE_HOST = "x-zitadel-instance-host"

EMPTY_FRAME = struct.pack(">BI", 0, 0)
TRAILERS = 0x80


class Wrong(Exception):
    """A contender does not answer with what it is there to answer."""


Body = bytes
Decode = Callable[[Body], admin_pb2.GetMyInstanceResponse]


@dataclass(frozen=True, slots=True)
class Call:
    """A request to repeat. `decode` reads the body of its reply, where a probe is to look at it.

    gRPC's is read by a client of gRPC instead.
    """

    protocol: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    decode: Decode | None = None

    @property
    def http2(self) -> bool:
        """Tell whether the call needs HTTP/2."""
        return self.protocol == "grpc"

    def with_headers(self, headers: Mapping[str, str]) -> "Call":
        """Return the call with more headers."""
        return replace(self, headers={**self.headers, **headers})


def instance_of(name: str, domains: int) -> admin_pb2.GetMyInstanceResponse:
    """Return a reply as far as replies are looked at."""
    return admin_pb2.GetMyInstanceResponse(
        instance=instance_pb2.InstanceDetail(name=name, domains=[instance_pb2.Domain()] * domains)
    )


def _read_json(body: Body) -> admin_pb2.GetMyInstanceResponse:
    # Not by json_format, which is part of what some contenders do.
    try:
        instance = json.loads(body)["instance"]
        return instance_of(instance["name"], len(instance["domains"]))
    except (ValueError, KeyError) as error:
        raise Wrong(f"the reply is no instance: {body[:200]!r}") from error


def _read_proto(body: Body) -> admin_pb2.GetMyInstanceResponse:
    return admin_pb2.GetMyInstanceResponse.FromString(body)


def _read_grpc_web(body: Body) -> admin_pb2.GetMyInstanceResponse:
    flags, length = struct.unpack_from(">BI", body)
    message, rest = body[5 : 5 + length], body[5 + length :]
    if flags or len(rest) < len(EMPTY_FRAME) or rest[0] != TRAILERS:
        raise Wrong("the reply is not a message and its trailers")
    # sonora sends the repr of bytes for names and values; what is meant is still to be seen.
    if not re.search(rb"grpc-status'?: ?(b')?0\b", rest[5:]):
        raise Wrong(f"the trailers do not say OK: {rest[5:]!r}")
    return _read_proto(message)


GRPC = Call("grpc", RPC_PATH, {"content-type": "application/grpc", "te": "trailers"}, EMPTY_FRAME)
GRPC_WEB = Call(
    "grpc-web",
    RPC_PATH,
    {"content-type": "application/grpc-web+proto", "accept": "application/grpc-web+proto"},
    EMPTY_FRAME,
    _read_grpc_web,
)
JSON = Call("json", RULE_PATH, {"accept": "application/json"}, None, _read_json)
# JSON of a contender that knows no rules: at the RPC's path, as Connect has it.
JSON_RPC = Call(
    "json", RPC_PATH, {"content-type": "application/json", "connect-protocol-version": "1"}, b"{}", _read_json
)
# In JSON, as h2load sends no empty body, which an empty message in protobuf is.
CONNECT = replace(JSON_RPC, protocol="connect")
PROTO = Call("connect", RPC_PATH, {"content-type": "application/proto"}, b"", _read_proto)


def probe(address: str, call: Call, expected: admin_pb2.GetMyInstanceResponse, *, within: float = 5) -> int:
    """Make the call once by a real client and return the number of bytes of data in the reply.

    Raises:
        Wrong: the reply is not the expected one.
        OSError, grpc.RpcError, http.client.HTTPException: there is none.
    """
    if call.http2:
        got, length = _probe_grpc(address, call, within)
    else:
        assert call.decode is not None
        body = ask(address, call, within=within)
        got, length = call.decode(body), len(body)
    if got.instance.name != expected.instance.name:
        raise Wrong(f"the name is {got.instance.name!r}")
    if len(got.instance.domains) != len(expected.instance.domains):
        raise Wrong(f"there are {len(got.instance.domains)} domains")
    return length


def ask(address: str, call: Call, *, within: float = 5) -> bytes:
    """Make the call once over HTTP/1.1 and return the body of its reply.

    Raises:
        Wrong: the status is not 200.
        OSError, http.client.HTTPException: there is no reply.
    """
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=within)
    try:
        connection.request("GET" if call.body is None else "POST", call.path, call.body, dict(call.headers))
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    if reply.status != http.client.OK:
        raise Wrong(f"HTTP {reply.status}: {body[:200]!r}")
    return body


def _probe_grpc(address: str, call: Call, within: float) -> tuple[admin_pb2.GetMyInstanceResponse, int]:
    metadata = tuple((name, value) for name, value in call.headers.items() if name not in {"content-type", "te"})
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(call.path, bytes, bytes)
        reply = method(b"", metadata=metadata, timeout=within)
    return _read_proto(reply), len(EMPTY_FRAME) + len(reply)
