"""Native gRPC on the HTTP address: whose permission a path asks for, who is said to call, what is refused."""

import socket
import time
from typing import Any, cast

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from zitadel import system_pb2

from tests.servers import Server
from tests.wire.callers import ADD, ADMIN_GET, CALLERS, SYSTEM_GET, Caller, Rpc

ONE_PORT = [caller for caller in CALLERS if caller.name.startswith("grpc-one-port")]
ACME = system_pb2.AddInstanceRequest(
    instance_name="Acme", owner_email=system_pb2.AddInstanceRequest.Email(email="a@acme.example")
)


@pytest.mark.parametrize("caller", ONE_PORT, ids=lambda caller: caller.name)
@pytest.mark.parametrize("rpc", [ADD, ADMIN_GET, SYSTEM_GET], ids=["add", "admin", "system"])
def test_grpc_is_served_on_each_path_of_the_http_address(server: Server, rpc: Rpc, caller: Caller) -> None:
    domain = f"oneport{time.time_ns()}.example"
    server.add(customDomain=domain)
    reply = caller(server, rpc, ACME if rpc is ADD else None, token=server.token(), host=domain)
    assert reply.code is grpc.StatusCode.OK, reply.message
    assert reply.response.instance_id if rpc is ADD else reply.response.instance.domains[0].domain == domain
    line = server.line_of(reply.metadata["x-request-id"])
    assert (line["method"], line["protocol"]) == (rpc.path, "grpc")


@pytest.mark.parametrize("one_port", [True, False], ids=["one-port", "grpc-port"])
def test_the_log_has_the_address_of_the_tcp_peer(server: Server, one_port: bool) -> None:
    host, _, port = (server.http if one_port else server.grpc).rpartition(":")
    seen: list[str] = []

    with socket.create_server(("127.0.0.1", 0)) as relay:
        channel = grpc.insecure_channel(f"127.0.0.1:{relay.getsockname()[1]}")
        health: Any = health_pb2_grpc.HealthStub(channel)
        call = health.Check.future(
            health_pb2.HealthCheckRequest(), metadata=(("x-request-id", f"peer{time.time_ns()}"),), timeout=10
        )
        accepted, _ = relay.accept()
        with accepted, socket.create_connection((host, int(port))) as onward:
            seen.append(f"ipv4:127.0.0.1:{onward.getsockname()[1]}")
            accepted.settimeout(0.02)
            onward.settimeout(0.02)
            while not call.done():
                for source, sink in ((accepted, onward), (onward, accepted)):
                    try:
                        sink.sendall(source.recv(65536))
                    except TimeoutError:
                        continue
        channel.close()
    assert call.result().status == health_pb2.HealthCheckResponse.SERVING
    request_id = dict((*call.initial_metadata(), *call.trailing_metadata()))["x-request-id"]
    assert [server.line_of(request_id)["peer"]] == seen


def test_the_peer_is_who_connected_whatever_a_header_says(server: Server) -> None:
    request_id = f"peer{time.time_ns()}"
    headers = {"x-forwarded-for": "203.0.113.7", "x-request-id": request_id}
    requests.get(f"{server.url}/system/v1/healthz", headers=headers, timeout=10)
    assert str(server.line_of(request_id)["peer"]).startswith("ipv4:127.0.0.1:")


def test_a_path_of_no_rule_is_unimplemented(server: Server) -> None:
    with grpc.insecure_channel(server.http) as channel:
        for path in ("/system/v1/nothing", "/system/v1/instances/", "/zitadel.system.v1.SystemService/Nothing", "/"):
            with pytest.raises(grpc.RpcError) as raised:
                cast("Any", channel.unary_unary(path))(b"", timeout=10)
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED, path


def test_reflection_lists_the_services_on_the_http_address(server: Server) -> None:
    with grpc.insecure_channel(server.http) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="*")])
        [reply] = stub.ServerReflectionInfo(asked, timeout=10)
    assert "zitadel.system.v1.SystemService" in {service.name for service in reply.list_services_response.service}


def test_both_versions_of_http_are_served_at_once(server: Server) -> None:
    with grpc.insecure_channel(server.http) as channel, requests.Session() as session:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(20):
            health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert session.get(f"{server.url}/admin/v1/healthz", timeout=10).status_code == 200


@pytest.mark.parametrize("start", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"PRI * HTTP/2.1", b"P\0", b"\x16\x03\x01\x02"])
def test_what_only_begins_like_a_preface_is_refused_as_http(server: Server, start: bytes) -> None:
    host, _, port = server.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        # A byte alone first, where that decides nothing yet.
        for sent in (start[:1], start[1:]) if start.startswith(b"P") else (start,):
            connection.sendall(sent)
            time.sleep(0.01)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
