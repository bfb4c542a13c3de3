"""The one port as published clients may meet it: on either host, plain and over TLS."""

import base64
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
        return "h2" if self.ca else "http/1.1"

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


RUNNING = pytest.StashKey[dict[str, Front]]()


def _start(folder: Path, *, fast: bool, tls: bool) -> Front:
    ca = certificate = None
    env = {}
    if tls:
        authority = Authority(folder)
        ca, (certificate, key) = authority.ca, authority.issue("server")
        env = {"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)}
    return Front(start(folder / "data", *(("--host", "pyvoy") if fast else ()), env=env), fast, ca, certificate)


def _stop(front: Front) -> None:
    assert front.server.stop() == 0


def front_of(*names: str) -> Callable[..., Any]:
    """Return a fixture that is each of the named set-ups in turn: `plain`, `tls`, `pyvoy`, `pyvoy-tls`.

    Without names the tests parametrize it themselves. Each set-up is one server, which all tests share as they share
    the fixture `server`, the first of them.
    """

    @pytest.fixture(scope="module", params=names or None, name="front")
    def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Front:
        name: str = request.param
        running = request.session.stash.setdefault(RUNNING, {})
        if name == "plain":
            return Front(request.getfixturevalue("server"))
        if "pyvoy" in name and importlib.util.find_spec("pyvoy") is None:
            tools.unavailable("pyvoy is not installed; make pyvoy installs it")
        if name not in running:
            running[name] = _start(tmp_path_factory.mktemp(name), fast="pyvoy" in name, tls="tls" in name)
            request.session.addfinalizer(partial(_stop, running[name]))
        return running[name]

    return front
