"""E-mail addresses by RFC 5321, 5322 and 6531, whether their domain exists or not."""

import re
from typing import Final

from email_validator import EmailNotValidError, validate_email

# email-validator refuses .test, .local, .localhost and others by a list that all of its users in the process share.
# Below a name of its own no domain is on that list; emptying the list would change the rules for others.
_BELOW: Final = ".x"

# Addresses that email-validator accepts and returns as they are: a dot-atom in lower case (it lower-cases `Postmaster`
# and others of RFC 2142), and a name whose labels hold no two hyphens in a row (`xn--`), the last one no number. That
# is most of them, in 1 µs instead of 25.
_ATOM: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[a-z0-9](?:-?[a-z0-9])*"
_PLAIN: Final = re.compile(
    rf"(?=[^@]{{1,64}}@)(?=.{{1,200}}\Z){_ATOM}(?:\.{_ATOM})*"
    rf"@(?:(?=[^.]{{1,63}}\.){_LABEL}\.)*(?=[^.]{{1,63}}\Z)[a-z](?:-?[a-z0-9])*"
)


def normalize_email(address: str) -> str:
    """Return `address` in Unicode normal form with its domain in lower case.

    Raises ValueError, with a message for the caller, where it is no address. `root@localhost` and `a@b.test` are.
    """
    if _PLAIN.fullmatch(address):
        return address
    try:
        return _validated(address)
    except EmailNotValidError as fault:
        try:
            return _validated(address + _BELOW).removesuffix(_BELOW)
        except EmailNotValidError:
            raise ValueError(str(fault)) from None


def _validated(address: str) -> str:
    return validate_email(address, check_deliverability=False, globally_deliverable=False).normalized
