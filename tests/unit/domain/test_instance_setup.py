from typing import Any

import pytest

from server.domain.commands import AddInstance
from server.domain.errors import DomainTaken
from server.domain.events import DomainAdded, DomainPrimarySet, HumanAdded
from server.domain.instance_setup import InstanceSetup

FIELDS: dict[str, Any] = {
    "instance_name": "Acme",
    "first_org_name": "Works",
    "owner_user_name": "root",
    "owner_email": {"email": "a@acme.example", "is_email_verified": True},
    "owner_profile": {"first_name": "Ada", "last_name": "L", "preferred_language": "de"},
    "owner_password": {"password": "Passw0rd!", "password_change_required": True},
    "default_language": "fr",
}


def setup(password_hash: str | None = "$hash", **fields: object) -> InstanceSetup:
    request = AddInstance.parse(FIELDS | fields, external_domain="localhost")
    return InstanceSetup(request, password_hash, "localhost")


def test_without_a_custom_domain_the_generated_one_is_primary(registry: Any) -> None:
    decision = setup().decide(registry)
    assert [new.event.type for new in decision.events] == [
        "instance.added",
        "instance.domain.added",
        "instance.domain.primary.set",
        "org.added",
        "user.human.added",
        "instance.member.added",
        "org.member.added",
    ]
    assert [new.aggregate_id for new in decision.events] == ["1", "1", "1", "2", "3", "1", "2"]
    assert decision.instance_id == "1"


def test_a_custom_domain_is_added_after_the_generated_one_and_becomes_primary(registry: Any) -> None:
    events = [new.event for new in setup(custom_domain="acme.example").decide(registry).events]
    assert [event.type for event in events] == [
        "instance.added",
        "instance.domain.added",
        "instance.domain.primary.set",
        "instance.domain.added",
        "instance.domain.primary.set",
        "org.added",
        "user.human.added",
        "instance.member.added",
        "org.member.added",
    ]
    assert isinstance(events[1], DomainAdded)
    assert events[1].generated
    assert events[2] == DomainPrimarySet(events[1].domain)
    assert events[3:5] == [DomainAdded("acme.example", generated=False), DomainPrimarySet("acme.example")]


def test_the_owner_is_as_the_request_says(registry: Any) -> None:
    [owner] = [new.event for new in setup().decide(registry).events if isinstance(new.event, HumanAdded)]
    assert owner == HumanAdded(
        organization_id="2",
        user_name="root",
        display_name="Ada L",
        first_name="Ada",
        last_name="L",
        preferred_language="de",
        email="a@acme.example",
        email_verified=True,
        password_hash="$hash",
        password_change_required=True,
    )


def test_an_owner_without_a_password_need_not_change_it(registry: Any) -> None:
    [owner] = [new.event for new in setup(None).decide(registry).events if isinstance(new.event, HumanAdded)]
    assert owner.password_hash is None
    assert not owner.password_change_required


def test_a_custom_domain_that_is_taken_is_refused(registry: Any) -> None:
    registry.taken.add("acme.example")
    with pytest.raises(DomainTaken, match=r"acme\.example"):
        setup(custom_domain="acme.example").decide(registry)


def test_a_generated_domain_that_is_taken_is_drawn_anew(registry: Any) -> None:
    registry.clashes = 3
    assert setup().decide(registry).instance_id == "1"
    assert registry.clashes == 0
