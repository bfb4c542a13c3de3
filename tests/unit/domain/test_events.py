import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain import events
from server.domain.events import Event, UnknownEvent, from_payload, to_payload

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ROLES = st.lists(TEXT).map(tuple)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(events.InstanceAdded, TEXT, TEXT),
    st.builds(events.InstanceChanged, TEXT),
    st.builds(events.DomainAdded, TEXT, st.booleans()),
    st.builds(events.DomainPrimarySet, TEXT),
    st.builds(events.DomainRemoved, TEXT),
    st.builds(events.OrganizationAdded, TEXT),
    st.from_type(events.HumanAdded),
    st.builds(events.InstanceMemberAdded, TEXT, ROLES),
    st.builds(events.OrganizationMemberAdded, TEXT, ROLES),
)


@settings(deadline=None)
@given(EVENTS)
def test_an_event_reads_back_as_it_was_written(event: Event) -> None:
    assert from_payload(event.type, to_payload(event)) == event


@settings(deadline=None)
@given(EVENTS)
def test_a_payload_is_what_json_dumps_writes(event: Event) -> None:
    payload = to_payload(event)
    assert payload == json.dumps(json.loads(payload), ensure_ascii=False, separators=(",", ":"))


def test_a_payload_is_json_with_lower_camel_case_names() -> None:
    assert json.loads(to_payload(events.InstanceMemberAdded("7", ("IAM_OWNER",)))) == {
        "userId": "7",
        "roles": ["IAM_OWNER"],
    }


def test_a_field_that_is_known_no_longer_is_passed_over() -> None:
    assert from_payload("instance.changed", '{"name":"A","formerly":1}') == events.InstanceChanged("A")


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        ("instance.exploded", "{}"),
        ("instance.changed", "{}"),
        ("instance.changed", "nonsense"),
        ("org.added", "[]"),
        ("org.added", "3"),
    ],
)
def test_what_cannot_be_read_is_named(event_type: str, payload: str) -> None:
    with pytest.raises(UnknownEvent, match=event_type):
        from_payload(event_type, payload)
