"""Which permissions a role holds, and on which instances a membership makes it count."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

# A role that is not listed holds nothing that today's RPCs ask for.
_ROLES = {"SYSTEM_OWNER": "system.", "IAM_OWNER": "iam."}
_IAM = "iam."


class MemberType(Enum):
    """What a membership is of. The values are the numbers that ZITADEL's configuration has for the names."""

    ORGANIZATION = 1
    IAM = 4
    SYSTEM = 5


@dataclass(frozen=True, slots=True)
class Membership:
    """Roles and where they count: System everywhere, IAM on the instance `aggregate_id`, Organization nowhere yet."""

    member_type: MemberType
    roles: tuple[str, ...]
    aggregate_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a caller holds one permission: everywhere, or on these instances.

    `sole_instance` is the instance that the caller is a member of, with whatever roles, if that is exactly one.
    """

    everywhere: bool
    instance_ids: tuple[str, ...]
    sole_instance: str | None


def reach(memberships: Sequence[Membership], permission: str) -> Reach:
    """Where these memberships hold a permission such as `iam.read`.

    A membership of an instance counts for `iam.*` alone: SYSTEM_OWNER on an instance gives nothing.
    """
    everywhere = False
    holding: dict[str, None] = {}
    member_of: dict[str, None] = {}
    for membership in memberships:
        held = any(permission.startswith(_ROLES[role]) for role in membership.roles if role in _ROLES)
        if membership.member_type is MemberType.SYSTEM:
            everywhere = everywhere or held
        elif membership.member_type is MemberType.IAM and membership.aggregate_id is not None:
            member_of[membership.aggregate_id] = None
            if held and permission.startswith(_IAM):
                holding[membership.aggregate_id] = None
    return Reach(
        everywhere=everywhere,
        instance_ids=tuple(holding),
        sole_instance=next(iter(member_of)) if len(member_of) == 1 else None,
    )
