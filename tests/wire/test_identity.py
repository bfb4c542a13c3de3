"""Who may call what, over every protocol: tokens that are refused, and callers whose roles reach only so far."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.rpc.error_details_pb2 import ErrorInfo
from zitadel import system_pb2

from tests.servers import Server, start
from tests.wire.callers import ADD, ADMIN_GET, CALLERS, SYSTEM_GET, Caller, Rpc

URL = "http://localhost:8080"
A, B = "a.example", "b.example"
USERS = ("boss", "admin", "other", "org")
KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in USERS}


def public_pem(name: str) -> bytes:
    return KEYS[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def configuration(instance_id: str) -> dict[str, object]:
    """Write system users as ZITADEL's own files do; `admin` is a member of one instance."""
    iam = {"MemberType": "IAM", "AggregateID": instance_id, "Roles": ["IAM_OWNER"]}
    org = {"MemberType": "Organization", "AggregateID": instance_id, "Roles": "ORG_OWNER"}
    return {
        "ExternalDomain": "localhost",
        "ExternalPort": 8080,
        "ExternalSecure": False,
        "SystemAPIUsers": [
            {"boss": {"KeyData": base64.b64encode(public_pem("boss")).decode()}},
            {"admin": {"KeyData": base64.b64encode(public_pem("admin")).decode(), "Memberships": [iam]}},
            {"org": {"keydata": base64.b64encode(public_pem("org")).decode(), "memberships": [org]}},
        ],
    }


@dataclass
class Tenants:
    """A server with two instances, whose ids `a` and `b` are."""

    server: Server
    a: str
    b: str


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    folder = tmp_path_factory.mktemp("tenants")
    running = start(folder / "data")
    ids = [running.add(customDomain=domain) for domain in (A, B)]
    assert running.stop() == 0
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(ids[0])))
    running = start(folder / "data", "--config", str(config))
    yield Tenants(running, *ids)
    assert running.stop() == 0


def token(
    user: str = "boss", *, audience: object = URL, key: str | None = None, algorithm: str = "RS256", **claims: object
) -> str:
    now = int(time.time())
    payload = {"iss": user, "sub": user, "aud": audience, "iat": now, "exp": now + 600, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, KEYS[key or user], algorithm=algorithm)


def hmac_with_the_public_key() -> str:
    """Sign by HS256 with the public key as the secret, which PyJWT itself refuses to do."""

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    now = int(time.time())
    claims = {"iss": "boss", "sub": "boss", "aud": URL, "iat": now, "exp": now + 600}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(public_pem("boss"), signed, hashlib.sha256).digest())).decode()


def unsigned() -> str:
    now = int(time.time())
    claims = {"iss": "boss", "sub": "boss", "aud": URL, "iat": now, "exp": now + 600}
    return jwt.encode(claims, None, algorithm="none")  # type: ignore[arg-type]  # as RFC 7518 has it


def now() -> int:
    """Return the time at which a token is made, which may be long after these tests were collected."""
    return int(time.time())


REFUSED: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "not a JWT": lambda: "abc",
    "expired": lambda: token(iat=now() - 1200, exp=now() - 600),
    "not yet valid": lambda: token(iat=now() + 600, exp=now() + 1200),
    "not before": lambda: token(nbf=now() + 600),
    "signed longer than an hour ago": lambda: token(iat=now() - 3660, exp=now() + 10 * 365 * 86400),
    "no iat": lambda: token(iat=None),
    "no exp": lambda: token(exp=None),
    "alg none": unsigned,
    "HS256 with the public key as secret": hmac_with_the_public_key,
    "another server's audience": lambda: token(audience="https://elsewhere.example"),
    "no audience": lambda: token(audience=None),
    "another issuer": lambda: token(iss="admin"),
    "another subject": lambda: token(sub="admin"),
    "an unknown user": lambda: token("nobody", key="boss"),
    "another user's key": lambda: token(key="admin"),
    "an unknown key": lambda: token(key="other"),
    "RS512": lambda: token(algorithm="RS512"),
    "oversize": lambda: token(filler="x" * 10_000),
}


