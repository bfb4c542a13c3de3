"""A disk that is full or fails, a database that another program holds: nothing half done, and no restart needed."""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.callers import AtOnce, Front, Outcome, Wanted, both_fronts, codes, names, some
from tests.crash.instruments import NO_LIMIT, Instruments
from tests.crash.stored import assert_is, contents, reading, write_lock
from tests.crash.tracing import failing_syncs
from tests.servers import Server

GROUP = 32
# Room for some rows of a group, and not for all.
SPARE_PAGES = 10
# A commit writes more than this, and what the server logs in a test less.
TOO_SMALL = 24 << 10


def test_a_full_disk_fails_a_whole_group_and_later_ones_are_stored_once_there_is_room(
    starting: Callable[..., Server], tmp_path: Path
) -> None:
    instruments = Instruments(tmp_path / "instruments")
    server = starting(wrapper=instruments.wrapper)
    with both_fronts(server) as fronts:
        earlier = _earlier(fronts)
        arrived, groups = instruments.arrived(), len(instruments.groups())
        with write_lock(server.data):
            # The first to arrive waits for the lock in a group of its own; behind it the others gather into one.
            first = AtOnce(fronts, [Wanted("first")])
            instruments.wait_for_arrivals(arrived + 1)
            instruments.wait_for_group(groups + 1)
            group = AtOnce(fronts, some(GROUP, "group"))
            instruments.wait_for_arrivals(arrived + 1 + GROUP)
            with reading(server.data) as connection:
                (pages,) = connection.execute("PRAGMA page_count").fetchone()
            instruments.set(max_page_count=pages + SPARE_PAGES)
        before = [*earlier, *first.outcomes()]
        _assert_unavailable(group.outcomes())
        # Some of its rows were in when the next ones met the end of the disk.
        _, failed = instruments.groups()[groups:]
        assert not failed.to_commit
        assert failed.decided == GROUP
        assert failed.inserts > 1

        _assert_served(fronts, before)
        _assert_only(before, server)
        instruments.set(max_page_count=NO_LIMIT)
        _assert_recovered(fronts, server, before)
    assert server.stop() == 0


def test_a_file_system_without_room_fails_every_call_until_there_is_room(
    starting: Callable[..., Server],
) -> None:
    with _small_disk() as disk:
        server = starting(data=disk)
        with both_fronts(server) as fronts:
            earlier = _earlier(fronts)
        # It moves the log into the database file: a commit needs new room, and finds none in what the log has.
        assert server.stop() == 0
        server = starting(data=disk)
        with both_fronts(server) as fronts:
            filler = disk / "filler"
            _fill(filler)
            _assert_unavailable(AtOnce(fronts, some(GROUP, "group")).outcomes())
            _assert_served(fronts, earlier)
            _assert_only(earlier, server)
            filler.unlink()
            _assert_recovered(fronts, server, earlier)
        assert server.stop() == 0


def test_an_io_error_fails_every_call_until_the_disk_works_again(starting: Callable[..., Server]) -> None:
    server = starting()
    with both_fronts(server) as fronts:
        earlier = _earlier(fronts)
        process = server.process.pid
        # Python ignores SIGXFSZ: a write past the limit is an error.
        soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE, (TOO_SMALL, resource.RLIM_INFINITY))
        try:
            _assert_unavailable(AtOnce(fronts, some(GROUP, "group")).outcomes())
            assert server.log.stat().st_size < TOO_SMALL
            _assert_served(fronts, earlier)
            _assert_only(earlier, server)
        finally:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))
        _assert_recovered(fronts, server, earlier)
    assert server.stop() == 0


def test_a_disk_that_does_not_sync_fails_every_call_until_it_does(
    starting: Callable[..., Server], tmp_path: Path
) -> None:
    server = starting(wrapper=Instruments(tmp_path / "instruments").wrapper)
    with both_fronts(server) as fronts:
        earlier = _earlier(fronts)
        with failing_syncs(server.process.pid):
            _assert_unavailable(AtOnce(fronts, some(GROUP, "group")).outcomes())
            _assert_served(fronts, earlier)
            _assert_only(earlier, server)
        _assert_recovered(fronts, server, earlier)
    server.kill()
    server = starting()
    assert len(contents(server.data).instances) == len(earlier) + GROUP
    assert server.stop() == 0


