"""Many callers at once: one of them gets a domain, and a commit serves many."""

from collections.abc import Callable
from pathlib import Path

from tests.crash.callers import AtOnce, Wanted, both_fronts, codes, names, some
from tests.crash.instruments import Instruments
from tests.crash.stored import commits_in_log, contents, reading, write_lock
from tests.servers import Server

CONTENDED = "contended.example"


def test_of_64_calls_for_one_domain_one_gets_it_and_64_others_of_the_same_groups_succeed(
    starting: Callable[..., Server], tmp_path: Path
) -> None:
    instruments = Instruments(tmp_path / "instruments")
    server = starting(wrapper=instruments.wrapper)
    rivals = [Wanted(f"rival-{number}", CONTENDED) for number in range(64)]
    others = some(64, "other")
    # Two rivals, two others, and so on: some of each come over each front.
    wanted = [one for four in zip(rivals[::2], rivals[1::2], others[::2], others[1::2], strict=True) for one in four]
    with both_fronts(server) as fronts:
        # While nobody can write, the calls gather.
        with write_lock(server.data):
            calls = AtOnce(fronts, wanted)
            instruments.wait_for_arrivals(len(wanted))
        outcomes = calls.outcomes()
    assert server.stop() == 0

    assert codes(outcome for outcome in outcomes if outcome.wanted in rivals) == {"OK": 1, "ALREADY_EXISTS": 63}
    assert codes(outcome for outcome in outcomes if outcome.wanted in others) == {"OK": 64}
    assert contents(server.data).instances.keys() == names(outcomes, ok=True)
    groups = [group for group in instruments.groups() if group.decided]
    assert sum(group.decided for group in groups) == 128
    # The first to arrive may be alone; whoever came while it waited shares a group.
    assert any(group.decided > 64 for group in groups)


def test_calls_that_come_at_once_share_commits(starting: Callable[..., Server]) -> None:
    server = starting()
    with both_fronts(server) as fronts, reading(server.data) as reader:
        # A transaction that reads keeps the log from being begun anew, so every commit can be counted in it.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        before, _ = commits_in_log(server.data)
        with write_lock(server.data):
            calls = AtOnce(fronts, some(128, "shared"))
            fronts[1].add(Wanted("late"), deadline=0.5)
        outcomes = calls.outcomes()
        after, torn = commits_in_log(server.data)
    assert codes(outcomes) == {"OK": 128}
    assert not torn
    assert 0 < after - before <= 128 // 4
    assert server.stop() == 0


def test_calls_wait_for_another_program_to_let_go_of_the_database(starting: Callable[..., Server]) -> None:
    server = starting()
    with both_fronts(server) as fronts:
        with write_lock(server.data):
            calls = AtOnce(fronts, some(16, "patient"))
            # Far below the five seconds for which a group waits.
            assert fronts[0].add(Wanted("hurried"), deadline=0.5).code == "DEADLINE_EXCEEDED"
        assert codes(calls.outcomes()) == {"OK": 16}
    assert server.stop() == 0