@pytest.mark.parametrize("which", REFUSED)
@pytest.mark.parametrize("rpc", [ADD, SYSTEM_GET, ADMIN_GET], ids=["add", "system", "admin"])
def test_a_token_that_proves_nothing_is_refused_with_one_message(
    tenants: Tenants, caller: Caller, rpc: Rpc, which: str
) -> None:
    reply = caller(tenants.server, rpc, token=REFUSED[which](), host=A)
    assert reply.code is grpc.StatusCode.UNAUTHENTICATED
    assert reply.message == "the call needs a valid bearer token in the authorization metadata"
    assert reply.status is None or not reply.status.details


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
def test_the_scheme_is_read_in_any_case(tenants: Tenants, caller: Caller, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {token()}"}
    assert caller(tenants.server, SYSTEM_GET, host=A, headers=headers).code is grpc.StatusCode.OK


def test_the_audience_may_be_a_list_and_is_normalised(tenants: Tenants, caller: Caller) -> None:
    for audience in (["https://x.example", URL], "HTTP://LOCALHOST:8080/"):
        assert caller(tenants.server, SYSTEM_GET, host=A, token=token(audience=audience)).code is grpc.StatusCode.OK


def permission_of(reply: object) -> str:
    assert hasattr(reply, "detail")
    info = reply.detail(ErrorInfo)
    assert (info.reason, info.domain) == ("PERMISSION_MISSING", "instanced")
    return str(info.metadata["permission"])


@pytest.mark.parametrize("user", ["admin", "org"])
def test_a_token_without_the_permission_is_denied_and_the_permission_named(
    tenants: Tenants, caller: Caller, user: str
) -> None:
    message = system_pb2.AddInstanceRequest(instance_name="X")
    reply = caller(tenants.server, ADD, message, token=token(user))
    assert reply.code is grpc.StatusCode.PERMISSION_DENIED
    assert permission_of(reply) == "system.instance.write"
    reply = caller(tenants.server, SYSTEM_GET, token=token(user), host=A)
    assert permission_of(reply) == "system.instance.read"


def test_a_system_owner_has_no_permission_inside_of_instances(tenants: Tenants, caller: Caller) -> None:
    reply = caller(tenants.server, ADMIN_GET, token=token("boss"), host=A)
    assert permission_of(reply) == "iam.read"


def test_a_member_of_an_instance_gets_it(tenants: Tenants, caller: Caller) -> None:
    reply = caller(tenants.server, ADMIN_GET, token=token("admin"), host=A)
    assert reply.response.instance.id == tenants.a


def test_the_origin_of_a_domain_is_an_audience_for_its_instance_alone(tenants: Tenants, caller: Caller) -> None:
    of_a = token("boss", audience=f"http://{A}:8080")
    assert caller(tenants.server, SYSTEM_GET, token=of_a, host=A).response.instance.id == tenants.a
    assert caller(tenants.server, SYSTEM_GET, token=of_a, host=B).code is grpc.StatusCode.UNAUTHENTICATED
    message = system_pb2.AddInstanceRequest(instance_name="X")
    assert caller(tenants.server, ADD, message, token=of_a, host=A).code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("asked", [B, "unknown.example"])
def test_a_member_of_a_cannot_tell_by_header_whether_another_instance_exists(
    tenants: Tenants, caller: Caller, asked: str
) -> None:
    reply = caller(tenants.server, ADMIN_GET, token=token("admin"), host=asked)
    assert reply.code is grpc.StatusCode.PERMISSION_DENIED
    assert permission_of(reply) == "iam.read"
    assert asked not in reply.message


@pytest.mark.parametrize("asked", [B, "unknown.example"])
@pytest.mark.parametrize("caller", [caller for caller in CALLERS if not caller.is_native], ids=lambda one: one.name)
def test_nor_by_the_host_of_the_request(tenants: Tenants, caller: Caller, asked: str) -> None:
    reply = caller(tenants.server, ADMIN_GET, token=token("admin"), headers={"host": f"{asked}:8080"})
    assert permission_of(reply) == "iam.read"


@pytest.mark.parametrize("asked", [B, "unknown.example"])
@pytest.mark.parametrize("caller", [caller for caller in CALLERS if caller.is_native], ids=lambda one: one.name)
def test_nor_by_audience(tenants: Tenants, caller: Caller, asked: str) -> None:
    reply = caller(tenants.server, ADMIN_GET, token=token("admin", audience=f"http://{asked}:8080"))
    assert permission_of(reply) == "iam.read"


@pytest.mark.parametrize("caller", [caller for caller in CALLERS if not caller.is_native], ids=lambda one: one.name)
def test_over_http_the_host_of_the_request_names_the_instance(tenants: Tenants, caller: Caller) -> None:
    reply = caller(tenants.server, SYSTEM_GET, token=token(), headers={"host": f"{B}:8080"})
    assert reply.response.instance.id == tenants.b
    both = caller(tenants.server, SYSTEM_GET, token=token(), host=A, headers={"host": f"{B}:8080"})
    assert both.response.instance.id == tenants.a
    ignored = {"host": f"{B}:8080", "x-forwarded-host": A, "forwarded": f"host={A}"}
    assert caller(tenants.server, SYSTEM_GET, token=token(), headers=ignored).response.instance.id == tenants.b


@pytest.mark.parametrize("caller", [caller for caller in CALLERS if caller.is_native], ids=lambda one: one.name)
def test_on_the_native_listener_the_token_names_the_instance(tenants: Tenants, caller: Caller) -> None:
    by_audience = caller(tenants.server, SYSTEM_GET, token=token(audience=f"http://{B}:8080"))
    assert by_audience.response.instance.id == tenants.b
    only_one = caller(tenants.server, ADMIN_GET, token=token("admin"))
    assert only_one.response.instance.id == tenants.a
    none = caller(tenants.server, SYSTEM_GET, token=token())
    assert none.code is grpc.StatusCode.NOT_FOUND
    assert "x-zitadel-instance-host" in none.message


def test_the_log_says_why_and_never_has_the_token(tenants: Tenants, caller: Caller) -> None:
    sent = REFUSED["expired"]()
    caller(tenants.server, SYSTEM_GET, token=sent, host=A, headers={"x-request-id": f"why-{caller.name}"})
    line = tenants.server.line_of(f"why-{caller.name}")
    assert "exp passed" in str(line["reason"])
    log = Path(tenants.server.log).read_text()
    assert sent not in log
    assert sent.rpartition(".")[2] not in log
