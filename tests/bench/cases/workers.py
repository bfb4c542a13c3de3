"""Two workers against one: `instanced serve --workers`."""

from dataclasses import replace
from functools import partial
from typing import Final

from tests.bench import lineup, ours, varied
from tests.bench.bench import RATE, Bench, Entrant, entrants, in_turn
from tests.bench.figures import Aim, Column, Figures, Row, Table
from tests.bench.ours import Ours
from tests.bench.varied import VARIED, Group, never_sent_before
from tests.bench.wire import Call

WORKERS: Final = (1, 2)
# Enough of them that the kernel deals out some to each.
CONNECTIONS: Final = 32
CALLERS: Final = 128
PER_CPU: Final = "calls_per_cpu_second"
MEMORY: Final = "memory"


def run(bench: Bench) -> list[Table]:
    """Measure reads that are made in full, reads that repeat another, and adds."""
    servers = [
        Ours(f"{lineup.OURS.name}, {_by(count)}", arguments=("--workers", str(count)) if count > 1 else ())
        for count in WORKERS
    ]
    one, two = (server.name for server in servers)
    with entrants(bench, servers, "json") as (rows, found):
        in_turn(bench, found, partial(_reads, bench))
        repeated, repeating = _beside(rows, found)
        in_turn(bench, repeating, partial(_repeated, bench))
        adds, adding = _beside(rows, found)
        in_turn(bench, adding, partial(_adds, bench))
    columns = (
        Column(RATE, "calls/s"),
        Column(PER_CPU, "calls per CPU second"),
        Column(MEMORY, "memory, MiB", scale=2**-20),
    )
    aims = (Aim(two, one, at_least=1.3), Aim(two, one, at_least=0.9, figure=PER_CPU, base=PER_CPU))
    memory = "memory is that of all processes, what they share counted once"
    full = f"JSON, {CONNECTIONS} connections, each call from another origin, so that it is made in full; {memory}."
    same = (
        f"JSON, {CONNECTIONS} connections. A call costs a server less than the load generator here, which has one core "
        "for itself where one worker serves, and none where two do."
    )
    return [
        Table("workers", "Workers: reads", RATE, columns, rows, [two], aims, full),
        Table("workers-repeated", "Workers: reads that repeat another", RATE, columns, repeated, [two], (), same),
        Table("workers-adds", "Workers: adds", RATE, columns, adds, [two], (), f"JSON, {CALLERS} callers; {memory}."),
    ]


def _beside(rows: list[Row], found: list[Entrant]) -> tuple[list[Row], list[Entrant]]:
    """Return rows of another table for the same servers, and who fills them."""
    others = [Row(row.name, row.note, row.absent) for row in rows]
    entered = [Entrant(row, each.running, each.target) for row in others for each in found if each.row.name == row.name]
    return others, entered


def _by(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def _reads(bench: Bench, entrant: Entrant) -> Figures:
    call = entrant.target.call.with_headers({"origin": VARIED})
    return _load(bench, entrant, Group("calls", call, CONNECTIONS, reply=entrant.target.reply))


def _repeated(bench: Bench, entrant: Entrant) -> Figures:
    return _load(bench, entrant, Group("calls", entrant.target.call, CONNECTIONS, reply=entrant.target.reply))


def _adds(bench: Bench, entrant: Entrant) -> Figures:
    headers = {"authorization": entrant.running.headers["authorization"], "content-type": "application/json"}
    return _load(bench, entrant, Group("calls", Call("json", ours.ADD_PATH, headers, ours.add_body({})), CALLERS))


def _load(bench: Bench, entrant: Entrant, group: Group) -> Figures:
    address = entrant.target.address

    def load(calls: int) -> varied.Outcome:
        values = never_sent_before(calls) if VARIED in group.call.headers.values() else ()
        return varied.run(address, [replace(group, calls=calls, values=values)])["calls"]

    if not entrant.rate:
        entrant.rate = load(500).rate
    calls = max(500, int(entrant.rate * bench.seconds))
    before = entrant.running.cpu()
    made = load(calls)
    cpu = entrant.running.cpu() - before
    entrant.rate = made.rate
    return {RATE: made.rate, PER_CPU: calls / cpu, MEMORY: entrant.running.proportional()}
