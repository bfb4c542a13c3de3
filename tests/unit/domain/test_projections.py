from server.domain.events import (
    DomainPrimarySet,
    DomainRemoved,
    Event,
    InstanceAdded,
    InstanceChanged,
    OrganizationAdded,
    RecordedEvent,
)
from server.domain.projections import Delete, Insert, Update, project


def recorded(event: Event, sequence: int = 1, aggregate_id: str = "7") -> RecordedEvent:
    return RecordedEvent(100 + sequence, "7", aggregate_id, sequence, event, "alice", 1000 * sequence)


def test_an_instance_begins_with_its_first_event() -> None:
    assert project(recorded(InstanceAdded("Acme", "en"))) == [
        Insert(
            "instances",
            {
                "id": "7",
                "name": "Acme",
                "default_language": "en",
                "creation_date": 1000,
                "sequence": 1,
                "change_date": 1000,
            },
        )
    ]


def test_a_rename_changes_name_sequence_and_change_date() -> None:
    assert project(recorded(InstanceChanged("New"), 9)) == [
        Update("instances", {"name": "New", "sequence": 9, "change_date": 9000}, {"id": "7"})
    ]


def test_the_primary_flag_changes_the_domain_that_loses_it_and_the_one_that_gets_it() -> None:
    changed = {"sequence": 5, "change_date": 5000}
    assert project(recorded(DomainPrimarySet("a.example"), 5)) == [
        Update(
            "domains",
            {"is_primary": False, **changed},
            {"instance_id": "7", "is_primary": True},
            other_than={"domain": "a.example"},
        ),
        Update(
            "domains",
            {"is_primary": True, **changed},
            {"instance_id": "7", "domain": "a.example", "is_primary": False},
        ),
        Update("instances", changed, {"id": "7"}),
    ]


def test_a_removed_domain_is_gone_and_changes_the_instance() -> None:
    assert project(recorded(DomainRemoved("a.example"), 6)) == [
        Delete("domains", {"instance_id": "7", "domain": "a.example"}),
        Update("instances", {"sequence": 6, "change_date": 6000}, {"id": "7"}),
    ]


def test_events_of_an_organization_do_not_change_the_instance() -> None:
    assert [change.table for change in project(recorded(OrganizationAdded("Works"), 4, "8"))] == ["organizations"]
