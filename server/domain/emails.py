"""E-mail addresses by RFC 5321, 5322 and 6531, whether their domain exists or not."""

from typing import Final

from email_validator import EmailNotValidError, validate_email

# email-validator refuses .test, .local, .localhost and others by a list that all of its users in the process share.
# Below a name of its own no domain is on that list; emptying the list would change the rules for others.
_BELOW: Final = ".x"


def normalize_email(address: str) -> str:
    """Return `address` in Unicode normal form with its domain in lower case.

    Raises ValueError, with a message for the caller, where it is no address. `root@localhost` and `a@b.test` are.
    """
    try:
        return _validated(address)
    except EmailNotValidError as fault:
        try:
            return _validated(address + _BELOW).removesuffix(_BELOW)
        except EmailNotValidError:
            raise ValueError(str(fault)) from None


def _validated(address: str) -> str:
    return validate_email(address, check_deliverability=False, globally_deliverable=False).normalized
