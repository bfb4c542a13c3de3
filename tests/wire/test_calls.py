"""Both calls and every row of the errors table, on each protocol and path that can carry it."""

import sqlite3
import time
import uuid
from collections.abc import Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ResourceInfo
from zitadel import instance_pb2, system_pb2

from tests.servers import Server
from tests.wire.callers import ADD, ADMIN_GET, SYSTEM_GET, Caller, Reply, Rpc

UNAUTHENTICATED = "the call needs a valid bearer token in the authorization metadata"
GETS = pytest.mark.parametrize("get", [ADMIN_GET, SYSTEM_GET], ids=["admin", "system"])


def acme(**fields: object) -> system_pb2.AddInstanceRequest:
    email = system_pb2.AddInstanceRequest.Email(email="owner@acme.example")
    return system_pb2.AddInstanceRequest(**{"instance_name": "Acme", "owner_email": email, **fields})  # type: ignore[arg-type]


def unique(suffix: str = "example") -> str:
    return f"{uuid.uuid4().hex[:12]}.{suffix}"


def stored(server: Server) -> int:
    connection = sqlite3.connect(server.data / "instanced.db")
    try:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        connection.close()


@pytest.fixture
def nothing_stored(server: Server) -> Iterator[None]:
    """Whatever the test does, nothing is stored."""
    before = stored(server)
    yield
    assert stored(server) == before


def check_http_status(caller: Caller, reply: Reply, expected: int) -> None:
    assert reply.http_status == (expected if caller.is_json else None)


@GETS
def test_an_added_instance_is_returned_with_the_same_details(server: Server, caller: Caller, get: Rpc) -> None:
    domain = unique()
    added = caller(server, ADD, acme(custom_domain=domain), token=server.token())
    assert added.code is grpc.StatusCode.OK
    got = caller(server, get, token=server.token(), host=domain)
    assert got.code is grpc.StatusCode.OK
    instance = got.response.instance
    assert (instance.id, instance.name) == (added.response.instance_id, "Acme")
    assert instance.state == instance_pb2.STATE_RUNNING
    assert instance.version == "0.1.0"
    assert instance.details == added.response.details
    assert instance.details.sequence == 8
    assert instance.details.resource_owner == instance.id
    primary, generated = instance.domains
    assert (primary.domain, primary.primary, primary.generated) == (domain, True, False)
    assert generated.domain.startswith("acme-")
    assert generated.domain.endswith(".localhost")
    assert (generated.primary, generated.generated) == (False, True)


def test_every_domain_of_an_instance_leads_to_it(server: Server, caller: Caller) -> None:
    domain = unique()
    added = caller(server, ADD, acme(custom_domain=domain.upper()), token=server.token())
    found = caller(server, ADMIN_GET, token=server.token(), host=domain)
    for named in (*(entry.domain for entry in found.response.instance.domains), f"{domain.upper()}.:8443"):
        reply = caller(server, ADMIN_GET, token=server.token(), host=named)
        assert reply.response.instance.id == added.response.instance_id


def test_the_request_id_goes_out_again(server: Server, caller: Caller) -> None:
    for message in (acme(), acme(instance_name="")):
        reply = caller(server, ADD, message, token=server.token(), headers={"x-request-id": "my-id.1"})
        assert reply.metadata["x-request-id"] == "my-id.1"


@pytest.mark.usefixtures("nothing_stored")
def test_all_violations_come_at_once_each_with_its_field(server: Server, caller: Caller) -> None:
    wrong = acme(
        instance_name=" ",
        custom_domain="-bad-.example",
        owner_email=system_pb2.AddInstanceRequest.Email(email="nobody"),
        owner_password=system_pb2.AddInstanceRequest.Password(password="short"),
        default_language="klingonese",
        owner_profile=system_pb2.AddInstanceRequest.Profile(first_name="a\x00b", last_name="x" * 201),
    )
    reply = caller(server, ADD, wrong, token=server.token())
    assert reply.code is grpc.StatusCode.INVALID_ARGUMENT
    check_http_status(caller, reply, 400)
    violations = reply.detail(BadRequest).field_violations
    assert {violation.field for violation in violations} == {
        "instanceName",
        "customDomain",
        "ownerEmail.email",
        "ownerPassword.password",
        "defaultLanguage",
        "ownerProfile.firstName",
        "ownerProfile.lastName",
    }
    assert all(violation.description for violation in violations)


