"""Which roles permit what, and where."""

import pytest

from server.identity.permissions import Membership, MemberType, Reach, reach
from tests.unit.identity.signing import iam, system

NOWHERE = Reach(everywhere=False, instance_ids=(), sole_instance=None)
EVERYWHERE = Reach(everywhere=True, instance_ids=(), sole_instance=None)


@pytest.mark.parametrize(
    ("memberships", "permission", "expected"),
    [
        ([], "iam.read", NOWHERE),
        ([system("SYSTEM_OWNER")], "system.instance.write", EVERYWHERE),
        ([system("SYSTEM_OWNER")], "iam.read", NOWHERE),
        ([system("IAM_OWNER")], "iam.read", EVERYWHERE),
        ([system("IAM_OWNER")], "system.instance.read", NOWHERE),
        ([system("ORG_OWNER", "system_owner", "")], "system.instance.read", NOWHERE),
        ([system("SYSTEM_OWNER")], "systematic.read", NOWHERE),
        ([iam("1")], "iam.read", Reach(everywhere=False, instance_ids=("1",), sole_instance="1")),
        (
            [iam("1", "SYSTEM_OWNER")],
            "system.instance.read",
            Reach(everywhere=False, instance_ids=(), sole_instance="1"),
        ),
        ([iam("1", "SYSTEM_OWNER")], "iam.read", Reach(everywhere=False, instance_ids=(), sole_instance="1")),
        (
            [iam("1"), iam("2"), iam("1")],
            "iam.read",
            Reach(everywhere=False, instance_ids=("1", "2"), sole_instance=None),
        ),
        ([iam("1"), iam("2", "OTHER")], "iam.read", Reach(everywhere=False, instance_ids=("1",), sole_instance=None)),
        ([system("IAM_OWNER"), iam("1")], "iam.read", Reach(everywhere=True, instance_ids=("1",), sole_instance="1")),
        ([Membership(MemberType.IAM, ("IAM_OWNER",))], "iam.read", NOWHERE),
        ([Membership(MemberType.ORGANIZATION, ("IAM_OWNER", "SYSTEM_OWNER"), "1")], "iam.read", NOWHERE),
    ],
)
def test_a_role_counts_where_its_membership_reaches(
    memberships: list[Membership], permission: str, expected: Reach
) -> None:
    assert reach(memberships, permission) == expected
