"""Two workers against one: `instanced serve --workers`."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from tests.bench import lineup, ours, varied
from tests.bench.bench import RATE, Bench, Entrant, entrants, in_turn
from tests.bench.cases.growth import MEMORY, MIB
from tests.bench.figures import Aim, Column, Figures, Row, Table
from tests.bench.ours import Ours
from tests.bench.unmeasured import Failed
from tests.bench.varied import VARIED, Group, never_sent_before
from tests.bench.wire import Call

# Enough of them that the kernel deals out some to each.
CONNECTIONS: Final = 32
CALLERS: Final = 128
ONE: Final = f"{lineup.OURS.name}, 1 worker"
TWO: Final = f"{lineup.OURS.name}, 2 workers"
# What two processes that share nothing come to on this machine.
APART: Final = f"{lineup.OURS.name}, 2 servers of 1 worker"
PER_CPU: Final = "calls_per_cpu_second"


def run(bench: Bench) -> list[Table]:
    """Measure reads that are made in full, reads that repeat another, and adds."""
    servers = [Ours(ONE), Ours(TWO, arguments=("--workers", "2")), Ours(APART)]
    with entrants(bench, servers, "json") as (rows, found):
        first = [each for each in found if each.row.name == ONE]

        def reads(entrant: Entrant) -> Figures:
            call = entrant.target.call.with_headers({"origin": VARIED})
            group = Group("calls", call, CONNECTIONS, reply=entrant.target.reply)
            if entrant.row.name != APART:
                return _load(bench, group, [entrant])
            if not first:
                raise Failed(f"it is loaded together with {ONE}, which is not there")
            return _load(bench, group, [entrant, *first])

        def repeated(entrant: Entrant) -> Figures:
            return _load(bench, Group("calls", entrant.target.call, CONNECTIONS, reply=entrant.target.reply), [entrant])

        def adds(entrant: Entrant) -> Figures:
            headers = {"authorization": entrant.running.headers["authorization"], "content-type": "application/json"}
            call = Call("json", ours.ADD_PATH, headers, ours.add_body({}))
            return _load(bench, Group("calls", call, CALLERS), [entrant])

        in_turn(bench, found, reads)
        repeated_rows, repeating = _beside(rows, found)
        in_turn(bench, repeating, repeated)
        adds_rows, adding = _beside(rows, found)
        in_turn(bench, adding, adds)
    columns = (
        Column(RATE, "calls/s"),
        Column(PER_CPU, "calls per CPU second"),
        Column(MEMORY, "memory, MiB", scale=MIB),
    )
    aims = (Aim(TWO, ONE, at_least=1.3), Aim(TWO, ONE, at_least=0.9, figure=PER_CPU, base=PER_CPU))
    memory = "memory is that of all processes, what they share counted once"
    full = (
        f"JSON, {CONNECTIONS} connections, each call from another origin, so that it is made in full; {memory}. "
        "Two servers that share nothing, each with half of the calls at the same time, are what the machine allows."
    )
    same = (
        f"JSON, {CONNECTIONS} connections. A call costs a server less than the load generator here, which has one core "
        "for itself where one worker serves, and none where two do."
    )
    return [
        Table("workers", "Workers: reads", RATE, columns, rows, [TWO, APART], aims, full),
        Table("workers-repeated", "Workers: reads that repeat another", RATE, columns, repeated_rows, [TWO], (), same),
        Table(
            "workers-adds", "Workers: adds", RATE, columns, adds_rows, [TWO], (), f"JSON, {CALLERS} callers; {memory}."
        ),
    ]


def _beside(rows: list[Row], found: list[Entrant]) -> tuple[list[Row], list[Entrant]]:
    """Return rows of another table for one worker and two, and who fills them."""
    others = [Row(row.name, row.note, row.absent) for row in rows if row.name != APART]
    entered = [Entrant(row, each.running, each.target) for row in others for each in found if each.row.name == row.name]
    return others, entered


def _load(bench: Bench, group: Group, servers: list[Entrant]) -> Figures:
    """Load servers at the same time, each with its share of the connections and calls; the rate is that of the first.

    Raises:
        Void: a call was not answered, or not as it should have been.
    """
    entrant, share = servers[0], len(servers)

    def load(calls: int) -> float:
        each = replace(group, calls=calls // share, connections=group.connections // share)

        def one(server: Entrant) -> varied.Outcome:
            values = never_sent_before(each.calls) if VARIED in group.call.headers.values() else ()
            # Each server has keys, and so tokens, of its own.
            call = group.call.with_headers({"authorization": server.running.headers["authorization"]})
            return varied.run(server.target.address, [replace(each, call=call, values=values)])["calls"]

        with ThreadPoolExecutor(share) as pool:
            made = list(pool.map(one, servers))
        return sum(outcome.calls for outcome in made) / max(outcome.seconds for outcome in made)

    if not entrant.rate:
        entrant.rate = load(500)
    calls = max(500, int(entrant.rate * bench.seconds)) // share * share
    before = sum(server.running.cpu() for server in servers)
    entrant.rate = load(calls)
    cpu = sum(server.running.cpu() for server in servers) - before
    memory = sum(server.running.proportional() for server in servers)
    return {RATE: entrant.rate, PER_CPU: calls / cpu, MEMORY: memory}
