"""gRPC's own clients on the one port, plain and over TLS: grpcio and grpc-js."""

import base64
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ResourceInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from zitadel import admin_pb2, admin_pb2_grpc, system_pb2, system_pb2_grpc

from tests import tools
from tests.fronts import Front

pytestmark = tools.BUILDS_FIRST

HERE = Path(__file__).parent

Outcomes = Mapping[str, Mapping[str, Any]]


def by_grpc_js(front: Front, domain: str) -> Outcomes:
    node = tools.find("node")
    for package in (HERE / "node", HERE.parents[1] / "examples/web"):
        tools.node_modules(package)
    trusted = (front.ca,) if front.ca else ()
    command = [node, HERE / "node/grpc.mjs", front.server.http, front.server.token(), domain, *trusted]
    outcomes: Outcomes = tools.run_json(command)
    return outcomes


def by_grpcio(front: Front, domain: str) -> Outcomes:
    def outcome(call: Any) -> dict[str, Any]:
        trailers = dict(call.trailing_metadata())
        details = trailers.pop("grpc-status-details-bin", None)
        return {
            "code": call.code().name,
            "message": call.details() or "",
            "details": details and base64.b64encode(details),
            "headers": dict(call.initial_metadata()),
            "trailers": trailers,
        }

    def unary(method: Any, request: Message, metadata: Mapping[str, str]) -> dict[str, Any]:
        call = method.future(request, metadata=tuple(metadata.items()), timeout=10)
        failed = call.exception()
        return {**outcome(call), "reply": None if failed else json_format.MessageToDict(call.result())}

    def watch(seconds: float) -> dict[str, Any]:
        began = time.monotonic()
        stub: Any = health_pb2_grpc.HealthStub(channel)
        stream = stub.Watch(health_pb2.HealthCheckRequest(), timeout=seconds)
        messages: list[bytes] = []
        with pytest.raises(grpc.RpcError):
            messages.extend(base64.b64encode(message.SerializeToString()) for message in stream)
        return {**outcome(stream), "messages": messages, "milliseconds": (time.monotonic() - began) * 1000}

    bearer = front.server.bearer()
    asked = {**bearer, "x-zitadel-instance-host": domain}
    email = system_pb2.AddInstanceRequest.Email
    request = system_pb2.AddInstanceRequest(
        instance_name="Acme", custom_domain=domain, owner_email=email(email="owner@acme.example")
    )
    broken = system_pb2.AddInstanceRequest(owner_email=email(email="nobody"))
    with front.channel() as channel:
        system: Any = system_pb2_grpc.SystemServiceStub(channel)
        admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        return {
            "added": unary(system.AddInstance, request, {**bearer, "x-request-id": f"{domain}.1"}),
            "read": unary(admin.GetMyInstance, admin_pb2.GetMyInstanceRequest(), asked),
            "bySystem": unary(system.GetMyInstance, system_pb2.GetMyInstanceRequest(), asked),
            "taken": unary(system.AddInstance, request, bearer),
            "broken": unary(system.AddInstance, broken, {**bearer, "x-request-id": f"{domain}.2"}),
            "refused": unary(
                admin.GetMyInstance,
                admin_pb2.GetMyInstanceRequest(),
                {**asked, "authorization": f"{bearer['authorization']}x"},
            ),
            "late": watch(0.3),
        }


CLIENTS: dict[str, Callable[[Front, str], Outcomes]] = {"grpcio": by_grpcio, "grpc-js": by_grpc_js}


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    name = request.param
    assert isinstance(name, str)
    return name


@pytest.fixture(scope="module")
def outcomes(client: str, front: Front) -> Outcomes:
    """What came of the calls, which each client makes once for all tests."""
    return CLIENTS[client](front, f"{client}.grpc.example")


def status(outcome: Mapping[str, Any]) -> status_pb2.Status:
    """Return the status among an error's trailers, which says what the call ended with."""
    found = status_pb2.Status.FromString(base64.b64decode(outcome["details"]))
    assert found.code == getattr(grpc.StatusCode, outcome["code"]).value[0]
    assert found.message == outcome["message"]
    return found


def test_an_instance_is_added_and_read_back(outcomes: Outcomes, client: str) -> None:
    added, read = outcomes["added"], outcomes["read"]
    assert (added["code"], read["code"]) == ("OK", "OK")
    instance_id, details = added["reply"]["instanceId"], added["reply"]["details"]
    assert instance_id.isdecimal()
    assert details.keys() == {"sequence", "creationDate", "changeDate", "resourceOwner"}
    assert details["resourceOwner"] == instance_id
    instance = read["reply"]["instance"]
    assert {name: value for name, value in instance.items() if name != "domains"} == {
        "id": instance_id,
        "details": details,
        "state": "STATE_RUNNING",
        "name": "Acme",
        "version": version("instanced"),
    }
    generated = instance["domains"][1]["domain"]
    assert generated.startswith("acme-")
    assert generated.endswith(".localhost")
    stated = [{name: value for name, value in domain.items() if name != "details"} for domain in instance["domains"]]
    assert stated == [
        {"domain": f"{client}.grpc.example", "primary": True},
        {"domain": generated, "generated": True},
    ]
    assert outcomes["bySystem"]["reply"] == read["reply"]


@pytest.mark.parametrize(("call", "number"), [("added", 1), ("broken", 2)])
def test_metadata_goes_there_and_comes_back(
    outcomes: Outcomes, client: str, front: Front, call: str, number: int
) -> None:
    request_id = f"{client}.grpc.example.{number}"
    # Among the headers where the gateway answers, among the trailers where grpc.aio does or the call fails.
    assert {**outcomes[call].get("headers", {}), **outcomes[call]["trailers"]}["x-request-id"] == request_id
    line = front.server.line_of(request_id)
    assert (line["method"], line["protocol"]) == ("/zitadel.system.v1.SystemService/AddInstance", "grpc")


def test_every_violation_is_among_the_details(outcomes: Outcomes) -> None:
    assert outcomes["broken"]["code"] == "INVALID_ARGUMENT"
    [packed] = status(outcomes["broken"]).details
    violations = BadRequest()
    assert packed.Unpack(violations)
    assert sorted(one.field for one in violations.field_violations) == ["instanceName", "ownerEmail.email"]
    assert all(one.description for one in violations.field_violations)


def test_the_domain_that_is_taken_is_among_the_details(outcomes: Outcomes, client: str) -> None:
    assert outcomes["taken"]["code"] == "ALREADY_EXISTS"
    [packed] = status(outcomes["taken"]).details
    resource = ResourceInfo()
    assert packed.Unpack(resource)
    assert resource.resource_name == f"{client}.grpc.example"


def test_a_wrong_token_is_unauthenticated(outcomes: Outcomes) -> None:
    refused = outcomes["refused"]
    assert refused["code"] == "UNAUTHENTICATED"
    assert refused["message"]


def test_a_stream_ends_at_its_deadline(outcomes: Outcomes) -> None:
    late = outcomes["late"]
    assert late["code"] == "DEADLINE_EXCEEDED"
    [first] = [health_pb2.HealthCheckResponse.FromString(base64.b64decode(message)) for message in late["messages"]]
    assert first.status == health_pb2.HealthCheckResponse.SERVING
    assert 250 < late["milliseconds"] < 5000
