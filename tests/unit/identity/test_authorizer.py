"""Who may call what on which instance: every combination of caller, asked host and audience.

Of the instances 1 has a.localhost and a.example, 2 has b.localhost, 3 has c.localhost; x.localhost is nobody's.
"""

import asyncio
from typing import Any

import pytest

from server.domain.errors import DomainError, InstanceNotFound, PermissionDenied, Unauthenticated
from server.identity.authorizer import Authorized, Authorizer
from server.identity.permissions import Membership, MemberType
from server.identity.requirements import PUBLIC, Requirement
from tests.unit.identity.signing import (
    EXTERNAL_URL,
    NOW,
    Clock,
    KnownInstances,
    claims,
    iam,
    instance,
    system,
    token,
    user,
)


@pytest.fixture(autouse=True, params=[False, True], ids=["looked-up", "remembered"])
def remembers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer the same by the short way, for an instance that is known without waiting, and by the long one."""
    monkeypatch.setattr(KnownInstances, "remembers", request.param)


READ = Requirement("iam.read", asked_instance=True)
ADD = Requirement("system.instance.write")

CALLERS: dict[str, tuple[Membership, ...]] = {
    "everywhere": (system("SYSTEM_OWNER", "IAM_OWNER"),),
    "everywhere, and a member of 1": (system("IAM_OWNER"), iam("1")),
    "member of 1": (iam("1"),),
    "member of 1 and 3": (iam("1"), iam("3")),
    "member of one that is gone": (iam("9"),),
    "System without the role": (system("SYSTEM_OWNER"),),
    "1 without the role": (iam("1", "SYSTEM_OWNER"),),
    "organization": (Membership(MemberType.ORGANIZATION, ("IAM_OWNER",), "1"),),
}
A, A2, B, C, X = (
    f"http://{host}:8080" for host in ("a.localhost", "a.example", "b.localhost", "c.localhost", "x.localhost")
)
AUDIENCES = {
    "E": EXTERNAL_URL,
    "A": A,
    "A2": [A2],
    "B": B,
    "X": X,
    "EA": [EXTERNAL_URL, A],
    "EB": [EXTERNAL_URL, B],
    "EX": [EXTERNAL_URL, X],
    "AB": [A, B],
    "AX": [A, X],
    "O": ["https://a.localhost:8080", "http://a.localhost", "a.localhost"],
}
HOSTS = {
    "-": None,
    "a": "a.localhost:8080",
    "a2": "A.Example.",
    "b": "b.localhost",
    "x": "x.localhost",
    "empty": "",
    "broken": "a.localhost,a.localhost",
}
# A number: that instance is served. U: UNAUTHENTICATED, P: PERMISSION_DENIED, N: NOT_FOUND.
TABLE = """
everywhere                    | E A A2 B X EA EB EX AB AX O
                            - | N 1 1  2 U 1  2  N  1  1  U
                            a | 1 1 1  U U 1  1  1  1  1  U
                           a2 | 1 1 1  U U 1  1  1  1  1  U
                            b | 2 U U  2 U 2  2  2  2  U  U
                            x | N U U  U U N  N  N  U  U  U
                        empty | N U U  U U N  N  N  U  U  U
                       broken | N U U  U U N  N  N  U  U  U
everywhere, and a member of 1 | E A A2 B X EA EB EX AB AX O
                            - | 1 1 1  2 U 1  2  1  1  1  U
                            a | 1 1 1  U U 1  1  1  1  1  U
                            b | 2 U U  2 U 2  2  2  2  U  U
                            x | N U U  U U N  N  N  U  U  U
member of 1                   | E A A2 B X EA EB EX AB AX O
                            - | 1 1 1  P P 1  P  P  1  1  U
                            a | 1 1 1  U U 1  1  1  1  1  U
                           a2 | 1 1 1  U U 1  1  1  1  1  U
                            b | P U U  P U P  P  P  P  U  U
                            x | P U U  U P P  P  P  U  P  U
                        empty | P U U  U U P  P  P  U  U  U
                       broken | P U U  U U P  P  P  U  U  U
member of 1 and 3             | E A A2 B X EA EB EX AB AX O
                            - | N 1 1  P P 1  P  P  1  1  U
                            a | 1 1 1  U U 1  1  1  1  1  U
                            b | P U U  P U P  P  P  P  U  U
                            x | P U U  U P P  P  P  U  P  U
