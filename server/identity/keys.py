"""Which keys may sign tokens, and the one algorithm that each kind of key signs with."""

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from server.identity.errors import ConfigurationError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_LEAST_RSA_BITS = 2048  # RFC 7518, section 3.3
_PRIVATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_ACCEPTED = f"use RSA of at least {_LEAST_RSA_BITS} bits, EC on P-256, or Ed25519"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the only `alg` (RFC 7518, RFC 8037) that a token may name for it.

    From a certificate come the seconds since 1970 between which it counts. Its issuer is not looked at: whoever writes
    the configuration trusts the certificate itself.
    """

    key: PublicKey
    algorithm: str
    valid_from: float | None = None
    valid_until: float | None = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the `alg` that tokens signed with it name."""

    key: PrivateKey
    algorithm: str

    @property
    def verifying_key(self) -> VerifyingKey:
        """What verifies the tokens that this key signs."""
        return VerifyingKey(self.key.public_key(), self.algorithm)


def read_verifying_key(pem: bytes, where: str) -> VerifyingKey:
    """Read a PEM public key or X.509 certificate (the first, where there is a chain).

    Raises:
        ConfigurationError: at `where`; a private key is refused too, as it has no business on a server that verifies.
    """
    if _PRIVATE.search(pem):
        raise ConfigurationError(
            where,
            "this is a private key; the server needs the public one alone: openssl pkey -in KEY -pubout. "
            "Consider the private key exposed if this file is shared",
        )
    valid_from = valid_until = None
    try:
        if _CERTIFICATE in pem:
            certificate = x509.load_pem_x509_certificate(pem)
            key: object = certificate.public_key()
            valid_from = certificate.not_valid_before_utc.timestamp()
            valid_until = certificate.not_valid_after_utc.timestamp()
        else:
            key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            where, "this is no PEM public key (BEGIN PUBLIC KEY) or X.509 certificate (BEGIN CERTIFICATE)"
        ) from error
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return VerifyingKey(key, _algorithm(key, where), valid_from, valid_until)
    raise ConfigurationError(where, f"a key of this kind signs no tokens here; {_ACCEPTED}")


def read_signing_key(pem: bytes, where: str) -> SigningKey:
    """Read a PEM private key without a passphrase.

    Raises:
        ConfigurationError: at `where`, if it cannot sign tokens.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ConfigurationError(where, "the key is encrypted; give one without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(where, "this is no PEM private key (BEGIN PRIVATE KEY)") from error
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return SigningKey(key, _algorithm(key.public_key(), where))
    raise ConfigurationError(where, f"a key of this kind signs no tokens here; {_ACCEPTED}")


def _algorithm(key: PublicKey, where: str) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise ConfigurationError(where, f"an RSA key of {key.key_size} bits is too short; {_ACCEPTED}")
        return "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise ConfigurationError(where, f"EC on {key.curve.name} is not supported; {_ACCEPTED}")
        return "ES256"
    return "EdDSA"
