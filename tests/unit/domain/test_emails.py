from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from server.domain.emails import _ATOM, _LABEL, _PLAIN, normalize_email

LOCAL_PART = st.lists(st.from_regex(_ATOM, fullmatch=True), min_size=1, max_size=4).map(".".join)
NAME = st.lists(st.from_regex(_LABEL, fullmatch=True), min_size=1, max_size=4).map(".".join)
PLAIN = st.builds("{}@{}".format, LOCAL_PART, NAME).filter(_PLAIN.fullmatch)
# What lies next to it: capitals, dots, hyphens, numbers and lengths where they may not be.
NEAR = st.from_regex(r"[a-zA-Z0-9.!+-]{0,70}@[a-zA-Z0-9.-]{0,80}", fullmatch=True)


def by_the_library(address: str) -> str | None:
    # Below a name that is on no list of special uses.
    try:
        found = validate_email(f"{address}.x", check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        return None
    return found.normalized.removesuffix(".x")


def normalized(address: str) -> str | None:
    try:
        return normalize_email(address)
    except ValueError:
        return None


@given(PLAIN)
@example("a@b")
@example("root@localhost")
@example("o'hara+x@a-b.test")
@example("a" * 64 + "@" + "b" * 63 + ".c" + "d" * 60)
def test_a_plain_address_is_what_the_library_makes_of_it(address: str) -> None:
    assert normalize_email(address) == address == by_the_library(address)


@given(NEAR)
@example("Postmaster@acme.example")
@example("a@xn--bcher-kva.example")
@example("a@1.2.3.4")
@example("a" * 65 + "@b.test")
def test_any_address_is_what_the_library_makes_of_it(address: str) -> None:
    assert normalized(address) == by_the_library(address)
