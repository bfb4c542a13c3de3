"""What holds whatever is sent to the real server."""

import json
import socket
import struct
from collections.abc import Mapping

import grpc
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zitadel import system_pb2

from tests.servers import Server
from tests.wire.callers import ADD, CALLERS, Caller, Reply

JSON, WEB = (next(caller for caller in CALLERS if caller.name == name) for name in ("json-http-path", "web-rpc-path"))
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

# Everything that both JSON and protobuf can carry, and often what is nearly right.
words = st.one_of(
    st.sampled_from(
        ["", " ", "a", "en", "de-CH", "x" * 200, "x" * 201, "Zürich", "\x00", "a\nb", "\uff11\uff12\uff17.0.0.1", "🙂"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
emails = st.one_of(words, st.sampled_from(["a@acme.example", "root@localhost", "a@b", "a@[127.0.0.1]", "@x.test"]))
passwords = st.one_of(words, st.sampled_from(["Secret-123", "short", "ALLUPPER-1"]))
domains = st.one_of(words, st.sampled_from(["-a.example", "localhost", "1.2.3.4", "0x7f.1", "a..b", "xn--", "a_b.c"]))
requests_ = st.builds(
    system_pb2.AddInstanceRequest,
    instance_name=words,
    first_org_name=words,
    custom_domain=domains,
    owner_user_name=words,
    owner_email=st.none()
    | st.builds(system_pb2.AddInstanceRequest.Email, email=emails, is_email_verified=st.booleans()),
    owner_profile=st.none()
    | st.builds(system_pb2.AddInstanceRequest.Profile, first_name=words, last_name=words, preferred_language=words),
    owner_password=st.none()
    | st.builds(system_pb2.AddInstanceRequest.Password, password=passwords, password_change_required=st.booleans()),
    default_language=words,
)


def outcome(caller: Caller, server: Server, message: system_pb2.AddInstanceRequest) -> object:
    """Return what the caller learns but for what differs from call to call: ids and times."""
    reply: Reply = caller(server, ADD, message, token=server.token())
    if reply.code is grpc.StatusCode.OK:
        return reply.code, reply.response.details.sequence
    if reply.code is grpc.StatusCode.ALREADY_EXISTS:
        # The other protocol was first, which shows that it took the domain.
        return grpc.StatusCode.OK, 8
    assert reply.code is grpc.StatusCode.INVALID_ARGUMENT
    violations = reply.detail(BadRequest).field_violations
    return reply.code, sorted((violation.field, violation.description) for violation in violations)


@settings(max_examples=100, **COMMON)  # type: ignore[arg-type]
@given(message=requests_)
def test_json_and_protobuf_requests_give_the_same_result(
    server: Server, message: system_pb2.AddInstanceRequest
) -> None:
    assert outcome(JSON, server, message) == outcome(WEB, server, message)


@settings(max_examples=60, **COMMON)  # type: ignore[arg-type]
@given(message=requests_)
def test_both_spellings_of_json_give_the_same_result(server: Server, message: system_pb2.AddInstanceRequest) -> None:
    message.custom_domain = ""
    camel, snake = (
        json_format.MessageToJson(message, preserving_proto_field_name=preserving).encode()
        for preserving in (False, True)
    )
    first, second = (JSON(server, ADD, body, token=server.token()) for body in (camel, snake))
    assert (first.code, first.message) == (second.code, second.message)


MEDIA_TYPES = (
    "application/json",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
    "application/grpc",
    "application/proto",
    "text/plain",
    "*/*",
    "",
)
paths = st.one_of(
    st.sampled_from(
        [ADD.path, ADD.http_path, "/admin/v1/instances/me", "/", "*", "//", "/%ff", "/system/v1/instances/%"]
    ),
    st.binary(max_size=40).map(lambda raw: "/" + raw.decode("latin-1")),
)
frames = st.builds(
    lambda flags, length, body: struct.pack(">BI", flags, length) + body,
    st.sampled_from([0, 1, 2, 128, 129, 255]),
    st.integers(0, 64) | st.sampled_from([2**32 - 1, 4 << 20, (4 << 20) + 1]),
    st.binary(max_size=64),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["instanceName", "ownerEmail", "email", "x", "@type"]), inner, max_size=3)
    ),
    max_leaves=8,
)
bodies = st.one_of(st.binary(max_size=64), frames, json_values.map(lambda value: json.dumps(value).encode()))
header_values = st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\r\n\x00").decode("latin-1"))
header_names = st.sampled_from(
    [
        *("x-zitadel-instance-host", "host", "grpc-timeout", "grpc-encoding", "accept", "x-request-id", "x-bin"),
        *("authorization", "te", "content-encoding", "origin", "access-control-request-method", "x-trace-bin"),
    ]
)


def exchange(server: Server, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Send a request as the bytes that it is, and return all that comes back."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"{method} {path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    host, _, port = server.http.rpartition(":")
    answered = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request.encode("latin-1") + body)
        try:
            while part := connection.recv(65536):
                answered += part
        except ConnectionResetError:
            pass
    return answered


@settings(max_examples=500, **COMMON)  # type: ignore[arg-type]
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "BREW"]),
    path=paths,
    media_type=st.sampled_from(MEDIA_TYPES) | header_values,
    headers=st.dictionaries(header_names, header_values, max_size=3),
    authorized=st.booleans(),
    body=bodies,
)
def test_arbitrary_bytes_are_never_the_servers_fault(
    server: Server,
    *,
    method: str,
    path: str,
    media_type: str,
    headers: dict[str, str],
    authorized: bool,
    body: bytes,
) -> None:
    sent = {"host": "localhost", **({"authorization": f"Bearer {server.token()}"} if authorized else {}), **headers}
    logged = server.log.stat().st_size
    answered = exchange(server, method, path, {"content-type": media_type, **sent}, body)
    head, _, content = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), answered
    status = int(head[9:12])
    assert status < 500 or status == 504, answered
    assert status != 504 or "grpc-timeout" in headers
    told = head.lower() + content
    # What the framing breaks, the protocol calls INTERNAL; nothing is UNKNOWN.
    assert b"grpc-status: 2\r" not in told
    if b"grpc-status: 13" in told:
        assert "grpc-web" in media_type or "grpc-web" in headers.get("accept", "")
    with server.log.open() as log:
        log.seek(logged)
        lines = log.read()
    assert "internal error" not in lines
    assert "Traceback" not in lines
