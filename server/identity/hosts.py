"""The host by which a call asks for an instance."""

import functools
import re
from dataclasses import dataclass

from server.domain.names import normalize_host

# More than a domain may have, so that nothing cut to it can be one.
_SHOWN = 253
_DOMAIN = re.compile(r"[a-z0-9.-]+")
_UNPRINTABLE = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class AskedHost:
    """A host as it is compared and shown; `may_be_domain` is False where no instance can have it."""

    name: str
    may_be_domain: bool


def asked_host(value: str) -> AskedHost:
    """Read a host with or without a port; case, port and one trailing dot are ignored.

    Never raises: a value that is empty or malformed is a host that no instance has, and is shown as it came, as far as
    it can be printed.
    """
    # What is longer than any host would only push hosts out of the memory.
    return _shown(value) if len(value) > _SHOWN + len(".:65535") else _asked_host(value)


@functools.lru_cache(maxsize=4096)
def _asked_host(value: str) -> AskedHost:
    name = normalize_host(value)
    return AskedHost(name, may_be_domain=True) if _DOMAIN.fullmatch(name) else _shown(value)


def _shown(value: str) -> AskedHost:
    return AskedHost(_UNPRINTABLE.sub("?", value[:_SHOWN]) or '""', may_be_domain=False)
