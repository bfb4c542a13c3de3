"""`kill -9` leaves the page cache as it is; a power cut does not. So: what is acknowledged was synced before."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.callers import AtOnce, Wanted, both_fronts, some
from tests.crash.instruments import Instruments
from tests.crash.stored import database
from tests.crash.tracing import read_trace, sent_before_synced, strace
from tests.servers import Server

FRONTS = ["native", "json"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "trace"


@pytest.mark.parametrize("front", [0, 1], ids=FRONTS)
def test_no_reply_leaves_before_the_sync_of_its_commit(
    starting: Callable[..., Server], output: Path, front: int
) -> None:
    server = starting(wrapper=strace(output))
    assert _early(server, output, [[wanted] for wanted in some(4, "alone")], [front]) == set()


def test_no_reply_to_one_of_many_callers_leaves_before_the_sync_of_its_commit(
    starting: Callable[..., Server], output: Path
) -> None:
    server = starting(wrapper=strace(output))
    assert _early(server, output, [some(16, "first"), some(16, "second")], [0, 1]) == set()


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_a_server_that_does_not_sync_each_commit_is_caught(
    starting: Callable[..., Server], output: Path, tmp_path: Path, synchronous: str
) -> None:
    instruments = Instruments(tmp_path / "instruments")
    instruments.set(synchronous=synchronous)
    server = starting(wrapper=(*strace(output), *instruments.wrapper))
    assert len(_early(server, output, [some(4, "first"), some(4, "second")], [0, 1])) == 8


def _early(server: Server, output: Path, waves: list[list[Wanted]], chosen: list[int]) -> set[str]:
    """Add the instances, each wave at once; return the ids whose reply left before its commit was synced."""
    with both_fronts(server) as fronts:
        outcomes = [
            outcome for wave in waves for outcome in AtOnce([fronts[index] for index in chosen], wave).outcomes()
        ]
    log = database(server.data).with_name("instanced.db-wal")
    assert server.stop() == 0
    assert {outcome.code for outcome in outcomes} == {"OK"}
    replies = {outcome.wanted.name: outcome.instance_id for outcome in outcomes}
    return sent_before_synced(read_trace(output, server.process.pid), log, replies)
