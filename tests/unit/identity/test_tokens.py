"""What a bearer token must be, and what is remembered of a good one."""

import hashlib
import math
from typing import Any

import jwt
import pytest

from server.domain.errors import Unauthenticated
from server.identity.keys import read_verifying_key
from server.identity.origins import Origins
from server.identity.tokens import TokenVerifier
from server.identity.users import SystemUser
from tests.unit.identity.signing import (
    ALGORITHMS,
    EXTERNAL_URL,
    NOW,
    Clock,
    claims,
    private_key,
    public_pem,
    rsa_certificate_pem,
    segment,
    signed,
    token,
    user,
)

NO_TIMES: tuple[Any, ...] = (True, "1800000000", -1, math.inf, 1e300, 10**18, [])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def verifier(clock: Clock, *users: SystemUser, **options: Any) -> TokenVerifier:
    return TokenVerifier({each.id: each for each in users or (user(),)}, Origins(EXTERNAL_URL), clock=clock, **options)


@pytest.fixture
def admin(clock: Clock) -> TokenVerifier:
    return verifier(clock)


def refusal(of: TokenVerifier, text: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        of.verify(text)
    if len(text) > 20:
        assert text not in caught.value.reason
    assert len(caught.value.reason) < 300
    return caught.value.reason


@pytest.mark.parametrize("key", ["rsa", "ec", "ed25519"])
def test_good_token_of_each_kind_of_key(clock: Clock, key: str) -> None:
    good = verifier(clock, user("admin", key)).verify(token(key=key))
    assert (good.user.id, good.names_server, good.hosts) == ("admin", True, ())


def test_good_token_of_a_certificate(clock: Clock) -> None:
    admin = SystemUser("admin", read_verifying_key(rsa_certificate_pem(), "test"))
    assert verifier(clock, admin).verify(token()).user == admin


@pytest.mark.parametrize("key", ["ec", "ed25519", "other_rsa"])
def test_key_of_another_is_refused(admin: TokenVerifier, key: str) -> None:
    assert refusal(admin, token(key=key))


def test_token_of_another_user_is_refused(clock: Clock) -> None:
    both = verifier(clock, user("admin", "rsa"), user("other", "other_rsa"))
    assert both.verify(token(claims("other"), "other_rsa")).user.id == "other"
    assert "not by the key of admin" in refusal(both, token(claims("admin"), "other_rsa"))


def test_unsigned_token_is_refused(admin: TokenVerifier) -> None:
    for algorithm in ("none", "None", "NONE"):
        assert "alg" in refusal(admin, f"{segment({'alg': algorithm})}.{segment(claims())}.{segment(b'x')}")
    assert refusal(admin, f"{segment({'alg': 'none'})}.{segment(claims())}.")


def test_public_key_as_hmac_secret_is_refused(admin: TokenVerifier) -> None:
    # PyJWT itself declines to sign so, hence by hand.
    secret = public_pem(private_key("rsa"))
    content = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims())}"
    algorithm = jwt.algorithms.HMACAlgorithm(hashlib.sha256)
    forged = f"{content}.{segment(algorithm.sign(content.encode(), secret))}"
    assert refusal(admin, forged) == "alg 'HS256' where the key of admin is for RS256"


@pytest.mark.parametrize("key", ["rsa", "ec", "ed25519"])
@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES256K", "EdDSA", "HS256", "rs256", 7, None]
)
def test_only_the_algorithm_of_the_users_key_is_taken(clock: Clock, key: str, algorithm: Any) -> None:
    if algorithm == ALGORITHMS[key]:
        return
    assert "alg" in refusal(verifier(clock, user("admin", key)), signed({"alg": algorithm}, claims(), key))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS256", "crit": ["exp"], "exp": 1},
        {"alg": "RS256", "crit": ["b64"], "b64": True},
        {"alg": "RS256", "crit": ["b64"], "b64": False},
        {"alg": "RS256", "b64": False},
        {"alg": "RS256", "crit": []},
        {"alg": "RS256", "kid": 7},
        {},
        [],
        b"{",
        b"\xff",
        b"[" * 5000,
    ],
)
def test_header_that_asks_for_more_or_is_none_is_refused(admin: TokenVerifier, header: Any) -> None:
    assert refusal(admin, signed(header, claims()))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": None},
        {"sub": None},
        {"iss": "other"},
        {"sub": "other"},
        {"iss": "other", "sub": "other"},
        {"iss": 7, "sub": 7},
        {"iss": ["admin"], "sub": ["admin"]},
        {"iss": "", "sub": ""},
        {"exp": None},
        {"iat": None},
        {"aud": None},
        {"aud": 7},
        {"aud": [7]},
        {"aud": {"a": "b"}},
        *({claim: value} for claim in ("exp", "iat", "nbf") for value in NO_TIMES),
    ],
    ids=str,
)
def test_claims_that_are_missing_or_of_another_kind_are_refused(admin: TokenVerifier, changes: dict[str, Any]) -> None:
    # json.dumps writes Infinity, which other libraries may take for a number.
    assert refusal(admin, signed({"alg": "RS256"}, claims(**changes)))


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b'"a"', b"{", b"\xff\xfe", b"[" * 5000, b'{"iat":NaN}', b"9" * 5000]
)
def test_payload_that_is_no_json_object_is_refused(admin: TokenVerifier, payload: bytes) -> None:
    assert refusal(admin, signed({"alg": "RS256"}, payload))


