"""Commands as callers give them, checked field by field."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from server.domain.emails import normalize_email
from server.domain.errors import InvalidCommand, Violation
from server.domain.languages import normalize_language
from server.domain.names import domain_fault
from server.domain.passwords import password_fault

TEXT_LIMIT: Final = 200
LANGUAGE_LIMIT: Final = 10
DEFAULT_LANGUAGE: Final = "en"

# Unicode's control characters (general category Cc) and halves of surrogate pairs (Cs), which no encoding of text can
# carry.
_NOT_TEXT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _refused(reason: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def _checked(value: str, limit: int) -> str:
    """Return `value` without white space around it; refuse one that is too long or no text."""
    if len(value) > limit:
        raise _refused(f"may have at most {limit} characters; {len(value)} were sent")
    # Looked for before white space is dropped, for tabs and line ends are both. Nothing printable is one of them.
    if not value.isprintable() and (found := _NOT_TEXT.search(value)) is not None:
        kind = "a lone surrogate" if found[0] >= "\ud800" else "a control character"
        raise _refused(f"has {kind}, U+{ord(found[0]):04X}, at position {found.start() + 1}; leave it out")
    return value.strip()


def _text(value: str) -> str:
    return _checked(value, TEXT_LIMIT)


def _language(value: str) -> str:
    tag = _checked(value, LANGUAGE_LIMIT)
    try:
        return normalize_language(tag) if tag else tag
    except ValueError as fault:
        raise _refused(str(fault)) from None


Text = Annotated[str, AfterValidator(_text)]
Language = Annotated[str, AfterValidator(_language)]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class OwnerEmail(_Fields):
    """The address of the instance's first user, and whether the caller vouches for it."""

    email: Text = Field(default="", validate_default=True)
    is_email_verified: bool = False

    @field_validator("email")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not value:
            raise _refused("is required; give the owner's e-mail address")
        try:
            return normalize_email(value)
        except ValueError as fault:
            raise _refused(f"must be an e-mail address: {fault}") from None


class OwnerProfile(_Fields):
    """How the instance's first user is called and spoken to."""

    first_name: Text = ""
    last_name: Text = ""
    preferred_language: Language = ""


class OwnerPassword(_Fields):
    """The first password of the instance's first user; empty: none yet. It never shows in a repr or an error."""

    password: SecretStr = SecretStr("")
    password_change_required: bool = False

    @field_validator("password", mode="before")
    @classmethod
    def _follows_policy(cls, value: object) -> SecretStr:
        if not isinstance(value, str):
            raise _refused("must be a string")
        _checked(value, TEXT_LIMIT)
        if value and (fault := password_fault(value)):
            raise _refused(fault)
        return SecretStr(value)


class AddInstance(_Fields):
    """Set up an instance. Built by `parse`; what the caller left empty then holds what stands for it."""

    instance_name: Text = Field(default="", validate_default=True)
    first_org_name: Text = Field(default="", validate_default=True)
    custom_domain: Text = ""
    owner_email: OwnerEmail
    owner_user_name: Text = Field(default="", validate_default=True)
    owner_profile: OwnerProfile = OwnerProfile()
    owner_password: OwnerPassword = OwnerPassword()
    default_language: Language = Field(default="", validate_default=True)

    @classmethod
    def parse(cls, fields: Mapping[str, object], *, external_domain: str) -> Self:
        """Check the fields of an AddInstanceRequest, named as in the .proto; a message that is unset is absent.

        Raises InvalidCommand with one violation for each field that breaks a rule, all at once.
        """
        try:
            return cls.model_validate(fields, context=external_domain)
        except ValidationError as invalid:
            found = invalid.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidCommand([_violation(error) for error in found])

    @field_validator("instance_name")
    @classmethod
    def _is_given(cls, value: str) -> str:
        if not value:
            raise _refused(f"is required; give the instance a name of 1 to {TEXT_LIMIT} characters")
        return value

    @field_validator("first_org_name")
    @classmethod
    def _else_instance_name(cls, value: str, info: ValidationInfo) -> str:
        return value or info.data.get("instance_name", "")

    @field_validator("owner_user_name")
    @classmethod
    def _else_email(cls, value: str, info: ValidationInfo) -> str:
        if value or "owner_email" not in info.data:
            return value
        return str(info.data["owner_email"].email)

    @field_validator("custom_domain")
    @classmethod
    def _is_domain(cls, value: str, info: ValidationInfo) -> str:
        domain = value.lower() if value.isascii() else value
        if domain and (fault := domain_fault(domain, external_domain=str(info.context))):
            raise _refused(fault)
        return domain

    @field_validator("default_language")
    @classmethod
    def _else_english(cls, value: str) -> str:
        return value or DEFAULT_LANGUAGE


def _violation(error: ErrorDetails) -> Violation:
    path = ".".join(to_camel(str(name)) for name in error["loc"])
    return Violation(path, "is required" if error["type"] == "missing" else error["msg"])
