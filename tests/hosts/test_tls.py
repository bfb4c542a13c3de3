"""TLS on both addresses: the version of HTTP that is agreed on, certificates that change, callers who must show one."""

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.hosts.certificates import Authority
from tests.servers import Server, wait_until

Starting = Callable[..., Server]
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def environment(certificate: Path, key: Path, **more: Path) -> dict[str, str]:
    paths = {"CERTPATH": certificate, "KEYPATH": key, **more}
    return {f"INSTANCED_TLS_{name}": str(path) for name, path in paths.items()}


def connect(address: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    host, _, port = address.rpartition(":")
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname=host)


def shown(address: str, ca: Path) -> str:
    """Return the name in the certificate that an address shows."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    with connect(address, context) as connection:
        certificate = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def check(address: str, ca: Path, client: tuple[Path, Path] | None = None) -> int:
    """Call over gRPC; return what health says."""
    chain, key = (client[0].read_bytes(), client[1].read_bytes()) if client else (None, None)
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca.read_bytes(), key, chain)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        status: int = health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
        return status


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (["h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], "h2"),
        (["http/1.1", "h2"], "h2"),
        ([], None),
    ],
)
def test_http2_is_agreed_on_wherever_it_is_offered(
    tls_server: tuple[Server, Authority], offered: list[str], agreed: str | None
) -> None:
    server, authority = tls_server
    context = ssl.create_default_context(cafile=str(authority.ca))
    if offered:
        context.set_alpn_protocols(offered)
    with connect(server.http, context) as connection:
        assert connection.selected_alpn_protocol() == agreed
        if agreed == "h2":
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            assert connection.recv(9)[3] == 4, "SETTINGS come first"
        else:
            connection.sendall(b"GET /admin/v1/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_grpc_and_json_are_served_over_tls_on_one_port(tls_server: tuple[Server, Authority]) -> None:
    server, authority = tls_server
    assert check(server.http, authority.ca) == SERVING
    assert check(server.grpc, authority.ca) == SERVING
    reply = requests.get(f"https://{server.http}/admin/v1/healthz", verify=str(authority.ca), timeout=10)
    assert reply.status_code == 200


def test_large_messages_cross_tls_whole(tls_server: tuple[Server, Authority]) -> None:
    server, authority = tls_server
    credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes())
    with grpc.secure_channel(server.http, credentials) as channel:
        call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        with pytest.raises(grpc.RpcError) as raised:
            call(health_pb2.HealthCheckRequest(service="x" * (3 << 20)).SerializeToString(), timeout=20)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert call(b"", timeout=10)
    # No transport has anything to warn of.
    assert '"warning"' not in server.log.read_text()
    assert "eof_received" not in server.log.read_text()


def test_a_renewed_certificate_is_shown_without_a_restart(
    starting: Starting, authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.issue("first"), authority.issue("second")
    files = tmp_path / "tls.pem", tmp_path / "tls.key"
    for source, target in zip(first, files, strict=True):
        target.write_bytes(source.read_bytes())
    server = starting(env=environment(*files))
    addresses = server.http, server.grpc
    assert [shown(address, authority.ca) for address in addresses] == ["first", "first"]
    with requests.Session() as session:
        session.verify, session.trust_env = str(authority.ca), False
        url = f"https://{server.http}/admin/v1/healthz"
        assert session.get(url, timeout=10).status_code == 200
        # Half of a renewal: the certificate and the key do not belong together, and the old pair stays.
        files[0].write_bytes(second[0].read_bytes())
        wait_until(lambda: server.lines("the changed certificate cannot be used, the old one stays"))
        assert [shown(address, authority.ca) for address in addresses] == ["first", "first"]
        files[1].write_bytes(second[1].read_bytes())
        wait_until(lambda: server.lines("certificate reloaded"))
        assert [shown(address, authority.ca) for address in addresses] == ["second", "second"]
        assert session.get(url, timeout=10).status_code == 200
    assert check(server.http, authority.ca) == check(server.grpc, authority.ca) == SERVING


def test_callers_must_show_a_certificate_where_there_are_authorities_for_it(
    starting: Starting, authority: Authority, tmp_path: Path
) -> None:
    mine, other = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    server = starting(env=environment(*authority.issue("server"), CLIENTCAPATH=mine.ca))
    client, stranger = mine.issue("client"), other.issue("stranger")
    url = f"https://{server.http}/admin/v1/healthz"
    certificate = (str(client[0]), str(client[1]))
    assert requests.get(url, verify=str(authority.ca), cert=certificate, timeout=10).status_code == 200
    for address in (server.http, server.grpc):
        assert check(address, authority.ca, client) == SERVING
        for refused in (None, stranger):
            with pytest.raises(grpc.RpcError) as raised:
                check(address, authority.ca, refused)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    for unknown in (None, (str(stranger[0]), str(stranger[1]))):
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(url, verify=str(authority.ca), cert=unknown, timeout=10)


def test_a_plain_caller_of_a_tls_port_is_let_go(tls_server: tuple[Server, Authority]) -> None:
    host, _, port = tls_server[0].http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in connection.recv(1024)
