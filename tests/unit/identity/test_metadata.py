"""What is read from a call's metadata."""

import pytest

from server.domain.errors import Unauthenticated
from server.identity.metadata import Presented, bearer_token, read_metadata


@pytest.mark.parametrize(
    ("metadata", "host"),
    [
        ([], None),
        ([(":authority", "a:8080")], "a:8080"),
        ([("x-zitadel-instance-host", "b"), (":authority", "a")], "b"),
        ([(":authority", "a"), ("x-zitadel-instance-host", "b")], "b"),
        ([("x-zitadel-instance-host", ""), (":authority", "a")], ""),
        ([("x-zitadel-instance-host", "a"), ("x-zitadel-instance-host", "b")], "a,b"),
        ([("x-forwarded-host", "a"), ("host", "b"), ("forwarded", "host=c")], None),
        ([("x-zitadel-instance-host", b"b\xff")], "b\xff"),
    ],
)
def test_host_is_the_header_else_the_authority(metadata: list[tuple[str, str | bytes]], host: str | None) -> None:
    assert read_metadata(metadata) == Presented(None, host)


@pytest.mark.parametrize("sent", ["Bearer abc", "bearer abc", "BEARER  abc "])
def test_scheme_is_read_in_any_case(sent: str) -> None:
    assert bearer_token(sent) == "abc"


@pytest.mark.parametrize("sent", [None, "", "abc", "Basic abc", "Bearer", "Bearerabc"])
def test_anything_else_is_no_token(sent: str | None) -> None:
    with pytest.raises(Unauthenticated):
        bearer_token(sent)


def test_two_tokens_are_none() -> None:
    presented = read_metadata([("authorization", "Bearer a.b.c"), ("authorization", "Bearer d.e.f")])
    assert bearer_token(presented.authorization) == "a.b.c,Bearer d.e.f"
