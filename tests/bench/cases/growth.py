"""What the number of stored instances costs, and how long servers take to start and what they then hold."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from zitadel import admin_pb2

from tests.bench import lineup, varied, wire
from tests.bench.bench import CPU, RATE, Bench, note
from tests.bench.cases.adds import COLUMNS as ADD_COLUMNS
from tests.bench.cases.adds import CPU as ADD_CPU
from tests.bench.cases.adds import RATE as ADDS
from tests.bench.cases.adds import Adding
from tests.bench.contender import Contender, Running
from tests.bench.figures import Aim, Column, Figures, Row, Table
from tests.bench.generate import custom_domain, instance_name
from tests.bench.ours import Ours
from tests.bench.places import BUILD, ROOT
from tests.bench.unmeasured import Absent, Failed
from tests.bench.varied import VARIED, Group

SIZES: Final = (100, 10_000, 1_000_000)
# What `make bench` makes by itself; the rest is asked for by `INSTANCES=…`, as it takes minutes and gigabytes.
ALWAYS: Final = SIZES[:2]
CONNECTIONS: Final = 16
CALLERS: Final = 128
# So many instances are asked for in turn, from all over the database: as many as the smallest has, and many.
FEW: Final = SIZES[0]
MANY: Final = 5_000
MIB: Final = 1 / 2**20
START: Final = "start"
MEMORY: Final = "memory"
_EVERY: Final = 0.005
_FIRST_DOMAIN: Final = custom_domain(0)

FIRST: Final = "first_reads_per_second"
OF_MANY: Final = "reads_of_many_per_second"
CPU_OF_MANY: Final = "cpu_per_read_of_many"
READ_COLUMNS: Final = (
    Column(RATE, f"reads/s of {FEW}"),
    Column(CPU, "CPU µs/read", scale=1e6),
    Column("p99", "p99, ms", 2, scale=1e3),
    Column(OF_MANY, f"reads/s of {MANY:,}"),
    Column(CPU_OF_MANY, "CPU µs/read", scale=1e6),
    Column(FIRST, "first reads/s"),
)
START_COLUMNS: Final = (Column(START, "start to first answer, s", 2), Column(MEMORY, "memory, MiB", scale=MIB))


def _by(count: int) -> str:
    return f"{count:,} instance{'s' if count > 1 else ''}"


def start(bench: Bench) -> list[Table]:
    """Measure how long each contender takes to its first answer, and its memory then."""
    rows = {contender.name: Row(contender.name) for contender in lineup.STARTED}
    contenders = [_used_before(bench, contender) for contender in lineup.STARTED]
    for number in range(bench.rounds):
        for contender in contenders:
            note(bench, rows[contender.name], number, partial(_start, bench, contender))
    text = (
        "From the start of the process to the first reply that is right, with a data folder that was there before; "
        "memory is what is resident then, of all its processes."
    )
    return [Table("start", "Start and memory", START, START_COLUMNS, list(rows.values()), text=text)]


def _used_before(bench: Bench, contender: Contender) -> Contender:
    """Return ours with a data folder that it has made, another contender as it is."""
    if not isinstance(contender, Ours):
        return contender
    try:
        with contender.run(bench) as running:
            return replace(contender, data=running.data)
    except (Absent, Failed):
        # As will be said of its row.
        return contender


def _start(bench: Bench, contender: Contender, expected: admin_pb2.GetMyInstanceResponse | None = None) -> Figures:
    call = contender.calls.get("json") or next(iter(contender.calls.values()))
    with contender.run(bench) as running:
        running.target(call, expected or bench.reply, every=_EVERY)
        return {START: time.monotonic() - running.started, MEMORY: running.resident()}


def growth(bench: Bench) -> list[Table]:
    """Measure reads, adds, start and memory beside databases of several sizes."""
    rows = {
        kind: {size: Row(_by(size), optional=size not in ALWAYS) for size in SIZES}
        for kind in ("reads", "adds", "start")
    }
    with ExitStack() as stack:
        running: dict[int, tuple[Ours, Running]] = {}
        for size in SIZES:
            try:
                server = Ours(f"instanced with {_by(size)}", data=_copy(bench, size), domain=_FIRST_DOMAIN)
                # Its key and its token are made now, so that a start is one of a server that has run before.
                running[size] = (server, stack.enter_context(server.run(bench)))
            except (Absent, Failed) as reason:
                for kind in rows.values():
                    if isinstance(reason, Absent):
                        kind[size].absent = str(reason)
                    else:
                        kind[size].failed.append(str(reason))
        _measure(bench, rows, {size: each for size, (_, each) in running.items()})
    first = wire.instance_of(instance_name(0), 2)
    for number in range(bench.rounds):
        for size, (server, _) in running.items():
            note(bench, rows["start"][size], number, partial(_start, bench, server, first))
    few, many = _by(SIZES[0]), _by(SIZES[-1])
    return [
        Table(
            "instances-reads",
            "Reads by the number of stored instances",
            RATE,
            READ_COLUMNS,
            list(rows["reads"].values()),
            [many],
            [Aim(many, few, at_least=0.95)],
            f"JSON, {CONNECTIONS} connections, {FEW} instances from all over the database in turn, and {MANY:,}, whose "
            "replies are more than the processor's caches hold. First reads are of instances that nobody has asked for "
            "since the start, so nothing remembers them.",
            CPU,
        ),
        Table(
            "instances-adds",
            "Adds by the number of stored instances",
            ADDS,
            ADD_COLUMNS,
            list(rows["adds"].values()),
            [many],
            [Aim(many, few, at_least=0.9)],
            f"JSON, {CALLERS} callers, no password.",
            ADD_CPU,
        ),
        Table(
            "instances-start",
            "Start and memory by the number of stored instances",
            START,
            START_COLUMNS,
            list(rows["start"].values()),
            aims=[Aim(many, at_most=1, figure=START), Aim(many, at_most=200, figure=MEMORY)],
        ),
    ]


def _measure(bench: Bench, rows: dict[str, dict[int, Row]], running: dict[int, Running]) -> None:
    adding = {size: Adding(each, {}) for size, each in running.items()}
    reading = {size: _Reading(each, size) for size, each in running.items()}
    for number in range(bench.rounds):
        for size, row in rows["reads"].items():
            if size in reading:
                note(bench, row, number, partial(reading[size].few, bench.seconds))
        for size, row in rows["adds"].items():
            if size in adding:
                note(bench, row, number, partial(adding[size].measure, CALLERS, bench.seconds))
    # After all of those: what is remembered of many takes room in the processor's caches, and the smallest has no many.
    for number in range(bench.rounds):
        for size, row in rows["reads"].items():
            if size in reading and size > FEW:
                note(bench, row, number, partial(reading[size].many, bench.seconds))


class _Reading:
    """Reads instances from all over a database."""

    def __init__(self, running: Running, size: int) -> None:
        self._running = running
        self._size = size
        self._rate = 0.0
        self._passes = 0

    def few(self, seconds: float) -> Figures:
        """Read for about so many seconds the same few instances over and over."""
        values = [custom_domain(number) for number in range(0, self._size, self._size // FEW)]
        made, cpu = self._over_and_over(values, seconds)
        return {RATE: made.rate, CPU: cpu, "p99": made.p99}

    def many(self, seconds: float) -> Figures:
        """Read for about so many seconds many instances over and over; each time others, while there are."""
        step = max(1, self._size // MANY)
        # One on: the first of all are among the few.
        first = (self._passes + 1) % step
        values = [custom_domain(number) for number in range(first, self._size, step)][:MANY]
        figures = {FIRST: self._read(values, len(values)).rate} if self._passes < step else {}
        self._passes += 1
        made, cpu = self._over_and_over(values, seconds)
        return {OF_MANY: made.rate, CPU_OF_MANY: cpu, **figures}

    def _over_and_over(self, values: Sequence[str], seconds: float) -> tuple[varied.Outcome, float]:
        """Read for about so many seconds; return what came of it, and the processor seconds of one read."""
        # What is read for the first time is remembered, and for the second time in the form in which it is asked for.
        self._read(values, len(values))
        once = self._read(values, len(values))
        calls = int(max(len(values), (self._rate or once.rate) * seconds))
        before = self._running.cpu()
        made = self._read(values, calls)
        self._rate = made.rate
        return made, (self._running.cpu() - before) / calls

    def _read(self, values: Sequence[str], calls: int) -> varied.Outcome:
        headers = {**self._running.headers, wire.INSTANCE_HOST: VARIED}
        group = Group("reads", wire.JSON.with_headers(headers), CONNECTIONS, calls, values)
        return varied.run(self._running.addresses["json"], [group])["reads"]


def _copy(bench: Bench, size: int) -> Path:
    """Return a data folder with so many instances that may be written to; the one that is kept stays as it is.

    Raises:
        Absent: it is not there, and is one of those that are made only when they are asked for.
    """
    kept = BUILD / f"instances-{size}"
    if size not in ALWAYS and size not in bench.instances:
        raise Absent(f"make bench INSTANCES={size} makes the database, which takes minutes and gigabytes, and measures")
    if not kept.exists():
        bench.say(f"  making {_by(size)} in {kept.relative_to(ROOT)} ...")
        made = subprocess.run(
            [sys.executable, "-m", "tests.bench.generate", str(size), str(kept)], cwd=ROOT, check=False
        )
        if made.returncode:
            raise Failed(f"the database with {_by(size)} could not be made")
    copy = Path(tempfile.mkdtemp(prefix=f"instances-{size}-", dir=bench.folder)) / "data"
    shutil.copytree(kept, copy)
    copy.chmod(0o700)
    return copy
