"""Ids of instances, organizations and users: 63-bit numbers that grow with time and never repeat."""

from typing import Final

# 2020-01-01T00:00:00Z in milliseconds since 1970-01-01.
EPOCH: Final = 1_577_836_800_000

# Bits below the milliseconds: 4,194,304 ids in each before the sequence runs ahead of the clock.
_SHIFT: Final = 22


def next_id(last: int, now: int) -> int:
    """Return the id that follows `last`, the largest ever drawn (0: none), at `now` milliseconds since 1970-01-01 UTC.

    A clock that stands still or steps back yields `last + 1`.
    """
    return max(last + 1, (now - EPOCH) << _SHIFT)
