"""What HTTP asks of the gateway in the real server: paths, methods, media types, limits, other origins, TLS."""

import base64
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from zitadel import admin_pb2, admin_pb2_grpc, system_pb2

from tests.servers import Server
from tests.wire.callers import ADD, ADMIN_GET, SYSTEM_GET, Rpc, frame, read_grpc_web

Starting = Callable[..., Server]

FRAMED = (
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
)
ACME = system_pb2.AddInstanceRequest(
    instance_name="Acme", owner_email=system_pb2.AddInstanceRequest.Email(email="a@acme.example")
)


@pytest.mark.parametrize("media_type", FRAMED)
@pytest.mark.parametrize("on_rpc_path", [True, False], ids=["rpc-path", "http-path"])
@pytest.mark.parametrize("rpc", [ADD, ADMIN_GET, SYSTEM_GET], ids=["add", "admin", "system"])
def test_each_media_type_of_grpc_web_is_served_on_each_path(
    server: Server, rpc: Rpc, media_type: str, on_rpc_path: bool
) -> None:
    domain = f"media{time.time_ns()}.example"
    server.add(customDomain=domain)
    body = frame((ACME if rpc is ADD else rpc.request()).SerializeToString())
    text = "text" in media_type
    got = requests.post(
        server.url + (rpc.path if on_rpc_path else rpc.http_path),
        base64.b64encode(body) if text else body,
        headers={"content-type": media_type, "x-zitadel-instance-host": domain, **server.bearer()},
        timeout=10,
    )
    assert got.headers["content-type"].startswith("application/grpc-web-text" if text else "application/grpc-web")
    reply = read_grpc_web(rpc, got, base64.b64decode(got.content) if text else got.content)
    assert reply.code is grpc.StatusCode.OK
    assert reply.response.instance_id if rpc is ADD else reply.response.instance.domains[0].domain == domain


def test_a_get_without_a_body_is_spoken_as_accept_says(server: Server) -> None:
    domain = f"accept{time.time_ns()}.example"
    server.add(customDomain=domain)
    headers = {"accept": "application/grpc-web+proto", "x-zitadel-instance-host": domain, **server.bearer()}
    got = requests.get(server.url + ADMIN_GET.http_path, headers=headers, timeout=10)
    reply = read_grpc_web(ADMIN_GET, got, got.content)
    assert reply.response.instance.domains[0].domain == domain
    for accept in ("*/*", "application/json", "text/html,application/xhtml+xml,*/*;q=0.8"):
        got = requests.get(server.url + ADMIN_GET.http_path, headers={**headers, "accept": accept}, timeout=10)
        assert got.headers["content-type"] == "application/json"
        assert got.json()["instance"]["state"] == "STATE_RUNNING"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/", 404, 5, None),
        ("POST", "/system/v1/instances/", 404, 5, None),
        ("GET", "/system/v1/instances", 405, 12, {"POST", "OPTIONS"}),
        ("DELETE", "/admin/v1/instances/me", 405, 12, {"GET", "HEAD", "OPTIONS"}),
        ("GET", ADD.path, 405, 12, {"POST", "OPTIONS"}),
        ("PUT", ADMIN_GET.path, 405, 12, {"POST", "OPTIONS"}),
    ],
)
def test_unknown_paths_and_methods_say_so(  # noqa: PLR0917 - a table's columns
    server: Server, method: str, path: str, status: int, code: int, allow: set[str] | None
) -> None:
    got = requests.request(method, server.url + path, headers=server.bearer(), timeout=10)
    assert got.status_code == status
    assert got.json()["code"] == code
    assert ({name.strip() for name in got.headers["allow"].split(",")} if "allow" in got.headers else None) == allow


@pytest.mark.parametrize("path", [ADD.path, ADD.http_path])
@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "nonsense"]
)
def test_another_media_type_is_refused(server: Server, path: str, media_type: str) -> None:
    headers = {"content-type": media_type, **server.bearer()}
    got = requests.post(server.url + path, b"x=1", headers=headers, timeout=10)
    assert (got.status_code, got.json()["code"]) == (415, 3)


def test_a_charset_beside_json_is_fine(server: Server) -> None:
    headers = {"content-type": "application/json; charset=utf-8", **server.bearer()}
    body = '{"instanceName":"Zürich ☃","ownerEmail":{"email":"a@acme.example"}}'.encode()
    assert requests.post(server.url + ADD.http_path, body, headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"instanceName":"A","ownerEmail":{"email":"a@b.example"},"typo":1}', "typo"),
        ('{"instanceName":5,"ownerEmail":{"email":"a@b.example"}}', "instanceName"),
        ('{"instanceName":"A","ownerEmail":{"isEmailVerified":"yes"}}', "ownerEmail.isEmailVerified"),
        ('{"instanceName":"A","ownerEmail":[]}', "ownerEmail"),
        ('{"instanceName":', None),
        ("[]", None),
        ("null", None),
        ("", None),
        ('{"instanceName":"\\ud800","ownerEmail":{"email":"a@b.example"}}', "instanceName"),
    ],
)
def test_json_that_does_not_fit_is_an_invalid_argument_naming_the_field(
    server: Server, body: str, field: str | None
) -> None:
    headers = {"content-type": "application/json", **server.bearer()}
    for path in (ADD.path, ADD.http_path):
        got = requests.post(server.url + path, body.encode(), headers=headers, timeout=10)
        status = got.json()
        assert (got.status_code, status["code"]) == (400, 3), got.text
        if field is not None:
            assert field in status["message"]


