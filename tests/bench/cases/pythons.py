"""This server by the Python that it was set up with, and by others that `make bench PYTHONS=…` names."""

import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import go_programs, lineup
from tests.bench.bench import CPU, RATE, Bench, Entrant, entrants, in_turn, load
from tests.bench.cases.adds import CPU as ADD_CPU
from tests.bench.cases.adds import MOST as CALLERS
from tests.bench.cases.adds import RATE as ADDS
from tests.bench.cases.adds import Adding
from tests.bench.cases.growth import MEMORY, MIB
from tests.bench.cases.reads import CONNECTIONS, read_varying
from tests.bench.contender import Place, Running
from tests.bench.figures import Column, Figures, Row, Table
from tests.bench.ours import Ours
from tests.bench.places import BUILD, INSTANCED, ROOT
from tests.bench.unmeasured import Absent
from tests.bench.wire import Call

IN_FULL: Final = "calls_in_full_per_second"
CPU_IN_FULL: Final = "cpu_per_call_in_full"
OTHERS: Final = "others"
COLUMNS: Final = (
    Column(RATE, "reads/s"),
    Column(CPU, "CPU µs/read", scale=1e6),
    Column(IN_FULL, "reads/s in full"),
    Column(CPU_IN_FULL, "CPU µs/read", scale=1e6),
    Column(ADDS, "adds/s"),
    Column(ADD_CPU, "CPU µs/add", scale=1e6),
    Column(MEMORY, "memory, MiB", scale=MIB),
)
_ABOUT: Final = "import platform; print(platform.python_version(), platform.python_compiler(), sep=', ')"
_OWN: Final = INSTANCED.with_name("python")


@dataclass(frozen=True, slots=True)
class ByPython:
    """This server by a Python: `make` sets up an environment of its own, which is kept."""

    python: Path
    notes: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, Call] = field(default_factory=lambda: lineup.OURS.calls)

    @property
    def name(self) -> str:
        """Return version and compiler: whoever reads the page has not the paths of this machine."""
        try:
            return _about(self.python)
        except Absent:
            return str(self.python)

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start it and stop it at the end; it answers."""
        name = f"{lineup.OURS.name} by {_about(self.python)}"
        with Ours(name, command=_set_up(self.python)).run(place) as running:
            yield running


def run(bench: Bench) -> list[Table]:
    """Measure reads that repeat another, reads that are made in full, and adds."""
    servers = [ByPython(python) for python in (_OWN, *bench.pythons)]
    with entrants(bench, servers, "json") as (rows, found):
        rates: dict[str, dict[str, float]] = {each.target.address: {} for each in found}
        adding = {each.target.address: Adding(each.running, {}) for each in found}

        def measure(entrant: Entrant) -> Figures:
            at = entrant.target.address
            same, cpu = load(entrant, lineup.SHAPES["json"], bench.seconds)
            memory = entrant.running.resident()
            full = read_varying(bench, entrant, rates[at], "origin", None)
            return {
                RATE: same.rate,
                CPU: cpu / same.calls,
                MEMORY: memory,
                IN_FULL: full[RATE],
                CPU_IN_FULL: full[CPU],
                **adding[at].measure(CALLERS, bench.seconds),
            }

        in_turn(bench, found, measure)
    if not bench.pythons:
        rows.append(Row(OTHERS, absent='make bench PYTHONS="python3.14 …" measures them too', optional=True))
    text = (
        f"JSON: reads over {CONNECTIONS} connections that repeat another, the same from another origin each so that "
        f"they are made in full, adds by {CALLERS} callers; memory is what is resident meanwhile."
    )
    ours = [servers[0].name]
    return [Table("pythons", "By version and build of Python", RATE, COLUMNS, rows, ours, text=text)]


@functools.cache
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


def _set_up(python: Path) -> Path:
    """Return this server's command in the environment of a Python.

    Raises:
        Failed: the environment cannot be made.
    """
    if python == _OWN:
        return INSTANCED
    path = shutil.which(python) or str(python)
    folder = BUILD / f"python-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    go_programs.run(["make", "setup", f"VENV={folder.relative_to(ROOT)}", f"PYTHON={path}"], ROOT)
    return folder / "bin/instanced"
