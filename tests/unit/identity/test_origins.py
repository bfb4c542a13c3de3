"""URLs as audiences write them."""

import pytest

from server.identity.origins import Origins, normalize_url


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        ("HTTP://LocalHost:8080/", "http://localhost:8080"),
        ("http://example.com:80", "http://example.com"),
        ("https://example.com:443/", "https://example.com"),
        ("https://example.com:80", "https://example.com:80"),
        ("http://example.com:443", "http://example.com:443"),
        ("https://example.com//", "https://example.com/"),
        ("https://example.com/Path/", "https://example.com/Path"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://user@example.com", "https://user@example.com"),
        ("Example.com", "Example.com"),
        ("https://", "https://"),
        ("", ""),
    ],
)
def test_urls_that_mean_the_same_become_the_same(written: str, normal: str) -> None:
    assert normalize_url(written) == normal


@pytest.mark.parametrize(
    ("external", "audience", "host"),
    [
        ("http://localhost:8080", "http://a.localhost:8080", "a.localhost"),
        ("http://localhost:8080", "HTTP://A.localhost:8080/", "a.localhost"),
        ("http://localhost:8080", "http://localhost:8080", None),
        ("http://localhost:8080", "http://a.localhost", None),
        ("http://localhost:8080", "https://a.localhost:8080", None),
        ("http://localhost:8080", "http://a.localhost:8080/x", None),
        ("http://localhost:8080", "a.localhost", None),
        ("https://example.com", "https://a.example.com", "a.example.com"),
        ("https://example.com:443", "https://a.example.com:443", "a.example.com"),
        ("https://example.com", "https://a.example.com:444", None),
        ("https://example.com", "https://evil@a.example.com", None),
    ],
)
def test_origin_names_a_host_only_at_the_servers_scheme_and_port(
    external: str, audience: str, host: str | None
) -> None:
    assert Origins(external).host_named_by(audience) == host


@pytest.mark.parametrize("url", ["", "localhost:8080", "http://localhost/path", "http://", "http://a b"])
def test_external_url_must_be_an_origin(url: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        Origins(url)
