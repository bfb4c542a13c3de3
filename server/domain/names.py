"""Host names: how a caller's host is read, what a custom domain must be, and how a generated one is made.

The rules follow RFC 1123 section 2.1 (letters, digits, hyphens, labels of 1 to 63), with the limit of 200 characters
that the API sets on a domain, and without the final dot of an absolute name.
"""

import random
import re
import unicodedata
from typing import Final

DOMAIN_LIMIT: Final = 200
SLUG_LIMIT: Final = 56
SUFFIX_LENGTH: Final = 6

_SUFFIX_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_OTHER_CHARACTER: Final = re.compile(r"[^a-z0-9.-]")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r":[0-9]*\Z")
_NOT_IN_SLUG: Final = re.compile(r"[^a-z0-9]+")


def normalize_host(host: str) -> str:
    """Return the name by which an instance is looked up, of a `Host` or `:authority` value (RFC 3986 section 3.2.2).

    The port, the case of letters and one trailing dot are dropped, and the brackets of an IPv6 address. What is no host
    comes back as it is and is simply not found.
    """
    if host.startswith("["):
        address, bracket, _ = host[1:].partition("]")
        return address.lower() if bracket else host
    if host.count(":") <= 1:  # two or more: an IPv6 address without brackets, and so without a port
        host = _PORT.sub("", host)
    host = host.removesuffix(".")
    # Lower-casing other scripts can yield ASCII (the Kelvin sign becomes k) and would let one name pass for another.
    return host.lower() if host.isascii() else host


def domain_fault(domain: str, *, external_domain: str) -> str | None:
    """Say what keeps a lower-cased `domain` from being the domain of an instance, and what to write instead.

    None: nothing.
    """
    if not domain.isascii():
        return "must be ASCII; write an international name in its xn-- form (bücher.example: xn--bcher-kva.example)"
    if _OTHER_CHARACTER.search(domain):
        return "may hold letters, digits, dots and hyphens only; leave out scheme, port and path (acme.example.com)"
    if len(domain) > DOMAIN_LIMIT:
        return f"may have at most {DOMAIN_LIMIT} characters"
    labels = domain.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return (
            "must be labels of 1 to 63 characters with dots between them; no label begins or ends with a hyphen, "
            "and no dot stands at either end"
        )
    if all(_NUMBER.fullmatch(label) for label in labels):
        return "must be a name, not an IP address"
    if domain == normalize_host(external_domain):
        return "is the domain of this server itself; choose another, such as a name below it"
    return None


def slug(name: str) -> str:
    """Return the part of a generated domain that reminds of `name`: 1 to 56 of a-z, 0-9 and inner hyphens.

    Accents are dropped with their marks: Zürich becomes zurich.
    """
    if not name.isascii():
        decomposed = unicodedata.normalize("NFKD", name)
        name = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _NOT_IN_SLUG.sub("-", name.lower()).strip("-")[:SLUG_LIMIT].rstrip("-") or "instance"


def generate_domain(name: str, *, external_domain: str) -> str:
    """Draw a domain below `external_domain` for an instance called `name`.

    Whether it is taken is for the caller to ask. Raises ValueError where `external_domain` leaves no room within the
    limit of a domain.
    """
    ending = f"-{_suffix()}.{normalize_host(external_domain)}"
    room = DOMAIN_LIMIT - len(ending)
    if room < 1:
        raise ValueError(
            f"an external domain of {len(external_domain)} characters leaves no room for generated domains"
        )
    return (slug(name)[:room].rstrip("-") or "i") + ending


def _suffix() -> str:
    # To ask the system for random bytes would take longer than all else of a decision, and let go of the interpreter
    # for each instance of a group.
    return "".join(random.choices(_SUFFIX_ALPHABET, k=SUFFIX_LENGTH))  # noqa: S311 - it guards nothing
