"""AddInstance with and without a password, and what would be left of it if nothing else had to be done."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from typing import Final

from tests.bench import h2load, lineup, ours, stored
from tests.bench.bench import Bench, note
from tests.bench.contender import Running
from tests.bench.figures import Aim, Column, Figures, Row, Table
from tests.bench.h2load import Shape
from tests.bench.places import ROOT
from tests.bench.unmeasured import Absent, Failed, Void
from tests.bench.wire import Call

CALLERS: Final = (1, 8, 32, 128)
MOST: Final = CALLERS[-1]
PASSWORD: Final = "Password1!"
RATE: Final = "adds_per_second"
COMMIT: Final = "adds_per_commit"
CPU: Final = "cpu_per_add"
COLUMNS: Final = (
    Column(RATE, "adds/s"),
    Column(COMMIT, "adds per commit", 1),
    Column(CPU, "CPU µs/add", scale=1e6),
)
RAW: Final = "SQLite alone"
ALONE: Final = "argon2id alone, all cores"
_TEXT: Final = "JSON. A run counts if as many instances are stored as were added."
_MODULES: Final = "tests.bench.contenders.python"


def without_password(bench: Bench) -> list[Table]:
    """Measure adds that the database limits."""
    rows, raw = _rows(bench, {}, RAW)
    text = f"{_TEXT} {RAW}: the same rows, in commits of as many adds as those of {_by(MOST)}."
    aims = [Aim(_by(MOST), RAW, at_least=0.25), Aim(_by(MOST), at_least=16, figure=COMMIT)]
    return [Table("adds", "AddInstance without a password", RATE, COLUMNS, [*rows, raw], [_by(MOST)], aims, text, CPU)]


def with_password(bench: Bench) -> list[Table]:
    """Measure adds that hashing limits."""
    password = {"ownerPassword": {"password": PASSWORD}}
    rows, alone = _rows(bench, password, ALONE)
    aims = [Aim(_by(callers), ALONE, at_least=0.9) for callers in CALLERS[1:]]
    return [
        Table(
            "adds-password", "AddInstance with a password", RATE, COLUMNS, [*rows, alone], [_by(MOST)], aims, _TEXT, CPU
        )
    ]


def _by(callers: int) -> str:
    return f"{callers} caller{'s' if callers > 1 else ''}"


def _rows(bench: Bench, fields: Mapping[str, object], baseline: str) -> tuple[list[Row], Row]:
    rows = {callers: Row(_by(callers)) for callers in CALLERS}
    beside = Row(baseline)
    try:
        with lineup.OURS.run(bench) as running:
            adding = Adding(running, fields)
            for number in range(bench.rounds):
                for callers, row in rows.items():
                    note(bench, row, number, partial(adding.measure, callers, bench.seconds))
                note(bench, beside, number, partial(_baseline, bench, running, rows[MOST], number, baseline))
    except (Absent, Failed) as reason:
        for row in rows.values():
            row.failed.append(str(reason))
    return list(rows.values()), beside


class Adding:
    """Adds instances to a running server, as many calls at once as there are callers."""

    def __init__(self, running: Running, fields: Mapping[str, object]) -> None:
        assert running.data is not None
        headers = {"authorization": running.headers["authorization"], "content-type": "application/json"}
        self._call = Call("json", ours.ADD_PATH, headers, ours.add_body(fields))
        self._running = running
        self._data = running.data
        self._rates: dict[int, float] = {}

    def measure(self, callers: int, seconds: float) -> Figures:
        """Add for about so many seconds.

        Raises:
            Void: not as many instances are stored as were added.
        """
        if callers not in self._rates:
            self._rates[callers] = self._add(callers, max(callers, 8))[RATE]
        figures = self._add(callers, max(callers, int(self._rates[callers] * seconds)))
        self._rates[callers] = figures[RATE]
        return figures

    def _add(self, callers: int, calls: int) -> Figures:
        calls = -(-calls // callers) * callers
        instances, commits, cpu = stored.instances(self._data), stored.commits(self._data), self._running.cpu()
        result = h2load.run(self._running.addresses["json"], self._call, Shape(callers), calls)
        cpu = self._running.cpu() - cpu
        commits = stored.commits(self._data) - commits
        result.check(calls=calls, reply=None)
        added = stored.instances(self._data) - instances
        if added != calls:
            raise Void(f"{added} instances are stored, and {calls} were added")
        return {RATE: result.rate, COMMIT: calls / max(1, commits), CPU: cpu / calls}


def _baseline(bench: Bench, running: Running, row: Row, number: int, baseline: str) -> Figures:
    figures = row.rounds.get(number)
    if figures is None:
        raise Void(f"{row.name} have not run in this round")
    if baseline == ALONE:
        hashes = max(4, int(figures[RATE] * bench.seconds))
        seconds, cpu = _seconds("argon2id_alone", str(hashes))
        return {RATE: hashes / seconds, CPU: cpu / hashes}
    assert running.data is not None
    # Some seconds are over before they can be told from each other.
    instances = min(stored.instances(running.data), max(200, int(figures[RATE] * 4 * bench.seconds)))
    folder = tempfile.mkdtemp(prefix="raw-", dir=bench.folder)
    group = max(1, round(figures[COMMIT]))
    try:
        seconds, cpu = _seconds(
            "raw_sqlite", str(stored.database(running.data).absolute()), folder, str(instances), str(group)
        )
    finally:
        shutil.rmtree(folder)
    return {RATE: instances / seconds, COMMIT: group, CPU: cpu / instances}


def _seconds(module: str, *arguments: str) -> tuple[float, float]:
    command = [sys.executable, "-m", f"{_MODULES}.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Failed(f"{module}: {done.stderr[-500:]}")
    seconds, cpu = done.stdout.split()
    return float(seconds), float(cpu)
