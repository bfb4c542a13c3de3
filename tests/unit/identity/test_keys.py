"""Which keys may sign tokens."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from server.identity.errors import ConfigurationError
from server.identity.keys import read_signing_key, read_verifying_key
from tests.unit.identity.signing import NOW, private_key, private_pem, public_pem, rsa_certificate_pem

UNFIT: dict[str, tuple[Callable[[], Any], str]] = {
    "RSA of 1024 bits": (lambda: rsa.generate_private_key(65537, 1024), "1024 bits is too short"),
    "EC on P-384": (lambda: ec.generate_private_key(ec.SECP384R1()), "EC on secp384r1"),
    "EC on secp256k1": (lambda: ec.generate_private_key(ec.SECP256K1()), "EC on secp256k1"),
    "X25519": (x25519.X25519PrivateKey.generate, "of this kind"),
    "Ed448": (ed448.Ed448PrivateKey.generate, "of this kind"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_other_keys_are_refused_in_public_and_private(kind: str) -> None:
    make, says = UNFIT[kind]
    key = make()
    with pytest.raises(ConfigurationError, match=says):
        read_verifying_key(public_pem(key), "here")
    with pytest.raises(ConfigurationError, match=says):
        read_signing_key(private_pem(key), "here")


def test_rsa_public_key_in_pkcs1_is_read() -> None:
    pem = private_key("rsa").public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    assert read_verifying_key(pem, "here").algorithm == "RS256"


def test_certificate_brings_its_times() -> None:
    key = read_verifying_key(rsa_certificate_pem(NOW - 5, NOW + 5), "here")
    assert (key.valid_from, key.valid_until) == (NOW - 5, NOW + 5)


def test_first_certificate_of_a_chain_counts() -> None:
    chain = rsa_certificate_pem(NOW - 5, NOW + 5) + rsa_certificate_pem(NOW - 9, NOW + 9)
    assert read_verifying_key(chain, "here").valid_until == NOW + 5


@pytest.mark.parametrize(
    "pem", [b"", b"ssh-ed25519 AAAA", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"^here: this is no PEM public key"):
        read_verifying_key(pem, "here")
    with pytest.raises(ConfigurationError, match=r"^here: this is no PEM private key"):
        read_signing_key(pem, "here")


def test_key_file_with_certificate_and_private_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="private key"):
        read_verifying_key(rsa_certificate_pem() + private_pem(private_key("rsa")), "here")


def test_encrypted_private_key_is_refused() -> None:
    pem = private_key("ec").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(ConfigurationError, match="without a passphrase"):
        read_signing_key(pem, "here")


def test_verifying_key_of_a_signing_key_is_its_public_half() -> None:
    signing = read_signing_key(private_pem(private_key("ec")), "here")
    assert dataclasses.replace(signing.verifying_key) == read_verifying_key(public_pem(private_key("ec")), "here")
