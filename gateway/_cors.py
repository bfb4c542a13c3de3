"""Cross-origin requests, as https://fetch.spec.whatwg.org/#http-cors-protocol has them, without credentials."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from gateway._types import Headers, Reply

ANY_ORIGIN: Final = "*"

_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# Named one by one beside the wildcard: it never covers authorization, and old browsers do not know it.
_REQUEST_HEADERS: Final = (
    b"authorization, connect-accept-encoding, connect-content-encoding, connect-protocol-version, "
    b"connect-timeout-ms, content-encoding, content-type, grpc-accept-encoding, grpc-encoding, grpc-timeout, "
    b"x-grpc-web, x-request-id, x-user-agent"
)
_EXPOSED: Final = (
    b"connect-accept-encoding, connect-content-encoding, content-encoding, "
    b"grpc-status, grpc-message, grpc-status-details-bin, grpc-encoding, grpc-accept-encoding, x-request-id, allow, "
    b"retry-after, www-authenticate, *"
)
_MAX_AGE_SECONDS: Final = b"7200"  # the longest that Chromium keeps
_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_LONGEST_NAMES: Final = 4096


class CORS:
    """Which origins may call, and the headers that tell browsers so; computed once."""

    def __init__(self, origins: Sequence[str] | str) -> None:
        listed = (origins,) if isinstance(origins, str) else tuple(origins)
        self._any = ANY_ORIGIN in listed
        expose = (b"access-control-expose-headers", _EXPOSED)
        self._vary: Headers = [] if self._any else [(b"vary", b"Origin")]
        self._to_any: Headers = [(b"access-control-allow-origin", b"*"), expose]
        self._to_listed: dict[bytes, Headers] = {
            origin: [(b"access-control-allow-origin", origin), expose, *self._vary]
            for origin in (each.rstrip("/").lower().encode("ascii") for each in listed)
        }
        vary = b"Access-Control-Request-Method, Access-Control-Request-Headers"
        self._preflight: Headers = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _MAX_AGE_SECONDS),
            (b"vary", vary if self._any else b"Origin, " + vary),
        ]

    def headers(self, origin: bytes | None) -> Headers:
        """Give the headers that every reply to this origin carries; none but Vary where there is no origin."""
        if self._any:
            return self._to_any if origin is not None else self._vary
        return self._to_listed.get(origin.lower(), self._vary) if origin is not None else self._vary

    def is_preflight(self, method: str, head: Mapping[bytes, bytes]) -> bool:
        """Say whether a browser asks what it may send."""
        return method == "OPTIONS" and b"origin" in head and b"access-control-request-method" in head

    def preflight(self, head: Mapping[bytes, bytes]) -> Reply:
        """Answer a preflight request: the headers it names are allowed, where they are names of headers."""
        headers = list(self._preflight)
        origin = head[b"origin"]
        allowed = b"*" if self._any else origin if origin.lower() in self._to_listed else None
        if allowed is not None:
            headers.append((b"access-control-allow-origin", allowed))
            asked = head.get(b"access-control-request-headers", b"").strip()
            valid = len(asked) <= _LONGEST_NAMES and _NAMES.fullmatch(asked) is not None
            headers.append((b"access-control-allow-headers", asked if valid else _REQUEST_HEADERS))
        return Reply(204, headers)
