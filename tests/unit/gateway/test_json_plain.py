"""The short way to read JSON against the long one: what it takes, both take alike."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._json import _At, _read_object, merge_json
from gateway._json_plain import read_plain
from gateway._status import Refused
from tests.unit.gateway.echo import EchoRequest

plain_inner: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({}, optional={"displayName": st.text(), "is_set": st.booleans(), "isSet": st.booleans()}),
    lambda inner: st.fixed_dictionaries({}, optional={"inner": inner, "display_name": st.text()}),
    max_leaves=30,
)
anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
surrogates = st.text(st.characters(categories=["Cs", "Lu"]), max_size=3)
requests = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text() | surrogates | anything,
        "isSet": st.booleans() | anything,
        "is_set": st.booleans(),
        "inner": plain_inner | anything,
        "left": st.text() | anything,
        "right": st.integers(-(2**31), 2**31 - 1),
        "count": st.integers(-(2**31), 2**31 - 1),
        "maybe": st.text(),
        "unknown": anything,
    },
)


def long_way(value: object) -> EchoRequest | str:
    message = EchoRequest()
    try:
        _read_object(value, message, _At("", 0, ignore_unknown=False))
    except Refused as refusal:
        return refusal.status.details
    return message


@given(requests | anything)
def test_both_ways_come_to_the_same(value: object) -> None:
    expected = long_way(value)
    message = EchoRequest()
    if isinstance(expected, str):
        with pytest.raises(Refused) as raised:
            merge_json(value, message, ignore_unknown=False)
        assert raised.value.status.details == expected
        assert not read_plain(value, EchoRequest())
    else:
        merge_json(value, message, ignore_unknown=False)
        assert message == expected
        short = EchoRequest()
        assert short == (expected if read_plain(value, short) else EchoRequest())


@pytest.mark.parametrize(
    "value",
    [{"text": "a", "isSet": True, "inner": {"displayName": "é", "inner": {}}}, {"left": ""}, {}, {"inner": {}}],
)
def test_what_is_plain_is_read_by_the_short_way(value: dict[str, Any]) -> None:
    message = EchoRequest()
    assert read_plain(value, message)
    assert message == long_way(value)


@pytest.mark.parametrize(
    "value",
    [
        {"count": 1}, {"text": None}, {"text": 1}, {"isSet": 1}, {"isSet": "true"}, {"left": "a", "right": 1},
        {"text": "\ud800"}, {"is_set": True, "isSet": True}, {"maybe": "a"}, {"tags": ["a"]}, {"labels": {}},
        {"at": "x"}, {"extra": {}}, [], "a", None,
    ],
)  # fmt: skip
def test_all_else_is_left_to_the_long_way(value: object) -> None:
    message = EchoRequest(text="before")
    assert not read_plain(value, message)
    assert message == EchoRequest(text="before")


def test_what_nests_deeply_is_left_to_the_long_way() -> None:
    value: dict[str, Any] = {}
    for _ in range(20):
        value = {"inner": value}
    assert not read_plain(value, EchoRequest())
    assert isinstance(long_way(value), EchoRequest)
