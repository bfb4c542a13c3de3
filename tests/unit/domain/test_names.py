import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.names import domain_fault, generate_domain, normalize_host, slug


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("acme.example", "acme.example"),
        ("Acme.EXAMPLE", "acme.example"),
        ("acme.example.", "acme.example"),
        ("acme.example..", "acme.example."),
        ("acme.example:8080", "acme.example"),
        ("acme.example.:8080", "acme.example"),
        ("acme.example:", "acme.example"),
        ("acme.example:http", "acme.example:http"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:8080", "::1"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("::1", "::1"),
        ("[::1", "[::1"),
        ("", ""),
        (":8080", ""),
        ("\u212aelvin.example", "\u212aelvin.example"),  # the Kelvin sign lower-cases to an ASCII k
    ],
)
def test_a_host_is_looked_up_without_port_case_and_trailing_dot(host: str, name: str) -> None:
    assert normalize_host(host) == name


@pytest.mark.parametrize(
    "domain",
    [
        "acme.example",
        "a",
        "intranet",
        "xn--bcher-kva.example",
        "a--b.example",
        "1.example",
        "example.1a",
        "1.2.3.example",
        "0xg.1",
        "sub.localhost",
        "notlocalhost",
        f"{'a' * 63}.example",
        ".".join(["a" * 49] * 4) + "b",
    ],
)
def test_a_domain_that_follows_the_rules_is_accepted(domain: str) -> None:
    assert len(domain) <= 200
    assert domain_fault(domain, external_domain="localhost") is None


@pytest.mark.parametrize(
    ("domain", "says"),
    [
        ("bücher.example", "xn--"),
        ("acme_co.example", "letters, digits, dots and hyphens"),
        ("https://acme.example", "leave out scheme"),
        ("acme.example:8080", "port"),
        ("acme.example/path", "path"),
        ("acme example", "letters, digits"),
        ("*.acme.example", "letters, digits"),
        ("::1", "letters, digits"),
        (f"{'a' * 64}.example", "1 to 63"),
        ("-acme.example", "hyphen"),
        ("acme-.example", "hyphen"),
        ("acme..example", "1 to 63"),
        (".acme.example", "dot"),
        ("acme.example.", "dot"),
        (".", "dot"),
        (".".join(["a" * 49] * 4) + "bc", "at most 200"),
        ("127.0.0.1", "IP address"),
        ("127.1", "IP address"),
        ("2130706433", "IP address"),
        ("0x7f.0.0.1", "IP address"),
        ("0x7f000001", "IP address"),
        ("0x", "IP address"),
        ("017700000001", "IP address"),
        ("256.256.256.256", "IP address"),
        ("localhost", "this server itself"),
    ],
)
def test_a_domain_that_breaks_a_rule_is_refused_with_what_to_do(domain: str, says: str) -> None:
    assert says in (domain_fault(domain, external_domain="localhost") or "")


def test_the_external_domain_is_refused_however_it_is_written_in_the_settings() -> None:
    assert domain_fault("auth.example", external_domain="Auth.Example.") is not None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Acme", "acme"),
        ("Acme & Sons, Ltd.", "acme-sons-ltd"),
        ("--Acme--", "acme"),
        ("株式会社", "instance"),
        ("", "instance"),
        ("ﬁne ①", "fine-1"),
        ("Café", "cafe"),
        ("Zürich Ångström", "zurich-angstrom"),
        ("a" * 60, "a" * 56),
        ("a" * 55 + " b", "a" * 55),
    ],
)
def test_a_slug_reminds_of_the_name(name: str, expected: str) -> None:
    assert slug(name) == expected


@settings(deadline=None)
@given(st.text())
def test_a_slug_is_always_a_label_with_room_for_the_suffix(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,54}[a-z0-9])?", slug(name))


EXTERNAL_DOMAINS = st.one_of(
    st.sampled_from(["localhost", "Auth.Example.", "127.0.0.1"]),
    st.integers(1, 190).map(lambda length: ("a" * 49 + ".") * (length // 50) + "b" * (length % 50 or 1)),
)


@settings(deadline=None)
@given(st.text(max_size=200), EXTERNAL_DOMAINS)
def test_a_generated_domain_follows_the_rules_of_domains(name: str, external: str) -> None:
    domain = generate_domain(name, external_domain=external)
    assert domain_fault(domain, external_domain=external) is None
    label, _, below = domain.partition(".")
    assert below == normalize_host(external)
    assert re.fullmatch(r".+-[a-z0-9]{6}", label)


def test_generated_domains_differ_for_one_name() -> None:
    assert len({generate_domain("Acme", external_domain="localhost") for _ in range(100)}) == 100


def test_an_external_domain_without_room_for_generated_ones_is_an_error() -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        generate_domain("Acme", external_domain="a" * 193)
