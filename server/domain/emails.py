"""E-mail addresses by RFC 5321, 5322 and 6531, whether their domain exists or not."""

from typing import Final

from email_validator import EmailNotValidError, validate_email

# email-validator refuses .test, .local, .localhost and others by a list that all of its users in the process share.
# Below a name of its own no domain is on that list; emptying the list would change the rules for others.
_BELOW: Final = ".x"


def normalize_email(address: str) -> str:
    """Return `address` in Unicode normal form with its domain in lower case.

    Raises ValueError, with a message for the caller, where it is no address. `root@localhost` and `a@b.test` are
    addresses.
    """
    try:
        valid = validate_email(address + _BELOW, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as fault:
        raise ValueError(str(fault)) from None
    return valid.normalized.removesuffix(_BELOW)