member of one that is gone    | E A A2 B X EA EB EX AB AX O
                            - | N P P  P P P  P  P  P  P  U
                            a | P P U  U U P  P  P  P  P  U
                            b | P U U  P U P  P  P  P  U  U
                            x | P U U  U P P  P  P  U  P  U
System without the role       | E A A2 B X EA EB EX AB AX O
                            - | P P P  P P P  P  P  P  P  U
                            a | P P U  U U P  P  P  P  P  U
                            b | P U U  P U P  P  P  P  U  U
                            x | P U U  U P P  P  P  U  P  U
                        empty | P U U  U U P  P  P  U  U  U
1 without the role            | E A A2 B X EA EB EX AB AX O
                            - | P P P  P P P  P  P  P  P  U
                            a | P P U  U U P  P  P  P  P  U
                            b | P U U  P U P  P  P  P  U  U
organization                  | E A A2 B X EA EB EX AB AX O
                            - | P P P  P P P  P  P  P  P  U
                            a | P P U  U U P  P  P  P  P  U
                            b | P U U  P U P  P  P  P  U  U
                            x | P U U  U P P  P  P  U  P  U
"""
KINDS: dict[str, type[DomainError]] = {"U": Unauthenticated, "P": PermissionDenied, "N": InstanceNotFound}


def rows() -> list[tuple[str, str, str, str]]:
    found = []
    caller = ""
    columns: list[str] = []
    for line in TABLE.strip().splitlines():
        name, cells = (part.strip() for part in line.split("|"))
        if name in CALLERS:
            caller, columns = name, cells.split()
        else:
            found += [(caller, name, audience, cell) for audience, cell in zip(columns, cells.split(), strict=True)]
    return found


def known() -> KnownInstances:
    return KnownInstances(
        instance("1", "a.localhost", "a.example"), instance("2", "b.localhost"), instance("3", "c.localhost")
    )


def authorizer(instances: KnownInstances, *memberships: Membership) -> Authorizer:
    return Authorizer({"admin": user("admin", "ec", *memberships)}, EXTERNAL_URL, instances, clock=Clock())


def metadata(
    audience: Any, host: str | None = None, by: str = "x-zitadel-instance-host"
) -> list[tuple[str, str | bytes]]:
    sent: list[tuple[str, str | bytes]] = [("authorization", f"Bearer {token(claims(aud=audience), 'ec')}")]
    if host is not None:
        sent.append((by, host))
    return sent


async def outcome(of: Authorizer, requirement: Requirement, sent: list[tuple[str, str | bytes]]) -> str:
    try:
        authorized = await of.authorize(requirement, sent)
    except DomainError as error:
        return next(letter for letter, kind in KINDS.items() if type(error) is kind)
    assert authorized.user_id == "admin"
    return authorized.instance.id if authorized.instance else "ok"


@pytest.mark.parametrize(("caller", "host", "audience", "expected"), rows())
async def test_asked_instance(caller: str, host: str, audience: str, expected: str) -> None:
    instances = known()
    memberships = CALLERS[caller]
    for by in ("x-zitadel-instance-host", ":authority"):
        sent = metadata(AUDIENCES[audience], HOSTS[host], by)
        assert await outcome(authorizer(instances, *memberships), READ, sent) == expected
    if not any(each.member_type is MemberType.SYSTEM and "IAM_OWNER" in each.roles for each in memberships):
        assert set(instances.asked) <= {each.aggregate_id for each in memberships}, "looked up what is not the caller's"


@pytest.mark.parametrize("caller", [name for name in CALLERS if not name.startswith("everywhere")])
@pytest.mark.parametrize("by", ["x-zitadel-instance-host", ":authority", "aud"])
@pytest.mark.parametrize("external", [True, False])
async def test_limited_caller_cannot_tell_whether_a_host_exists(caller: str, by: str, external: bool) -> None:
    answers = []
    for host in ("b.localhost", "x.localhost"):
        origin = f"http://{host}:8080"
        sent = metadata([EXTERNAL_URL, origin] if external else origin, None if by == "aud" else host, by)
        instances = known()
        with pytest.raises(PermissionDenied) as caught:
            await authorizer(instances, *CALLERS[caller]).authorize(READ, sent)
        answers.append((str(caught.value), instances.asked))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("caller", "audience", "expected"),
    [
        ("everywhere", "E", "ok"),
        ("everywhere", "EB", "ok"),
        ("everywhere", "A", "U"),
        ("everywhere", "O", "U"),
        ("System without the role", "E", "ok"),
        ("member of 1", "E", "P"),
        ("member of 1", "A", "U"),
        ("1 without the role", "E", "P"),
        ("organization", "E", "P"),
        ("organization", "A", "U"),
    ],
)
@pytest.mark.parametrize("host", [None, "a.localhost", "x.localhost", ""])
async def test_rpc_about_no_instance_needs_the_external_url(
    caller: str, audience: str, expected: str, host: str | None
) -> None:
    instances = known()
    sent = metadata(AUDIENCES[audience], host)
    assert await outcome(authorizer(instances, *CALLERS[caller]), ADD, sent) == expected
    assert instances.asked == []


async def test_public_rpc_reads_no_token() -> None:
    public = authorizer(known())
    assert await public.authorize(PUBLIC, [("authorization", "nonsense")]) == Authorized(None, None)
    assert await public.authorize(PUBLIC, []) == Authorized(None, None)


@pytest.mark.parametrize("host", ["x.localhost", "", "b r o k e n", "[::1]:8080", "bücher.example", "x" * 5000, "\x00"])
async def test_instance_not_found_names_the_host_that_was_looked_up(host: str) -> None:
    with pytest.raises(InstanceNotFound) as caught:
        await authorizer(known(), system("IAM_OWNER")).authorize(READ, metadata(EXTERNAL_URL, host))
    assert caught.value.host
    assert "x-zitadel-instance-host" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


async def test_instance_not_found_says_where_no_host_was_named() -> None:
    with pytest.raises(InstanceNotFound) as caught:
        await authorizer(known(), system("IAM_OWNER")).authorize(READ, metadata(EXTERNAL_URL))
    assert caught.value.host is None


@pytest.mark.parametrize(
    "sent", [[], [("authorization", "")], [("authorization", "Basic YTpi")], [("authorization", "Bearer x")]]
)
@pytest.mark.parametrize("requirement", [READ, ADD])
async def test_without_a_token_nothing_is_looked_up(
    sent: list[tuple[str, str | bytes]], requirement: Requirement
) -> None:
    instances = known()
    with pytest.raises(Unauthenticated):
        await authorizer(instances, system("IAM_OWNER")).authorize(requirement, [*sent, (":authority", "a.localhost")])
    assert instances.asked == []


async def test_external_url_is_compared_in_normal_form() -> None:
    for external, audience in [
        ("https://Example.com:443/", "https://example.com"),
        ("http://example.com", "HTTP://EXAMPLE.com:80/"),
    ]:
        of = Authorizer({"admin": user("admin", "ec")}, external, known(), clock=Clock())
        assert await outcome(of, ADD, metadata(audience)) == "ok"


async def test_times_are_checked_again_for_a_remembered_token() -> None:
    clock = Clock()
    of = Authorizer({"admin": user("admin", "ec")}, EXTERNAL_URL, known(), clock=clock)
    sent: list[tuple[str, str | bytes]] = [
        ("authorization", f"Bearer {token(claims(exp=int(NOW) + 315_360_000), 'ec')}")
    ]
    assert await outcome(of, ADD, sent) == "ok"
    clock.now += 61 * 60
    assert await outcome(of, ADD, sent) == "U"


async def test_audience_and_permission_are_checked_again_for_a_remembered_token() -> None:
    of = authorizer(known(), system("IAM_OWNER"))
    sent = metadata(A)
    assert await outcome(of, READ, sent) == "1"
    assert await outcome(of, ADD, sent) == "U"
    assert await outcome(of, READ, [*sent, ("x-zitadel-instance-host", "b.localhost")]) == "U"
    assert await outcome(of, READ, sent) == "1"


async def test_calls_at_once_keep_apart() -> None:
    of = authorizer(known(), system("IAM_OWNER"))
    sent = [metadata(EXTERNAL_URL, f"{name}.localhost") for name in "abcx"] * 25
    assert await asyncio.gather(*(outcome(of, READ, each) for each in sent)) == ["1", "2", "3", "N"] * 25