@pytest.mark.parametrize(
    "text", ["", "x", "a.b", "a.b.c.d", "..", "a.b.c", "ä.b.c", "a b.c.d", "\ud800", "é" * 100, "a.b.c\n"]
)
def test_text_that_is_no_token_is_refused(admin: TokenVerifier, text: str) -> None:
    assert refusal(admin, text)


def test_changed_token_is_refused(admin: TokenVerifier) -> None:
    header, payload, signature = token().split(".")
    other = segment(claims(aud="http://elsewhere"))
    assert refusal(admin, f"{header}.{other}.{signature}")
    assert refusal(admin, f"{header}.{payload}.{segment(b'x' * 256)}")
    assert refusal(admin, f"{header}.{payload}=.{signature}")
    assert refusal(admin, f"{header}.{payload}.{signature}\n")


def test_oversize_token_is_refused_unread(admin: TokenVerifier) -> None:
    padded = token(claims(padding="x" * 8192))
    assert refusal(admin, padded) == f"the token has {len(padded)} bytes, more than 8192"
    admin.verify(token(claims(padding="x" * 4000)))


@pytest.mark.parametrize(
    ("changes", "at", "good"),
    [
        ({}, 0, True),
        ({"iat": NOW + 29.5}, 0, True),
        ({"iat": NOW + 31}, 0, False),
        ({"exp": NOW}, 29, True),
        ({"exp": NOW}, 31, False),
        ({"nbf": NOW + 29}, 0, True),
        ({"nbf": NOW + 31}, 0, False),
        ({"nbf": NOW - 100}, 0, True),
        ({"iat": NOW - 3629, "exp": NOW + 60}, 0, True),
        ({"iat": NOW - 3631, "exp": NOW + 60}, 0, False),
        ({"iat": NOW - 60, "exp": NOW - 31}, 0, False),
        ({"iat": 0, "exp": 253_402_300_799}, 0, False),
    ],
)
def test_times_are_kept_with_thirty_seconds_of_leeway(
    admin: TokenVerifier, clock: Clock, changes: dict[str, Any], at: float, good: bool
) -> None:
    clock.now += at
    text = token(claims(**changes))
    if good:
        admin.verify(text)
    else:
        assert "valid" in refusal(admin, text)


def test_token_for_ten_years_ends_an_hour_after_it_was_signed(admin: TokenVerifier, clock: Clock) -> None:
    text = token(claims(exp=int(NOW) + 10 * 365 * 86_400))
    admin.verify(text)
    clock.now += 60 * 60
    admin.verify(text)
    clock.now += 60
    assert "more than an hour ago" in refusal(admin, text)


def test_remembered_token_is_checked_against_the_time_again(admin: TokenVerifier, clock: Clock) -> None:
    text = token(claims(exp=int(NOW) + 60))
    assert admin.verify(text) is admin.verify(text)
    clock.now += 91
    refusal(admin, text)
    clock.now -= 91
    admin.verify(text)
    clock.now -= 31
    assert "yet" in refusal(admin, text)


def test_certificate_counts_while_it_is_valid(clock: Clock) -> None:
    key = read_verifying_key(rsa_certificate_pem(NOW - 10, NOW + 10), "test")
    admin = verifier(clock, SystemUser("admin", key))
    text = token(claims(iat=NOW - 100))
    admin.verify(text)
    for moved in (-11, 11):
        clock.now = NOW + moved
        assert "certificate" in refusal(admin, text)


def test_a_good_signature_is_verified_once(admin: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    text = token()
    first = admin.verify(text)
    monkeypatch.setattr("server.identity.tokens._verify_signature", lambda *_: pytest.fail("verified again"))
    assert admin.verify(text) is first


def test_a_failure_is_never_remembered(clock: Clock) -> None:
    admin = verifier(clock, remembered=2)
    good = token()
    admin.verify(good)
    for index in range(5):
        refusal(admin, token(claims(jti=index), "other_rsa"))
        refusal(admin, token(claims(jti=index, exp=int(NOW) - 60)))
    assert len(admin._remembered) == 1


def test_no_more_are_remembered_than_may_be_and_the_idle_go_first(clock: Clock) -> None:
    admin = verifier(clock, user("admin", "ec"), remembered=3)
    tokens = [token(claims(jti=index), "ec") for index in range(4)]
    first = admin.verify(tokens[0])
    admin.verify(tokens[1])
    admin.verify(tokens[2])
    assert admin.verify(tokens[0]) is first
    admin.verify(tokens[3])
    assert len(admin._remembered) == 3
    assert admin.verify(tokens[0]) is first
    assert hashlib.sha256(tokens[1].encode()).digest() not in admin._remembered


def test_audience_is_read_as_urls() -> None:
    audience = [
        "HTTP://LocalHost:8080/",
        "http://A.localhost:8080",
        "http://b.localhost",
        "https://c.localhost:8080",
        "x",
    ]
    found = verifier(Clock()).verify(token(claims(aud=audience)))
    assert found.names_server
    assert found.hosts == ("a.localhost",)
    assert verifier(Clock()).verify(token(claims(aud=[]))).names_server is False


def test_id_with_capitals_is_known_in_lower_case_too() -> None:
    both = verifier(Clock(), user("PortalUser", "rsa"))
    assert both.verify(token(claims("PortalUser"))).user.id == "PortalUser"
    assert both.verify(token(claims("portaluser"))).user.id == "PortalUser"
    two = verifier(Clock(), user("Admin", "rsa"), user("admin", "other_rsa"))
    assert two.verify(token(claims("admin"), "other_rsa")).user.id == "admin"
    refusal(two, token(claims("admin"), "rsa"))