def test_unknown_fields_are_dropped_where_the_setting_says_so(starting: Starting) -> None:
    server = starting(env={"INSTANCED_JSON_UNKNOWNFIELDS": "ignore"})
    assert server.add(typo=1)


def test_both_spellings_of_a_field_are_read(server: Server) -> None:
    body = {"instance_name": "Acme", "owner_email": {"email": "a@acme.example", "is_email_verified": True}}
    got = requests.post(server.url + ADD.http_path, json=body, headers=server.bearer(), timeout=10)
    assert got.status_code == 200
    assert got.json()["details"]["sequence"] == "6"


def test_a_header_block_without_end_is_refused_while_it_is_received(server: Server) -> None:
    host, _, port = server.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        sent = connection.send(b"GET /admin/v1/healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        answered = b""
        try:
            while sent < 1 << 20:
                sent += connection.send(b"x" * 4096)
                connection.setblocking(False)
                try:
                    answered += connection.recv(65536)
                except BlockingIOError:
                    pass
                finally:
                    connection.settimeout(10)
                if answered:
                    break
                time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 1 << 20
    assert answered.startswith(b"HTTP/1.1 431 ")
    assert b'"code":8' in answered


def test_metadata_beyond_the_limit_is_refused_on_the_native_listener(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as raised:
        admin_pb2_grpc.AdminServiceStub(channel).Healthz(
            admin_pb2.HealthzRequest(), metadata=(("x-long", "x" * (1 << 20)),), timeout=10
        )
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_page_of_another_origin_may_call(server: Server) -> None:
    asked = {
        "origin": "https://console.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-grpc-web,x-zitadel-instance-host",
    }
    got = requests.options(server.url + ADD.path, headers=asked, timeout=10)
    assert got.status_code in {200, 204}
    assert got.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in got.headers
    allowed = {name.strip().lower() for name in got.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "content-type", "x-grpc-web", "x-zitadel-instance-host"} <= allowed
    refused = requests.post(
        server.url + ADD.path, b"", headers={"origin": "https://console.example", "content-type": FRAMED[1]}, timeout=10
    )
    assert refused.headers["access-control-allow-origin"] == "*"
    exposed = {name.strip().lower() for name in refused.headers["access-control-expose-headers"].split(",")}
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"} <= exposed


def test_only_the_origins_of_the_setting_may_call(starting: Starting) -> None:
    server = starting(env={"INSTANCED_HTTP_CORS_ORIGINS": "https://a.example,https://b.example"})
    for origin, allowed in (("https://b.example", True), ("https://c.example", False)):
        got = requests.get(f"{server.url}/admin/v1/healthz", headers={"origin": origin}, timeout=10)
        assert got.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "origin" in got.headers["vary"].lower()


def test_tls_is_spoken_on_both_listeners_and_makes_the_url_https(starting: Starting, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    server = starting(env={"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)})
    body = {"instanceName": "Acme", "customDomain": "tls.example", "ownerEmail": {"email": "a@acme.example"}}
    url = f"https://{server.http}{ADD.http_path}"
    got = requests.post(url, json=body, headers=server.bearer(), timeout=10, verify=str(certificate))
    assert got.status_code == 200
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    metadata = (*server.bearer().items(), ("x-zitadel-instance-host", "tls.example"))
    with grpc.secure_channel(server.grpc, credentials) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        reply = stub.GetMyInstance(admin_pb2.GetMyInstanceRequest(), metadata=metadata, timeout=10)
    assert reply.instance.id == got.json()["instanceId"]
    [line] = server.lines("serving")
    assert str(line["external_url"]).startswith("https://localhost:")
    host, _, port = server.http.rpartition(":")
    context = ssl.create_default_context(cafile=str(certificate))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        assert tls.version() == "TLSv1.2"


def test_a_key_that_is_not_the_certificates_is_refused(starting: Starting, tmp_path: Path) -> None:
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).write_text("nonsense")
    env = {"INSTANCED_TLS_CERTPATH": f"{tmp_path}/certificate.pem", "INSTANCED_TLS_KEYPATH": f"{tmp_path}/key.pem"}
    with pytest.raises(RuntimeError, match="instanced: TLS"):
        starting(env=env)


def test_a_listener_takes_only_so_many_calls_at_once(starting: Starting) -> None:
    server = starting(env={"INSTANCED_GRPC_MAXCONCURRENTCALLS": "1", "INSTANCED_HTTP_MAXCONCURRENTCALLS": "1"})
    with grpc.insecure_channel(server.grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)  # its published types lack the methods
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as raised:
            health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watch.cancel()
    assert requests.get(f"{server.url}/admin/v1/healthz", timeout=10).status_code == 200


@pytest.mark.parametrize("size", [1 << 20, 4_000_000])
def test_a_message_within_the_limit_arrives_whole(server: Server, size: int) -> None:
    # The name is too long, which only who has read all of it can say.
    body = {"instanceName": "x" * size, "ownerEmail": {"email": "owner@acme.example"}}
    got = requests.post(f"{server.url}/system/v1/instances", json=body, headers=server.bearer(), timeout=30)
    assert (got.status_code, got.json()["code"]) == (400, 3)


def test_a_url_beyond_the_limit_is_refused(server: Server) -> None:
    for path in (f"/{'x' * 17_000}", f"/admin/v1/healthz?{'x' * 17_000}"):
        got = requests.get(server.url + path, timeout=10)
        assert (got.status_code, got.json()["code"]) == (414, 8)
