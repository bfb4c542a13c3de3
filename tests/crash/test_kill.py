"""`kill -9` under load: whatever was acknowledged is there, whole, and nothing is there in part."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.crash.callers import LOST, Front, Load, Outcome, both_fronts, codes, names
from tests.crash.conftest import KillFigures
from tests.crash.stored import Stored, assert_is, commits_in_log, contents, database
from tests.servers import Server

ROUNDS = int(os.environ.get("KILL_ROUNDS", "10"))
CALLERS = 32
KILLER = Path(__file__).with_name("killer.py")
# From the first acknowledged call on, in seconds.
LATEST_KILL = 0.4
# An audience that outlives the listeners' ports, so that one token is good for all rounds.
ENVIRONMENT = {"INSTANCED_EXTERNALPORT": "8080"}


@pytest.mark.timeout(60 + 6 * ROUNDS)
def test_what_was_acknowledged_survives_kill_9_whole_and_nothing_is_there_in_part(
    starting: Callable[..., Server], kill_figures: KillFigures
) -> None:
    acknowledged: list[Outcome] = []
    unacknowledged: set[str] = set()
    position = 0
    server = starting(env=ENVIRONMENT)
    for number in range(ROUNDS):
        with both_fronts(server) as fronts:
            _assert_answered_as_before(fronts, acknowledged, sample=8)
            load = Load(fronts, CALLERS, f"round{number}")
            load.wait_for_first()
            outcomes = load.end(partial(_kill_while_it_writes if number % 2 else _kill, server))
        assert codes(outcomes).keys() <= {"OK", LOST}
        _, torn = commits_in_log(server.data)
        server = _restarted(starting, server)

        found = contents(server.data, after=position)
        position = found.last_position
        _assert_stored(outcomes, found.instances)
        cut_off = found.instances.keys() & names(outcomes, ok=False)
        acknowledged += [outcome for outcome in outcomes if outcome.ok]
        unacknowledged |= names(outcomes, ok=False)
        kill_figures.count(len(names(outcomes, ok=True)), len(cut_off), torn=torn)

    with both_fronts(server) as fronts:
        _assert_answered_as_before(fronts, acknowledged, sample=64)
    everything = contents(server.data).instances
    assert names(acknowledged, ok=True) <= everything.keys() <= names(acknowledged, ok=True) | unacknowledged
    assert server.stop() == 0


def _kill(server: Server) -> None:
    """Kill it at any moment."""
    time.sleep(random.uniform(0, LATEST_KILL))
    assert server.process.poll() is None, "the server ended by itself"
    server.kill()


def _kill_while_it_writes(server: Server) -> None:
    """Kill it when the log has just changed: more often than by chance, in the middle of a commit."""
    log = database(server.data).with_name("instanced.db-wal")
    delay = random.uniform(0, LATEST_KILL)
    subprocess.run([sys.executable, "-I", "-S", KILLER, str(server.process.pid), log, str(delay)], check=True)
    assert server.wait() == -signal.SIGKILL


def _restarted(starting: Callable[..., Server], killed: Server) -> Server:
    server = starting(env=ENVIRONMENT)
    server.tokens = killed.tokens
    return server


def _assert_stored(outcomes: Sequence[Outcome], found: dict[str, Stored]) -> None:
    """Compare what a round's callers were told with what it left."""
    assert names(outcomes, ok=True) <= found.keys(), "acknowledged, and gone"
    assert found.keys() <= {outcome.wanted.name for outcome in outcomes}
    for outcome in outcomes:
        if outcome.ok:
            assert_is(outcome, found[outcome.wanted.name])


def _assert_answered_as_before(fronts: Sequence[Front], acknowledged: Sequence[Outcome], sample: int) -> None:
    """What earlier processes acknowledged is answered by this one, with the details that they told."""
    chosen = [outcome for outcome in acknowledged if outcome.wanted.custom_domain]
    for number, outcome in enumerate(random.sample(chosen, min(sample, len(chosen)))):
        instance = fronts[number % len(fronts)].my_instance(outcome.wanted.custom_domain)
        assert (instance.id, instance.name) == (outcome.instance_id, outcome.wanted.name)
        assert instance.details == outcome.details