@pytest.mark.usefixtures("nothing_stored")
def test_without_an_owner_the_missing_field_is_named(server: Server, caller: Caller) -> None:
    reply = caller(server, ADD, system_pb2.AddInstanceRequest(instance_name="Acme"), token=server.token())
    [violation] = reply.detail(BadRequest).field_violations
    assert violation.field == "ownerEmail"


@pytest.mark.usefixtures("nothing_stored")
def test_a_message_that_does_not_decode_is_an_invalid_argument(server: Server, caller: Caller) -> None:
    reply = caller(server, ADD, b"\xff\xff\xff", token=server.token())
    assert reply.code is grpc.StatusCode.INVALID_ARGUMENT
    check_http_status(caller, reply, 400)


@GETS
def test_no_token_is_unauthenticated(server: Server, caller: Caller, get: Rpc) -> None:
    for rpc in (ADD, get):
        reply = caller(server, rpc)
        assert (reply.code, reply.message) == (grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED)
        check_http_status(caller, reply, 401)


@pytest.mark.usefixtures("nothing_stored")
def test_who_is_not_authenticated_learns_nothing_of_their_message(server: Server, caller: Caller) -> None:
    for message in (acme(instance_name=""), b"\xff\xff\xff"):
        assert caller(server, ADD, message, token="x").code is grpc.StatusCode.UNAUTHENTICATED


@GETS
@pytest.mark.parametrize("host", ["unknown.example", "127.0.0.1", "", "spaß.example", "[::1]:80", "a" * 300])
def test_a_host_of_no_instance_is_not_found_and_named(server: Server, caller: Caller, get: Rpc, host: str) -> None:
    if caller.is_grpcio and not host.isascii():
        pytest.skip("a gRPC client refuses to send metadata that is not ASCII")
    sent = host if host.isascii() else host.encode().decode("latin-1")
    reply = caller(server, get, token=server.token(), host=sent)
    assert reply.code is grpc.StatusCode.NOT_FOUND
    assert "x-zitadel-instance-host" in reply.message
    if host == "unknown.example":
        assert "unknown.example" in reply.message
    check_http_status(caller, reply, 404)


def test_a_taken_domain_already_exists(server: Server, caller: Caller) -> None:
    taken = unique()
    server.add(customDomain=taken)
    before = stored(server)
    reply = caller(server, ADD, acme(custom_domain=taken), token=server.token())
    assert stored(server) == before
    assert reply.code is grpc.StatusCode.ALREADY_EXISTS
    check_http_status(caller, reply, 409)
    assert reply.detail(ResourceInfo).resource_name == taken


@pytest.mark.usefixtures("nothing_stored")
def test_a_message_beyond_the_limit_is_refused(server: Server, caller: Caller) -> None:
    reply = caller(server, ADD, acme(instance_name="x" * (5 << 20)), token=server.token())
    assert reply.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    check_http_status(caller, reply, 413)


def test_a_deadline_that_has_passed_is_exceeded(server: Server, caller: Caller) -> None:
    before = stored(server)
    # grpcio makes a millisecond of a microsecond, and in that an instance is stored and the call answered.
    timeout = -0.001 if caller.is_grpcio else 0.000_001
    reply = caller(server, ADD, acme(), token=server.token(), timeout=timeout)
    assert reply.code is grpc.StatusCode.DEADLINE_EXCEEDED
    check_http_status(caller, reply, 504)
    if caller.is_grpcio:
        time.sleep(0.3)
    assert stored(server) == before


def test_healthz_is_public_on_every_service(server: Server, caller: Caller) -> None:
    for get, path in ((SYSTEM_GET, "/system/v1/healthz"), (ADMIN_GET, "/admin/v1/healthz")):
        service = get.path.rpartition("/")[0]
        rpc = Rpc(f"{service}/Healthz", "GET", path, system_pb2.HealthzRequest, system_pb2.HealthzResponse)
        assert caller(server, rpc).code is grpc.StatusCode.OK


def test_an_unknown_method_is_unimplemented_and_an_unknown_path_is_not_found(server: Server, caller: Caller) -> None:
    unknown = Rpc(
        "/zitadel.system.v1.SystemService/Nothing", "POST", "/system/v1/nothing", *(ADD.request, ADD.response)
    )
    reply = caller(server, unknown, token=server.token())
    if caller.is_json:
        assert (reply.code, reply.http_status) == (grpc.StatusCode.NOT_FOUND, 404)
    else:
        assert reply.code is grpc.StatusCode.UNIMPLEMENTED
