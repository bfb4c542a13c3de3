"""curl, told to the byte what to send: JSON, gRPC-Web and Connect on the one port, over each version of HTTP there.

Plain HTTP/2 is by prior knowledge.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest
from zitadel import admin_pb2, system_pb2

from tests import tools
from tests.fronts import Front
from tests.wire.callers import frame, frames

ADD, GET = "/zitadel.system.v1.SystemService/AddInstance", "/zitadel.admin.v1.AdminService/GetMyInstance"
# What curl is told, by what it then speaks: with "--http2" it offers both versions and leaves the choice.
VERSIONS = {"1.1": "--http1.1", "2": "--http2-prior-knowledge", "1.1 of both": "--http2", "2 of both": "--http2"}

WAYS = (
    ("plain", "1.1"),
    ("plain", "2"),
    ("plain", "1.1 of both"),
    ("tls", "1.1"),
    ("tls", "2"),
    ("tls", "2 of both"),
)
# The scope keeps the tests of one server together.
pytestmark = pytest.mark.parametrize(("front", "curl"), WAYS, indirect=True, scope="module")


@dataclass(frozen=True)
class Got:
    """What curl received."""

    status: int
    media_type: str
    version: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def framed(self) -> tuple[list[bytes], dict[str, str]]:
        """The messages and the trailers that a body of gRPC-Web has."""
        parts = list(frames(self.body))
        flags, trailers = parts.pop()
        assert flags == 0x80
        return [content for _, content in parts], dict(line.split(": ", 1) for line in trailers.decode().splitlines())


Curl = Callable[..., Got]


@pytest.fixture(scope="module")
def curl(request: pytest.FixtureRequest, front: Front, tmp_path_factory: pytest.TempPathFactory) -> Curl:
    """Send a body to a path of the server's, over one version of HTTP, and return what came."""
    program, folder = tools.find("curl"), tmp_path_factory.mktemp("curl")
    sent, received = folder / "sent", folder / "received"
    trust = ("--cacert", front.ca) if front.ca else ()

    def run(path: str, body: bytes | None = None, **headers: str) -> Got:
        fields = {**front.server.bearer(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        command = [program, "-sS", "-m", "20", VERSIONS[request.param], *trust, "-o", received, front.url + path]
        command += [word for name, value in fields.items() for word in ("-H", f"{name}: {value}")]
        if body is not None:
            sent.write_bytes(body)
            command += ["--data-binary", f"@{sent}"]
        written = tools.run([*command, "-w", "%{http_code} %{http_version} %{content_type}"])
        status, version, media_type = written.split(" ", 2)
        assert version == request.param.removesuffix(" of both")
        return Got(int(status), media_type, version, received.read_bytes())

    return run


@pytest.fixture
def domain(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return "".join(character if character.isalnum() else "-" for character in name).strip("-") + ".curl.example"


def wanted(domain: str) -> system_pb2.AddInstanceRequest:
    email = system_pb2.AddInstanceRequest.Email(email="a@acme.example")
    return system_pb2.AddInstanceRequest(instance_name="Acme", custom_domain=domain, owner_email=email)


def check(added: system_pb2.AddInstanceResponse, read: admin_pb2.GetMyInstanceResponse, domain: str) -> None:
    assert added.instance_id.isdecimal()
    assert (read.instance.id, read.instance.details, read.instance.name) == (added.instance_id, added.details, "Acme")
    assert (read.instance.domains[0].domain, read.instance.domains[0].primary) == (domain, True)


def violations(detail: bytes) -> list[str]:
    return sorted(one.field for one in BadRequest.FromString(detail).field_violations)


def test_json(curl: Curl, domain: str) -> None:
    body = json_format.MessageToJson(wanted(domain)).encode()
    added = curl("/system/v1/instances", body, content_type="application/json")
    read = curl("/admin/v1/instances/me", x_zitadel_instance_host=domain)
    taken = curl("/system/v1/instances", body, content_type="application/json")
    assert [(got.status, got.media_type) for got in (added, read, taken)] == [
        (200, "application/json"),
        (200, "application/json"),
        (409, "application/json"),
    ]
    check(
        json_format.Parse(added.body, system_pb2.AddInstanceResponse()),
        json_format.Parse(read.body, admin_pb2.GetMyInstanceResponse()),
        domain,
    )
    assert (taken.json["code"], taken.json["details"][0]["resourceName"]) == (6, domain)


def test_grpc_web(curl: Curl, domain: str) -> None:
    web: Mapping[str, str] = {"content_type": "application/grpc-web+proto", "x_grpc_web": "1"}
    added = curl(ADD, frame(wanted(domain).SerializeToString()), **web)
    read = curl(GET, frame(b""), x_zitadel_instance_host=domain, **web)
    replies = []
    for got in (added, read):
        assert (got.status, got.media_type) == (200, "application/grpc-web+proto")
        [message], trailers = got.framed
        assert trailers["grpc-status"] == "0"
        replies.append(message)
    check(
        system_pb2.AddInstanceResponse.FromString(replies[0]),
        admin_pb2.GetMyInstanceResponse.FromString(replies[1]),
        domain,
    )


@pytest.mark.parametrize("codec", ["json", "proto"])
def test_connect(curl: Curl, domain: str, codec: str) -> None:
    media_type, message = f"application/{codec}", wanted(domain)
    body = json_format.MessageToJson(message).encode() if codec == "json" else message.SerializeToString()
    added = curl(ADD, body, content_type=media_type, connect_protocol_version="1")
    # An empty message in base64 is an empty string; in JSON it is {}.
    query = f"?connect=v1&encoding={codec}&message={'%7B%7D' if codec == 'json' else '&base64=1'}"
    read = curl(GET + query, x_zitadel_instance_host=domain)
    assert [(got.status, got.media_type) for got in (added, read)] == [(200, media_type)] * 2
    replies = system_pb2.AddInstanceResponse(), admin_pb2.GetMyInstanceResponse()
    for got, reply in zip((added, read), replies, strict=True):
        if codec == "json":
            json_format.Parse(got.body, reply)
        else:
            reply.ParseFromString(got.body)
    check(*replies, domain)


def test_a_refusal_has_its_details_in_the_form_of_each_protocol(curl: Curl) -> None:
    expected = ["instanceName", "ownerEmail"]

    got = curl("/system/v1/instances", b"{}", content_type="application/json")
    assert (got.status, got.json["code"]) == (400, 3)
    assert sorted(one["field"] for one in got.json["details"][0]["fieldViolations"]) == expected

    got = curl(ADD, b"{}", content_type="application/json", connect_protocol_version="1")
    assert (got.status, got.json["code"]) == (400, "invalid_argument")
    [detail] = got.json["details"]
    assert detail["type"] == "google.rpc.BadRequest"
    assert violations(base64.b64decode(detail["value"] + "==")) == expected

    got = curl(ADD, frame(b""), content_type="application/grpc-web+proto", x_grpc_web="1")
    messages, trailers = got.framed
    assert (got.status, messages, trailers["grpc-status"]) == (200, [], "3")
    status = status_pb2.Status.FromString(base64.b64decode(trailers["grpc-status-details-bin"] + "=="))
    assert (status.code, violations(status.details[0].value)) == (3, expected)
