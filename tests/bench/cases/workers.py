"""Two workers against one: `instanced serve --workers`."""

from functools import partial
from typing import Final

from tests.bench import lineup, ours, varied
from tests.bench.bench import RATE, Bench, Entrant, entrants, in_turn
from tests.bench.figures import Aim, Column, Figures, Row, Table
from tests.bench.ours import Ours
from tests.bench.varied import Group
from tests.bench.wire import Call

WORKERS: Final = (1, 2)
# Enough of them that the kernel deals out some to each.
CONNECTIONS: Final = 32
CALLERS: Final = 128
PER_CPU: Final = "calls_per_cpu_second"
MEMORY: Final = "memory"


def run(bench: Bench) -> list[Table]:
    """Measure reads and adds."""
    servers = [
        Ours(f"{lineup.OURS.name}, {_by(count)}", arguments=("--workers", str(count)) if count > 1 else ())
        for count in WORKERS
    ]
    one, two = (server.name for server in servers)
    with entrants(bench, servers, "json") as (rows, found):
        in_turn(bench, found, partial(_reads, bench))
        adds = [Row(row.name, row.note, row.absent) for row in rows]
        adding = [
            Entrant(row, each.running, each.target) for row in adds for each in found if each.row.name == row.name
        ]
        in_turn(bench, adding, partial(_adds, bench))
    columns = (
        Column(RATE, "calls/s"),
        Column(PER_CPU, "calls per CPU second"),
        Column(MEMORY, "memory, MiB", scale=2**-20),
    )
    aims = (Aim(two, one, at_least=1.3), Aim(two, one, at_least=0.9, figure=PER_CPU, base=PER_CPU))
    memory = "memory is that of all processes, what they share counted once"
    return [
        Table(
            "workers", "Workers: reads", RATE, columns, rows, [two], aims, f"JSON, {CONNECTIONS} connections; {memory}."
        ),
        Table("workers-adds", "Workers: adds", RATE, columns, adds, [two], (), f"JSON, {CALLERS} callers; {memory}."),
    ]


def _by(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def _reads(bench: Bench, entrant: Entrant) -> Figures:
    return _load(bench, entrant, Group("calls", entrant.target.call, CONNECTIONS, reply=entrant.target.reply))


def _adds(bench: Bench, entrant: Entrant) -> Figures:
    headers = {"authorization": entrant.running.headers["authorization"], "content-type": "application/json"}
    return _load(bench, entrant, Group("calls", Call("json", ours.ADD_PATH, headers, ours.add_body({})), CALLERS))


def _load(bench: Bench, entrant: Entrant, group: Group) -> Figures:
    address = entrant.target.address
    if not entrant.rate:
        entrant.rate = varied.run(address, [group.of(500)])["calls"].rate
    calls = max(500, int(entrant.rate * bench.seconds))
    before = entrant.running.cpu()
    made = varied.run(address, [group.of(calls)])["calls"]
    cpu = entrant.running.cpu() - before
    entrant.rate = made.rate
    return {RATE: made.rate, PER_CPU: calls / cpu, MEMORY: entrant.running.proportional()}
