"""Verifying the tokens that system users sign themselves: JWTs (RFC 7519) of one hour at most."""

import base64
import binascii
import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt

from server.domain.errors import Unauthenticated
from server.identity.origins import Origins, normalize_url
from server.identity.users import SystemUser

LEEWAY = 30.0
LONGEST_LIFE = 3600.0
REMEMBERED = 10_000

_LARGEST_TOKEN = 8192
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# 9999-12-31, the last second that a date can name.
_LATEST = 253_402_300_799
_SHOWN = 80
_SIGNATURES = jwt.PyJWS(algorithms=["RS256", "ES256", "EdDSA"])


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says; times are seconds since 1970, leeway included, and are checked again on every call.

    `names_server` says that the audience contains the external URL, `hosts` which instances' origins it contains.
    """

    user: SystemUser
    names_server: bool
    hosts: tuple[str, ...]
    valid_from: float
    valid_until: float


class TokenVerifier:
    """Verifies tokens of `users`, and remembers up to `remembered` good ones by SHA-256 of the whole token.

    What is remembered is that the signature is good, and the claims, while the times allow; a failure never is.
    """

    def __init__(
        self,
        users: Mapping[str, SystemUser],
        origins: Origins,
        *,
        clock: Callable[[], float] = time.time,
        remembered: int = REMEMBERED,
    ) -> None:
        # ZITADEL lower-cases the ids in its files, so clients of such a file sign with the lower-cased id.
        self._users = {user.id.lower(): user for user in users.values()} | dict(users)
        self._origins = origins
        self._clock = clock
        self._capacity = remembered
        self._remembered: OrderedDict[bytes, Claims] = OrderedDict()

    def verify(self, token: str) -> Claims:
        """Return the claims of a token whose signature, user and times are good.

        Raises:
            Unauthenticated: they are not; the reason never holds the token.
        """
        if len(token) > _LARGEST_TOKEN:
            raise Unauthenticated(f"the token has {len(token)} bytes, more than {_LARGEST_TOKEN}")
        if not token.isascii():
            raise Unauthenticated("the token is no JWT")
        digest = hashlib.sha256(token.encode("ascii")).digest()
        claims = self._remembered.get(digest)
        known = claims is not None
        if claims is None:
            claims = self._read(token)
        now = self._clock()
        if not claims.valid_from <= now < claims.valid_until:
            self._remembered.pop(digest, None)
            _refuse_by_time(claims, now)
        if known:
            self._remembered.move_to_end(digest)
        else:
            if len(self._remembered) >= self._capacity:
                self._remembered.popitem(last=False)
            self._remembered[digest] = claims
        return claims

    def _read(self, token: str) -> Claims:
        if not _COMPACT.fullmatch(token):
            raise Unauthenticated("the token is no JWT")
        header, payload, _ = token.split(".")
        # The payload is read before its signature is verified only to learn whose key verifies it.
        claims = _json(payload, "claims")
        user = self._user(claims)
        _verify_signature(token, _json(header, "header"), user)
        issued_at = _time(claims, "iat")
        expires_at = _time(claims, "exp")
        not_before = _time(claims, "nbf") if "nbf" in claims else issued_at
        audiences = _audiences(claims)
        return Claims(
            user=user,
            names_server=self._origins.external_url in {normalize_url(audience) for audience in audiences},
            hosts=tuple(host for audience in audiences if (host := self._origins.host_named_by(audience)) is not None),
            valid_from=max(issued_at - LEEWAY, not_before - LEEWAY, user.key.valid_from or 0.0),
            valid_until=min(
                expires_at + LEEWAY,
                issued_at + LONGEST_LIFE + LEEWAY,
                _LATEST if user.key.valid_until is None else user.key.valid_until,
            ),
        )

    def _user(self, claims: Mapping[str, Any]) -> SystemUser:
        issuer, subject = claims.get("iss"), claims.get("sub")
        if not isinstance(issuer, str) or not isinstance(subject, str):
            raise Unauthenticated("the token has no iss and sub")
        if issuer != subject:
            raise Unauthenticated(f"iss {_shown(issuer)} and sub {_shown(subject)} differ")
        user = self._users.get(issuer)
        if user is None:
            raise Unauthenticated(f"no system user has the id {_shown(issuer)}")
        return user


def _verify_signature(token: str, header: Mapping[str, Any], user: SystemUser) -> None:
    """Verify by the algorithm of the user's key, whatever the token would like (RFC 8725, section 3.1)."""
    algorithm = header.get("alg")
    if algorithm != user.key.algorithm:
        raise Unauthenticated(f"alg {_shown(algorithm)} where the key of {user.id} is for {user.key.algorithm}")
    if "crit" in header:
        # RFC 7515, section 4.1.11: what is not understood must be refused, and nothing is understood here.
        raise Unauthenticated("the token's header has crit")
    try:
        _SIGNATURES.decode_complete(token, key=user.key.key, algorithms=[user.key.algorithm])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Unauthenticated(f"the signature is not by the key of {user.id}: {error}") from None


def _json(segment: str, name: str) -> dict[str, Any]:
    try:
        text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)).decode("utf-8")
        content = json.loads(text, parse_constant=_no_number)
    except (binascii.Error, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Unauthenticated(f"the token's {name} are no JSON object")
    return content


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _time(claims: Mapping[str, Any], name: str) -> float:
    """Read a NumericDate (RFC 7519, section 2)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise Unauthenticated(f"{name} is no time in seconds since 1970" if name in claims else f"there is no {name}")
    return float(value)


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        raise Unauthenticated("aud is neither a text nor a list of texts")
    return audiences


def _refuse_by_time(claims: Claims, now: float) -> NoReturn:
    early = claims.valid_from - now
    if early > 0:
        raise Unauthenticated(f"the token, or the certificate of {claims.user.id}, is not valid for {early:.0f} s yet")
    raise Unauthenticated(
        f"the token, or the certificate of {claims.user.id}, has not been valid for {now - claims.valid_until:.0f} s "
        "(exp passed, or iat more than an hour ago)"
    )


def _shown(value: object) -> str:
    return ascii(value)[:_SHOWN]
