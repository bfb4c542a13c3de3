"""This server by the Python that it was set up with, and by others that `make bench PYTHONS=…` names."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import lineup
from tests.bench.bench import CPU, RATE, Bench, Entrant, load, note
from tests.bench.cases.adds import CPU as ADD_CPU
from tests.bench.cases.adds import MOST as CALLERS
from tests.bench.cases.adds import RATE as ADDS
from tests.bench.cases.adds import Adding
from tests.bench.cases.reads import CONNECTIONS, read_from_other_origins
from tests.bench.figures import Column, Figures, Row, Table
from tests.bench.ours import Ours
from tests.bench.places import BUILD, INSTANCED, ROOT
from tests.bench.unmeasured import Absent, Failed

IN_FULL: Final = "calls_in_full_per_second"
CPU_IN_FULL: Final = "cpu_per_call_in_full"
MEMORY: Final = "memory"
OTHERS: Final = "others"
COLUMNS: Final = (
    Column(RATE, "reads/s"),
    Column(CPU, "CPU µs/read", scale=1e6),
    Column(IN_FULL, "reads/s in full"),
    Column(CPU_IN_FULL, "CPU µs/read", scale=1e6),
    Column(ADDS, "adds/s"),
    Column(ADD_CPU, "CPU µs/add", scale=1e6),
    Column(MEMORY, "memory, MiB", scale=2**-20),
)
_ABOUT: Final = "import platform; print(platform.python_version(), platform.python_compiler(), sep=', ')"
_SETUP_WITHIN: Final = 600


def run(bench: Bench) -> list[Table]:
    """Measure reads that repeat another, reads that are made in full, and adds."""
    rows: list[Row] = []
    with ExitStack() as stack:
        found: list[tuple[Row, list[Callable[[], Figures]]]] = []
        for python in (INSTANCED.with_name("python"), *bench.pythons):
            row = Row(str(python))
            rows.append(row)
            try:
                # The page is for readers who have not the paths of this machine.
                row.name = _about(python)
                command = INSTANCED if python.parent == INSTANCED.parent else _set_up(bench, python)
                running = stack.enter_context(Ours(f"{lineup.OURS.name} by {row.name}", command=command).run(bench))
                entrant = Entrant(row, running, running.target(lineup.OURS.calls["json"], bench.reply))
                adding = partial(Adding(running, {}).measure, CALLERS, bench.seconds)
                found.append((row, [partial(_repeated, bench, entrant), partial(_in_full, bench, entrant, {}), adding]))
            except Absent as reason:
                row.absent = str(reason)
            except Failed as reason:
                row.failed.append(str(reason))
        for number in range(bench.rounds):
            turn = number % len(found) if found else 0
            for row, measures in (*found[turn:], *found[:turn]):
                for measure in measures:
                    note(bench, row, number, measure)
    if not bench.pythons:
        rows.append(Row(OTHERS, absent='make bench PYTHONS="python3.14 …" measures them too', optional=True))
    text = (
        f"JSON: reads over {CONNECTIONS} connections that repeat another, the same from another origin each so that "
        f"they are made in full, adds by {CALLERS} callers; memory is what is resident meanwhile."
    )
    ours = [rows[0].name]
    return [Table("pythons", "By version and build of Python", RATE, COLUMNS, rows, ours, text=text)]


def _about(python: Path) -> str:
    """Return version and compiler of a Python.

    Raises:
        Absent: there is none.
    """
    try:
        said = subprocess.run([python, "-c", _ABOUT], capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        raise Absent(f"it cannot be run: {error.strerror}") from None
    if said.returncode:
        raise Absent(f"it cannot be run: {said.stderr.strip()[-200:]}")
    return said.stdout.strip()


def _set_up(bench: Bench, python: Path) -> Path:
    """Return this server's command in an environment of another Python, which is kept.

    Raises:
        Failed: the environment cannot be made.
    """
    path = shutil.which(python) or str(python)
    folder = BUILD / f"python-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    bench.say(f"  setting up {folder.relative_to(ROOT)} ...")
    made = subprocess.run(
        ["make", "setup", f"VENV={folder.relative_to(ROOT)}", f"PYTHON={path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_SETUP_WITHIN,
        check=False,
    )
    if made.returncode:
        raise Failed(f"make setup failed: {made.stderr.strip()[-500:]}")
    return folder / "bin/instanced"


def _repeated(bench: Bench, entrant: Entrant) -> Figures:
    result, cpu = load(entrant, lineup.SHAPES["json"], bench.seconds)
    return {RATE: result.rate, CPU: cpu / result.calls, MEMORY: entrant.running.resident()}


def _in_full(bench: Bench, entrant: Entrant, rates: dict[str, float]) -> Figures:
    figures = read_from_other_origins(bench, entrant, rates)
    return {IN_FULL: figures[RATE], CPU_IN_FULL: figures[CPU]}