def test_what_could_not_be_synced_does_not_come_back_after_a_kill(
    starting: Callable[..., Server], tmp_path: Path
) -> None:
    server = starting(wrapper=Instruments(tmp_path / "instruments").wrapper)
    with both_fronts(server) as fronts:
        earlier = _earlier(fronts)
        with failing_syncs(server.process.pid):
            _assert_unavailable(AtOnce(fronts, some(GROUP, "group")).outcomes())
            # The commits that failed were written to the log whole; recovery reads the log.
            server.kill()
    server = starting()
    _assert_only(earlier, server)
    with both_fronts(server) as fronts:
        _assert_recovered(fronts, server, earlier)
    assert server.stop() == 0


def test_a_locked_database_fails_every_call_after_five_seconds_and_reads_go_on(starting: Callable[..., Server]) -> None:
    server = starting()
    with both_fronts(server) as fronts:
        earlier = _earlier(fronts)
        with write_lock(server.data):
            group = AtOnce(fronts, some(GROUP, "group"))
            _assert_served(fronts, earlier)
            _assert_unavailable(group.outcomes())
            _assert_only(earlier, server)
        _assert_recovered(fronts, server, earlier)
    assert server.stop() == 0


def _earlier(fronts: Sequence[Front]) -> list[Outcome]:
    """Add instances before the fault; nothing reads them until then, so that no cache has them."""
    outcomes = AtOnce(fronts, some(8, "earlier")).outcomes()
    assert codes(outcomes) == {"OK": 8}
    return outcomes


def _assert_unavailable(outcomes: Sequence[Outcome]) -> None:
    """Each got the server's own UNAVAILABLE, with a RetryInfo: see `callers`."""
    assert codes(outcomes) == {"UNAVAILABLE": GROUP}, {outcome.said for outcome in outcomes}


def _assert_served(fronts: Sequence[Front], earlier: Sequence[Outcome]) -> None:
    """Reads are answered, from the database: nobody has asked for these before."""
    for number, outcome in enumerate(outcome for outcome in earlier if outcome.wanted.custom_domain):
        instance = fronts[number % 2].my_instance(outcome.wanted.custom_domain)
        assert (instance.id, instance.details) == (outcome.instance_id, outcome.details)


def _assert_only(outcomes: Sequence[Outcome], server: Server) -> None:
    """No row is stored but those of these instances."""
    found = contents(server.data).instances
    assert found.keys() == names(outcomes, ok=True)
    for outcome in outcomes:
        assert_is(outcome, found[outcome.wanted.name])


def _assert_recovered(fronts: Sequence[Front], server: Server, before: Sequence[Outcome]) -> None:
    """The calls that failed go through when they are made again, in the same process."""
    again = AtOnce(fronts, some(GROUP, "group")).outcomes()
    assert codes(again) == {"OK": GROUP}, {outcome.said for outcome in again}
    _assert_only([*before, *again], server)
    _assert_served(fronts, again)


@contextmanager
def _small_disk() -> Iterator[Path]:
    # Not in pytest's own folder: another run that clears that up would meet a mounted file system in it.
    with tempfile.TemporaryDirectory(prefix="instanced-small-disk-") as folder:
        disk = Path(folder) / "data"
        disk.mkdir()
        # In CI a user may become root for it; on a machine of his own nobody has asked for that.
        as_root = ["sudo", "-n"] if os.geteuid() and os.environ.get("CI") and shutil.which("sudo") else []
        options = f"size=2m,mode=0700,uid={os.geteuid()}"
        mount = [*as_root, "mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
        try:
            yield disk
        finally:
            subprocess.run([*as_root, "umount", "--lazy", disk], check=True)


def _fill(filler: Path) -> None:
    file = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        # Down to single bytes, so that not even the page that another file has begun leaves room.
        for size in (1 << 16, 1 << 12, 1 << 8, 1):
            while _fits(file, size):
                pass
    finally:
        os.close(file)


def _fits(file: int, size: int) -> bool:
    try:
        return os.write(file, b"x" * size) == size
    except OSError:
        return False
