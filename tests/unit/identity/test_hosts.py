"""The host that a call asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.identity.hosts import AskedHost, asked_host


@pytest.mark.parametrize(
    "written", ["a.localhost", "A.LocalHost", "a.localhost:8080", "a.localhost.", "A.localhost.:1"]
)
def test_port_case_and_a_trailing_dot_do_not_matter(written: str) -> None:
    assert asked_host(written) == AskedHost("a.localhost", may_be_domain=True)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", '""'),
        (" ", " "),
        (":8080", '""'),
        ("[::1]:8080", "[::1]:8080"),
        ("a b", "a b"),
        ("a.localhost,b.localhost", "a.localhost,b.localhost"),
        ("a\r\nb\x00", "a??b?"),
        ("bücher.example", "b?cher.example"),
        ("http://a.localhost", "http://a.localhost"),
    ],
)
def test_what_is_no_host_is_shown_and_never_looked_up(written: str, shown: str) -> None:
    host = asked_host(written)
    assert host.may_be_domain is False
    assert host.name == (shown if written != ":8080" else ":8080")


def test_long_value_is_cut() -> None:
    host = asked_host("a" * 10_000)
    assert host == AskedHost("a" * 253, may_be_domain=False)


@given(st.text() | st.from_regex(r"[ -~]{0,300}"))
def test_no_value_raises(value: str) -> None:
    host = asked_host(value)
    assert host.name.isascii()
    assert 0 < len(host.name) <= 259
