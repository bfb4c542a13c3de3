"""URLs as the audience of a token writes them, brought to one form so that they can be compared as text."""

import re

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)(?::([0-9]+))?(.*)", re.DOTALL)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def normalize_url(url: str) -> str:
    """Lower-case scheme and host, drop the scheme's default port and one trailing slash (RFC 3986, section 6.2).

    What is no URL with a host comes back as it is: it then equals no URL that is.
    """
    parts = _parts(url)
    if parts is None:
        return url
    scheme, host, port, rest = parts
    return f"{scheme}://{host}{f':{port}' if port else ''}{rest}"


class Origins:
    """The server's external URL, and the origins of instances: its scheme and port with another host."""

    def __init__(self, external_url: str) -> None:
        parts = _parts(external_url)
        if parts is None or parts[3]:
            raise ValueError(f"{external_url!r} is no origin such as https://example.com")
        self._scheme, self._host, self._port, _ = parts
        self.external_url = normalize_url(external_url)

    def host_named_by(self, audience: str) -> str | None:
        """Return the host, lower-cased, whose origin this is; None for the external URL and for any other text."""
        parts = _parts(audience)
        if parts is None:
            return None
        scheme, host, port, rest = parts
        if rest or (scheme, port) != (self._scheme, self._port) or host == self._host:
            return None
        return host


def _parts(url: str) -> tuple[str, str, str, str] | None:
    """Scheme, host, port (empty where it is the scheme's default), and the rest."""
    found = _URL.fullmatch(url)
    if found is None:
        return None
    scheme, host, port, rest = found.groups()
    scheme = scheme.lower()
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        port = ""
    return scheme, host.lower(), port, "" if rest == "/" else rest.removesuffix("/")
