"""Tokens made by the server's own command line."""

import jwt
import pytest

from server.identity.errors import ConfigurationError
from server.identity.minting import mint
from server.identity.origins import Origins
from server.identity.tokens import TokenVerifier
from tests.unit.identity.signing import ALGORITHMS, EXTERNAL_URL, NOW, Clock, private_key, private_pem, user


@pytest.mark.parametrize("key", ["rsa", "ec", "ed25519"])
def test_minted_token_is_accepted(key: str) -> None:
    text = mint("admin", private_pem(private_key(key)), EXTERNAL_URL, 3600, now=NOW)
    clock = Clock()
    verifier = TokenVerifier({"admin": user("admin", key)}, Origins(EXTERNAL_URL), clock=clock)
    assert verifier.verify(text).names_server
    assert jwt.get_unverified_header(text)["alg"] == ALGORITHMS[key]
    clock.now = NOW + 3600
    verifier.verify(text)


def test_times_follow_from_now_and_ttl() -> None:
    text = mint("a", private_pem(private_key("ec")).decode(), "https://x", 90.7, now=NOW + 0.9)
    content = jwt.decode(text, options={"verify_signature": False})
    assert content == {"iss": "a", "sub": "a", "aud": "https://x", "iat": NOW, "exp": NOW + 90}


@pytest.mark.parametrize("ttl", [0, -1, 3601, 86_400, float("nan"), float("inf")])
def test_ttl_beyond_an_hour_is_refused(ttl: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^--ttl: .* 1h or less"):
        mint("a", private_pem(private_key("ec")), "https://x", ttl)


def test_key_that_is_none_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^my\.key: this is no PEM private key"):
        mint("a", b"x", "https://x", 60, where="my.key")
