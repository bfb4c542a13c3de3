"""Keys, tokens and instances for the tests of identity."""

import base64
import datetime as dt
import functools
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from server.domain.model import Domain, Instance, ObjectDetails
from server.identity.keys import read_verifying_key
from server.identity.permissions import Membership, MemberType
from server.identity.users import SystemUser

NOW = 1_800_000_000.0
EXTERNAL_URL = "http://localhost:8080"
ALGORITHMS = {"rsa": "RS256", "other_rsa": "RS256", "ec": "ES256", "ed25519": "EdDSA"}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@functools.cache
def private_key(name: str) -> PrivateKey:
    """One key for each name, made once in a run."""
    match name:
        case "rsa" | "other_rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ec":
            return ec.generate_private_key(ec.SECP256R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    raise KeyError(name)


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def key_data(name: str) -> str:
    """The public key as the configuration's KeyData has it."""
    return base64.b64encode(public_pem(private_key(name))).decode()


def certificate_pem(
    key: Any, not_before: float = NOW - 86_400, not_after: float = NOW + 86_400, *, algorithm: Any = None
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime.fromtimestamp(not_before, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(not_after, dt.UTC))
        .sign(key, algorithm)
    )
    return certificate.public_bytes(Encoding.PEM)


def rsa_certificate_pem(not_before: float = NOW - 86_400, not_after: float = NOW + 86_400) -> bytes:
    return certificate_pem(private_key("rsa"), not_before, not_after, algorithm=hashes.SHA256())


def user(user_id: str = "admin", key: str = "rsa", *memberships: Membership) -> SystemUser:
    verifying = read_verifying_key(public_pem(private_key(key)), "test")
    return SystemUser(user_id, verifying, memberships) if memberships else SystemUser(user_id, verifying)


def system(*roles: str) -> Membership:
    return Membership(MemberType.SYSTEM, roles)


def iam(instance_id: str, *roles: str) -> Membership:
    return Membership(MemberType.IAM, roles or ("IAM_OWNER",), instance_id)


def claims(user_id: str = "admin", **changes: Any) -> dict[str, Any]:
    """Good claims, with those of `changes` in their place; None leaves one out."""
    good = {"iss": user_id, "sub": user_id, "aud": EXTERNAL_URL, "iat": int(NOW), "exp": int(NOW) + 3600}
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(payload: Mapping[str, Any] | None = None, key: str = "rsa", **headers: Any) -> str:
    return jwt.encode(
        dict(claims() if payload is None else payload),
        private_key(key),
        algorithm=ALGORITHMS[key],
        headers=headers or None,
    )


def segment(content: Any) -> str:
    """One part of a token, with whatever in it."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: Any, payload: Any, key: str = "rsa") -> str:
    """A token with this very header and payload, signed by the key's own algorithm."""
    content = f"{segment(header)}.{segment(payload)}"
    algorithm = jwt.get_algorithm_by_name(ALGORITHMS[key])
    return f"{content}.{segment(algorithm.sign(content.encode(), private_key(key)))}"


def instance(instance_id: str, *domains: str) -> Instance:
    details = ObjectDetails(1, 1, 1, instance_id)
    return Instance(
        instance_id,
        details,
        f"instance {instance_id}",
        tuple(Domain(details, domain, index == 0, index == 0) for index, domain in enumerate(domains)),
    )


class KnownInstances:
    """Finds the instances it was made with, and keeps what it was asked for; one that `remembers` without waiting."""

    remembers = False

    def __init__(self, *instances: Instance) -> None:
        self.instances = instances
        self.asked: list[str] = []

    def known_by_domain(self, host: str) -> Instance | None:
        found = self._by_domain(host) if self.remembers else None
        if found is not None:
            self.asked.append(host)
        return found

    async def by_domain(self, host: str) -> Instance | None:
        self.asked.append(host)
        return self._by_domain(host)

    def _by_domain(self, host: str) -> Instance | None:
        return next((i for i in self.instances for domain in i.domains if domain.domain == host), None)

    async def by_id(self, instance_id: str) -> Instance | None:
        self.asked.append(instance_id)
        return next((i for i in self.instances if i.id == instance_id), None)
