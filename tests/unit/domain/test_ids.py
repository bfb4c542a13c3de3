from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.ids import EPOCH, next_id


def test_an_id_holds_the_milliseconds_since_2020() -> None:
    assert next_id(0, EPOCH + 1) == 1 << 22


@settings(deadline=None)
@given(st.lists(st.integers(EPOCH, EPOCH + 2**40)))
def test_ids_grow_whatever_the_clock_does(clock: list[int]) -> None:
    drawn = [0]
    for now in clock:
        drawn.append(next_id(drawn[-1], now))
    assert drawn == sorted(set(drawn))
    assert drawn[-1] < 2**63
