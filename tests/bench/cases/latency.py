"""How long calls take at half of what each contender can do at most."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import lineup
from tests.bench.bench import Bench, Entrant, entrants, in_turn, load
from tests.bench.figures import Column, Figures, Row, Table
from tests.bench.h2load import Shape, read_log
from tests.bench.unmeasured import Void

PROTOCOLS: Final = ("grpc", "grpc-web", "json")
COLUMNS: Final = (
    Column("p99", "p99, ms", 2, scale=1e3),
    Column("p50", "p50, ms", 2, scale=1e3),
    Column("p999", "p99.9, ms", 2, scale=1e3),
    Column("calls_per_second", "calls/s"),
)
# At all of a contender's calls per second there would be a queue, and it alone would be measured.
OF_PEAK: Final = 0.5


def run(bench: Bench) -> list[Table]:
    """Measure each protocol."""
    return [_alone(bench, protocol) for protocol in PROTOCOLS]


def _alone(bench: Bench, protocol: str) -> Table:
    contenders = [each for each in lineup.answering(protocol) if each not in lineup.LIMITS]
    with entrants(bench, contenders, protocol) as (rows, found):
        return table(bench, protocol, rows, found)


def table(bench: Bench, protocol: str, rows: Sequence[Row], found: Sequence[Entrant]) -> Table:
    """Measure contenders that run; at half of the rate that they were last seen at, if they were."""
    limits = {each.name for each in lineup.LIMITS}
    own = {row.name: Row(row.name, absent=row.absent) for row in rows if row.name not in limits}
    paced = [replace(each, row=own[each.row.name]) for each in found if each.row.name in own]
    in_turn(bench, paced, partial(_measure, bench, lineup.SHAPES[protocol]))
    return Table(
        case=f"latency-{protocol}",
        title=f"{lineup.TITLES[protocol]}: latency at half of the peak load",
        key="p99",
        columns=COLUMNS,
        rows=list(own.values()),
        text="Each contender gets half of the calls per second that it was just seen to answer.",
    )


def _measure(bench: Bench, shape: Shape, entrant: Entrant) -> Figures:
    if not entrant.rate:
        # What is found out on the way is not yet what is measured.
        result, _ = load(entrant, shape, bench.seconds)
        entrant.rate = result.rate
    rate = entrant.rate * OF_PEAK / shape.connections
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        log = Path(folder) / "requests.log"
        result, _ = load(
            entrant, shape, bench.seconds, ("--rps", f"{rate:.3f}", "--log-file", str(log)), of_peak=OF_PEAK
        )
        times = read_log(log.read_text())
    if len(times) != result.calls:
        raise Void(f"{len(times)} of {result.calls} calls are in the log")
    return {**percentiles(times), "calls_per_second": result.rate}


def percentiles(times: Sequence[float]) -> Figures:
    """Return what half of the calls, 99 and 99.9 of 100 stay under."""
    ordered = sorted(times)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999)}
