"""Signing tokens, for the command line and for tests; a client in production signs its own."""

import time

import jwt

from server.identity.errors import ConfigurationError
from server.identity.keys import read_signing_key
from server.identity.tokens import LONGEST_LIFE


def mint(
    user_id: str,
    private_key_pem: bytes | str,
    audience: str,
    ttl_seconds: float,
    *,
    where: str = "--key",
    now: float | None = None,
) -> str:
    """Sign a token of `user_id` for `audience`, valid from now on for `ttl_seconds`.

    The algorithm follows from the key. `where` names the key's origin in errors; `now` is in seconds since 1970.

    Raises:
        ConfigurationError: the key cannot sign tokens, or no server would accept them for so long.
    """
    if not 0 < ttl_seconds <= LONGEST_LIFE:
        raise ConfigurationError(
            "--ttl",
            f"a token is accepted for an hour after it was signed, so {ttl_seconds:g} s cannot be; use 1h or less",
        )
    pem = private_key_pem.encode() if isinstance(private_key_pem, str) else private_key_pem
    key = read_signing_key(pem, where)
    issued_at = int(time.time() if now is None else now)
    claims = {
        "iss": user_id,
        "sub": user_id,
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + max(1, int(ttl_seconds)),
    }
    return jwt.encode(claims, key.key, algorithm=key.algorithm)
