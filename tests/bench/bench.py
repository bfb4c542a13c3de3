"""One run of the benchmark: its settings, its folder, and what all cases share."""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zitadel import admin_pb2

from tests.bench import h2load
from tests.bench.contender import Contender, Running, Target
from tests.bench.figures import Column, Figures, Row
from tests.bench.h2load import Result, Shape
from tests.bench.unmeasured import Absent, Failed, Void

# Calls to warm a contender up with, and to learn how many make a round.
WARM_UP: Final = 400


@dataclass(frozen=True, slots=True)
class Bench:
    """How much is measured, and where. A round of a contender takes about `seconds`."""

    folder: Path
    rounds: int
    seconds: float
    reply: admin_pb2.GetMyInstanceResponse
    reply_file: Path
    instances: Sequence[int] = ()
    only: Sequence[str] = ()
    pythons: Sequence[Path] = ()

    def say(self, text: str) -> None:
        """Tell whoever waits what is going on."""
        print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Entrant:
    """A contender under load in one case: its row, and the rate it was last seen at."""

    row: Row
    running: Running
    target: Target
    rate: float = 0.0


# What most cases tell of a row.
RATE: Final = "calls_per_second"
CPU: Final = "cpu_per_call"
COLUMNS: Final = (Column(RATE, "calls/s"), Column(CPU, "CPU µs/call", scale=1e6))


@contextmanager
def entrants(bench: Bench, contenders: Sequence[Contender], protocol: str) -> Iterator[tuple[list[Row], list[Entrant]]]:
    """Start contenders and find them answering; a row of one that is not there says why."""
    rows: list[Row] = []
    found: list[Entrant] = []
    with ExitStack() as stack:
        for contender in contenders:
            if bench.only and not any(word in contender.name for word in bench.only):
                continue
            row = Row(contender.name, contender.notes.get(protocol, ""))
            rows.append(row)
            try:
                running = stack.enter_context(contender.run(bench))
                target = running.target(contender.calls[protocol], bench.reply)
            except Absent as reason:
                row.absent = str(reason)
                bench.say(f"  {contender.name}: not run: {reason}")
                continue
            except Failed as reason:
                row.failed.append(str(reason))
                bench.say(f"  {contender.name}: failed: {reason}")
                continue
            found.append(Entrant(row, running, target))
        yield rows, found


def in_turn(bench: Bench, found: Sequence[Entrant], measure: Callable[[Entrant], Figures]) -> None:
    """Measure each in each round; whoever goes first in one does not in the next."""
    for number in range(bench.rounds):
        turn = number % len(found) if found else 0
        for entrant in [*found[turn:], *found[:turn]]:
            note(bench, entrant.row, number, functools.partial(measure, entrant))


def note(bench: Bench, row: Row, number: int, measure: Callable[[], Figures]) -> bool:
    """Put the figures of a round into a row, or what is missing for them.

    A run that does not count is repeated once; then the row says why.
    """
    for last in (False, True):
        try:
            figures = measure()
        except Absent as reason:
            row.absent = str(reason)
            return False
        except (Void, Failed) as reason:
            bench.say(f"  {row.name}: void: {reason}")
            if last:
                row.failed.append(f"void: {reason}")
        else:
            row.rounds[number] = {**row.rounds.get(number, {}), **figures}
            bench.say(f"  {row.name}: " + ", ".join(f"{key} {value:,.6g}" for key, value in figures.items()))
            return True
    return False


def load(
    entrant: Entrant, shape: Shape, seconds: float, more: Sequence[str] = (), *, of_peak: float = 1
) -> tuple[Result, float]:
    """Load a contender for about so many seconds; return what came of it and the processor seconds that it took.

    Raises:
        Void: not every call got its whole reply.
    """
    if not entrant.rate:
        warm = _counting(entrant, shape, WARM_UP, ())
        entrant.rate = _counting(entrant, shape, _whole(warm.rate * min(0.3, seconds), shape), ()).rate
    calls = _whole(entrant.rate * of_peak * seconds, shape)
    before = entrant.running.cpu()
    result = _counting(entrant, shape, calls, more)
    return result, entrant.running.cpu() - before


def _counting(entrant: Entrant, shape: Shape, calls: int, more: Sequence[str]) -> Result:
    calls = _whole(calls, shape)
    result = h2load.run(entrant.target.address, entrant.target.call, shape, calls, more)
    result.check(calls=calls, reply=entrant.target.reply)
    return result


def _whole(calls: float, shape: Shape) -> int:
    """Round up, so that each connection makes as many calls."""
    return max(1, -(-int(calls) // shape.at_once)) * shape.at_once
