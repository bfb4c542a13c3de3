"""The system users: who may sign tokens, read from the configuration in every shape that ZITADEL's own files have.

    SystemAPIUsers:                     # a list of maps; one map; or either as a JSON string
      - admin:
          Path: /etc/admin.pub          # or KeyData: base64 of the PEM
          Memberships:                  # left out: System, SYSTEM_OWNER
            - MemberType: IAM           # System, IAM or Organization
              AggregateID: "1234"
              Roles: [IAM_OWNER]        # or one string

Keys are read in any case, as ZITADEL reads them.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.identity.errors import ConfigurationError
from server.identity.keys import VerifyingKey, read_verifying_key
from server.identity.permissions import Membership, MemberType

SETTING = "SystemAPIUsers"

_DEFAULT_MEMBERSHIPS = (Membership(MemberType.SYSTEM, ("SYSTEM_OWNER",)),)
_USER_KEYS = ("Path", "KeyData", "Memberships")
_MEMBERSHIP_KEYS = ("MemberType", "AggregateID", "Roles")
_MEMBER_TYPES = {"system": MemberType.SYSTEM, "iam": MemberType.IAM, "organization": MemberType.ORGANIZATION}

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SystemUser:
    """Someone who signs their own tokens: `id` is the `iss` and `sub` of those, `key` verifies them."""

    id: str
    key: VerifyingKey
    memberships: tuple[Membership, ...] = _DEFAULT_MEMBERSHIPS


def parse_system_users(value: object) -> dict[str, SystemUser]:
    """Read the value of `SystemAPIUsers`, as YAML, JSON or an environment variable gave it; key files are read here.

    None, an empty string, list or map is no user. A membership that can never count is only logged, as ZITADEL accepts
    it too.

    Raises:
        ConfigurationError: something is wrong; the message starts with the path to it.
    """
    users: dict[str, SystemUser] = {}
    for user_id, entry in _entries(_unfolded(value, SETTING)):
        if user_id in users:
            raise ConfigurationError(f"{SETTING}.{user_id}", "two users have this id; give each its own")
        users[user_id] = _user(user_id, entry)
    return users


def _unfolded(value: object, where: str) -> object:
    """Decode what an environment variable can only hold as text."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            where, 'this text is no JSON; write {"admin": {"KeyData": "…"}} or a list of such maps'
        ) from error


def _entries(value: object) -> Iterator[tuple[str, object]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield _user_id(key), entry
        return
    if not isinstance(value, list):
        raise ConfigurationError(SETTING, "write a list of users (- admin: …) or a map of them (admin: …)")
    for index, item in enumerate(value):
        if not isinstance(item, Mapping) or not item:
            raise ConfigurationError(f"{SETTING}[{index}]", "write the user's id with a map below it (- admin: …)")
        for key, entry in item.items():
            yield _user_id(key), entry


def _user_id(key: object) -> str:
    # YAML reads an id of digits as a number.
    if isinstance(key, str | int) and not isinstance(key, bool) and str(key).strip():
        return str(key)
    raise ConfigurationError(SETTING, f"{key!r} is no user id; write a text, in quotes where YAML reads it otherwise")


def _user(user_id: str, entry: object) -> SystemUser:
    where = f"{SETTING}.{user_id}"
    fields = _fields(_unfolded(entry, where), where, _USER_KEYS)
    return SystemUser(
        id=user_id,
        key=_key(fields, where),
        memberships=_memberships(fields.get("Memberships"), f"{where}.Memberships"),
    )


def _fields(entry: object, where: str, known: tuple[str, ...]) -> dict[str, object]:
    """Return the fields under the names in `known`; others are refused, as a typo in Memberships makes an owner."""
    if not isinstance(entry, Mapping):
        raise ConfigurationError(where, f"write a map with {', '.join(known)}")
    names = {name.lower(): name for name in known}
    fields: dict[str, object] = {}
    for key, value in entry.items():
        name = names.get(str(key).lower())
        if name is None:
            raise ConfigurationError(f"{where}.{key}", f"there is no such setting; known are {', '.join(known)}")
        if name in fields:
            raise ConfigurationError(f"{where}.{key}", f"{name} is there twice, in different case; leave one")
        fields[name] = value
    return fields


def _key(fields: dict[str, object], where: str) -> VerifyingKey:
    path, data = fields.get("Path"), fields.get("KeyData")
    # Where both are there ZITADEL takes the file.
    if path not in (None, ""):
        where = f"{where}.Path"
        if not isinstance(path, str):
            raise ConfigurationError(where, "write the path of a PEM file")
        try:
            pem = Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(where, f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigurationError(where, f"{path!r} is no path") from error
        return read_verifying_key(pem, where)
    if data in (None, ""):
        raise ConfigurationError(where, "there is no key; set Path to a PEM file, or KeyData to the base64 of one")
    where = f"{where}.KeyData"
    if not isinstance(data, str):
        raise ConfigurationError(where, "write the base64 of a PEM file as text")
    try:
        # The base64 command breaks its lines, and YAML may keep the breaks.
        pem = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(where, "this is no base64; write the output of: base64 -w0 KEY.pub") from error
    return read_verifying_key(pem, where)


def _memberships(value: object, where: str) -> tuple[Membership, ...]:
    value = _unfolded(value, where)
    if isinstance(value, Mapping) and value:
        value = [value]
    if not value:
        return _DEFAULT_MEMBERSHIPS
    if not isinstance(value, list):
        raise ConfigurationError(where, "write a list of memberships (- MemberType: System …)")
    return tuple(_membership(item, f"{where}[{index}]") for index, item in enumerate(value))


def _membership(item: object, where: str) -> Membership:
    fields = _fields(item, where, _MEMBERSHIP_KEYS)
    member_type = _member_type(fields.get("MemberType"), f"{where}.MemberType")
    aggregate_id = _aggregate_id(fields.get("AggregateID"), f"{where}.AggregateID")
    if member_type is MemberType.IAM and aggregate_id is None:
        _log.warning(
            "a membership reaches nothing", setting=where, reason="MemberType IAM needs the AggregateID of an instance"
        )
    return Membership(member_type, _roles(fields.get("Roles"), f"{where}.Roles"), aggregate_id)


def _member_type(value: object, where: str) -> MemberType:
    if isinstance(value, str) and value.strip().lower() in _MEMBER_TYPES:
        return _MEMBER_TYPES[value.strip().lower()]
    if isinstance(value, int) and not isinstance(value, bool) and value in {member.value for member in MemberType}:
        return MemberType(value)
    raise ConfigurationError(where, "write System, IAM or Organization")


def _aggregate_id(value: object, where: str) -> str | None:
    if value is None:
        return None
    # YAML reads an id without quotes as a number.
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value).strip() or None
    raise ConfigurationError(where, "write the id of an instance or organization, in quotes")


def _roles(value: object, where: str) -> tuple[str, ...]:
    roles = value.split(",") if isinstance(value, str) else value
    if roles is None:
        return ()
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise ConfigurationError(where, "write a list of roles, or one role")
    return tuple(role.strip() for role in roles if role.strip())
