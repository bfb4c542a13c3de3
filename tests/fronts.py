"""The one port as published clients may meet it: on either host, plain and over TLS."""

import base64
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests import tools
from tests.hosts.certificates import Authority
from tests.servers import Server, start


@dataclass(frozen=True)
class Front:
    """A server, and what a client has to know to trust it."""

    server: Server
    fast: bool = False
    ca: Path | None = None
    certificate: Path | None = None

    @property
    def url(self) -> str:
        """Return the URL of the one port."""
        return f"{'https' if self.ca else 'http'}://{self.server.http}"

    @property
    def http_of_browsers(self) -> str:
        """Return the version of HTTP that a browser gets, by the name that ALPN has for it."""
        return "h2" if self.fast and self.ca else "http/1.1"

    @property
    def key_hash(self) -> str | None:
        """Return the hash of the certificate's key (RFC 7469, section 2.4), by which Chromium is told to trust it."""
        if self.certificate is None:
            return None
        key = x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_key()
        info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(info).digest()).decode()

    def channel(self) -> grpc.Channel:
        """Open a channel of grpcio's to the one port."""
        if self.ca is None:
            return grpc.insecure_channel(self.server.http)
        return grpc.secure_channel(self.server.http, grpc.ssl_channel_credentials(self.ca.read_bytes()))


@contextmanager
def _started(folder: Path, *, fast: bool, tls: bool) -> Iterator[Front]:
    if fast and importlib.util.find_spec("pyvoy") is None:
        tools.unavailable("pyvoy is not installed; make pyvoy installs it")
    ca = certificate = None
    env = {}
    if tls:
        authority = Authority(folder)
        ca, (certificate, key) = authority.ca, authority.issue("server")
        env = {"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)}
    server = start(folder / "data", *(("--host", "pyvoy") if fast else ()), env=env)
    try:
        yield Front(server, fast, ca, certificate)
    finally:
        status = server.stop()
    assert status == 0


def front_of(*names: str) -> Callable[..., Any]:
    """Return a fixture that is each of the named set-ups in turn: `plain`, `tls`, `pyvoy`, `pyvoy-tls`.

    Without names the tests parametrize it themselves.
    """

    @pytest.fixture(scope="module", params=names or None, name="front")
    def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
        if request.param == "plain":
            yield Front(request.getfixturevalue("server"))
            return
        fast, tls = "pyvoy" in request.param, "tls" in request.param
        with _started(tmp_path_factory.mktemp(request.param), fast=fast, tls=tls) as running:
            yield running

    return front
