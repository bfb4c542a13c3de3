"""The one port as published clients may meet it: plain and over TLS."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.hosts.certificates import Authority
from tests.servers import Server, start


@dataclass(frozen=True)
class Front:
    """A server, and what a client has to know to trust it."""

    server: Server
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


def start_over_tls(folder: Path) -> Front:
    """Start a server whose certificate an authority of its own has signed."""
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    env = {"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)}
    return Front(start(folder / "data", env=env), authority.ca, certificate)
