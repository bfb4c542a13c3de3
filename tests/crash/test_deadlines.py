"""A caller whose deadline passes learns that; its instance is there whole, or not at all."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.crash.callers import Outcome, Wanted, both_fronts, codes, names, some
from tests.crash.stored import assert_is, contents, write_lock
from tests.servers import Server

CALLERS = 32


def test_short_deadlines_under_load_leave_each_instance_whole_or_absent(starting: Callable[..., Server]) -> None:
    server = starting()
    with both_fronts(server) as fronts, ThreadPoolExecutor(CALLERS) as pool:
        wanted = some(600, "hurried")
        # From none at all to more than a call takes under this load.
        deadlines = [random.uniform(0.001, 0.06) for _ in wanted]
        outcomes = list(
            pool.map(lambda number: fronts[number % 2].add(wanted[number], deadlines[number]), range(len(wanted)))
        )
        _assert_whole_or_absent(outcomes, server)
    assert server.stop() == 0


def test_deadlines_that_pass_while_the_store_waits_are_told_on_time(starting: Callable[..., Server]) -> None:
    server = starting()
    with both_fronts(server) as fronts, ThreadPoolExecutor(CALLERS) as pool:
        with write_lock(server.data):
            wanted = some(CALLERS, "hurried")
            outcomes = list(pool.map(lambda number: fronts[number % 2].add(wanted[number], 0.5), range(CALLERS)))
            assert codes(outcomes) == {"DEADLINE_EXCEEDED": CALLERS}
        # What had begun is finished without its caller; what had not is dropped.
        last = fronts[0].add(Wanted("last"))
        _assert_whole_or_absent([*outcomes, last], server)
        assert last.ok
    assert server.stop() == 0


def _assert_whole_or_absent(outcomes: list[Outcome], server: Server) -> None:
    assert codes(outcomes).keys() <= {"OK", "DEADLINE_EXCEEDED"}, {outcome.said for outcome in outcomes}
    found = contents(server.data).instances
    assert names(outcomes, ok=True) <= found.keys() <= {outcome.wanted.name for outcome in outcomes}
    for outcome in outcomes:
        if outcome.ok:
            assert_is(outcome, found[outcome.wanted.name])
