"""grpcurl, a client in Go that knows nothing of the API but what reflection tells it.

It calls both addresses, plain and over TLS.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest
from grpc_reflection.v1alpha import reflection_pb2
from zitadel import admin_pb2, instance_pb2, system_pb2

from tests import tools
from tests.fronts import Front

pytestmark = tools.BUILDS_FIRST

MODULE = Path(__file__).parent / "go/grpcurl"
PACKAGE = "github.com/fullstorydev/grpcurl/cmd/grpcurl"

SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "zitadel.admin.v1.AdminService",
    "zitadel.system.v1.SystemService",
}
ADD = "zitadel.system.v1.SystemService/AddInstance"
GETS = ("zitadel.admin.v1.AdminService/GetMyInstance", "zitadel.system.v1.SystemService/GetMyInstance")

Command = Callable[..., list[str | Path]]
Grpcurl = Callable[..., str]


@pytest.fixture(scope="module")
def program() -> Path:
    return tools.go_program(MODULE, PACKAGE, MODULE.parent / "bin/grpcurl")


@pytest.fixture(params=["grpc", "http"])
def command(program: Path, front: Front, request: pytest.FixtureRequest) -> Command:
    """Write the command that runs grpcurl with these options on either address of the server."""
    trust = ("-cacert", front.ca) if front.ca else ("-plaintext",)
    address: str = getattr(front.server, request.param)
    return lambda words, options: [program, *trust, *options, address, *words]


@pytest.fixture
def grpcurl(command: Command) -> Grpcurl:
    """Run grpcurl with a symbol or method, after these options."""
    return lambda *words, options=(): tools.run(command(words, options))


def sending(front: Front, message: object, **headers: str) -> tuple[str, ...]:
    """Return the options that send a message with the server's token."""
    fields = {**front.server.bearer(), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return ("-d", json.dumps(message), *(word for name, value in fields.items() for word in ("-H", f"{name}: {value}")))


def refusal(command: Command, method: str, *options: str) -> Any:
    """Call and return the status that the server refused with."""
    refused = command([method], ["-format-error", *options])
    done = subprocess.run(refused, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode > 64, done.stdout
    return json.loads(done.stderr[done.stderr.index("{") :])


def test_reflection_lists_every_service(grpcurl: Grpcurl) -> None:
    assert set(grpcurl("list").split()) == SERVICES


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_each_version_of_reflection_lists_every_service(grpcurl: Grpcurl, version: str) -> None:
    method = f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    said = grpcurl(method, options=("-d", '{"list_services": "*"}'))
    reply = json_format.Parse(said, reflection_pb2.ServerReflectionResponse())
    assert {service.name for service in reply.list_services_response.service} == SERVICES


def test_reflection_lists_the_methods_of_a_service(grpcurl: Grpcurl) -> None:
    assert set(grpcurl("list", "zitadel.system.v1.SystemService").split()) == {
        f"zitadel.system.v1.SystemService.{method}" for method in ("AddInstance", "GetMyInstance", "Healthz")
    }


@pytest.mark.parametrize(
    "symbol",
    [
        "zitadel.system.v1.SystemService",
        "zitadel.system.v1.SystemService.AddInstance",
    ],
)
def test_reflection_describes_a_method_with_its_path_and_deprecation(grpcurl: Grpcurl, symbol: str) -> None:
    described = grpcurl("describe", symbol)
    assert "rpc AddInstance ( .zitadel.system.v1.AddInstanceRequest )" in described
    assert "returns ( .zitadel.system.v1.AddInstanceResponse )" in described
    assert "option deprecated = true;" in described
    assert 'post: "/system/v1/instances"' in described


def test_reflection_describes_a_message(grpcurl: Grpcurl) -> None:
    described = grpcurl("describe", ".zitadel.instance.v1.InstanceDetail")
    assert "repeated .zitadel.instance.v1.Domain domains = 6;" in described
    assert ".zitadel.instance.v1.State state = 3;" in described


@pytest.mark.parametrize("service", ["", "zitadel.system.v1.SystemService", "zitadel.admin.v1.AdminService"])
def test_health_is_serving(grpcurl: Grpcurl, service: str) -> None:
    reply = grpcurl("grpc.health.v1.Health/Check", options=("-d", json.dumps({"service": service})))
    assert json.loads(reply) == {"status": "SERVING"}


@pytest.mark.parametrize("method", GETS)
def test_grpcurl_adds_an_instance_and_reads_it_back(grpcurl: Grpcurl, front: Front, method: str) -> None:
    domain = f"{method.split('.')[1]}{time.time_ns()}.grpcurl.example"
    message = {"instanceName": "Acme", "customDomain": domain, "ownerEmail": {"email": "a@acme.example"}}
    said = grpcurl(ADD, options=sending(front, message))
    added = json_format.Parse(said, system_pb2.AddInstanceResponse())
    said = grpcurl(method, options=sending(front, {}, x_zitadel_instance_host=domain))
    instance = json_format.Parse(said, admin_pb2.GetMyInstanceResponse()).instance
    assert (instance.id, instance.details) == (added.instance_id, added.details)
    assert instance.name == "Acme"
    assert instance.state == instance_pb2.STATE_RUNNING
    first, second = instance.domains
    assert (first.domain, first.primary, first.generated) == (domain, True, False)
    assert (second.primary, second.generated) == (False, True)


def test_grpcurl_writes_the_names_that_json_has(grpcurl: Grpcurl, front: Front) -> None:
    message = {"instanceName": "Acme", "ownerEmail": {"email": "a@acme.example"}}
    added = json.loads(grpcurl(ADD, options=sending(front, message)))
    assert added.keys() == {"instanceId", "details"}
    assert added["details"].keys() == {"sequence", "creationDate", "changeDate", "resourceOwner"}


def test_a_token_for_a_domain_of_an_instance_names_that_instance(grpcurl: Grpcurl, front: Front) -> None:
    domain = f"audience{time.time_ns()}.grpcurl.example"
    message = {"instanceName": "By audience", "customDomain": domain, "ownerEmail": {"email": "a@acme.example"}}
    added = json.loads(grpcurl(ADD, options=sending(front, message)))
    scheme, _, address = front.url.partition("://")
    bearer = front.server.bearer(f"{scheme}://{domain}:{address.rpartition(':')[2]}")
    # Where the gateway answers it sees the host that is asked, and the audience has to be that host's.
    host = ("-authority", domain, *(("-insecure",) if front.ca else ()))
    reply = grpcurl(GETS[0], options=(*host, "-H", f"authorization: {bearer['authorization']}"))
    assert json.loads(reply)["instance"]["id"] == added["instanceId"]


def test_grpcurl_shows_the_details_of_an_error(command: Command, front: Front) -> None:
    status = refusal(command, ADD, *sending(front, {"ownerEmail": {"email": "nobody"}}))
    assert status["code"] == 3
    [detail] = status["details"]
    assert detail.pop("@type") == "type.googleapis.com/google.rpc.BadRequest"
    violations = json_format.ParseDict(detail, BadRequest()).field_violations
    assert sorted(violation.field for violation in violations) == ["instanceName", "ownerEmail.email"]


def test_without_a_token_grpcurl_is_unauthenticated(command: Command) -> None:
    status = refusal(command, ADD, "-d", "{}")
    assert status["code"] == 16
    assert status["message"]


def test_an_unknown_host_is_named_with_the_header_to_send(command: Command, front: Front) -> None:
    options = sending(front, {}, x_zitadel_instance_host="nobody.grpcurl.example")
    status = refusal(command, GETS[0], *options)
    assert status["code"] == 5
    assert "nobody.grpcurl.example" in status["message"]
    assert "x-zitadel-instance-host" in status["message"]
