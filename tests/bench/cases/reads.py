"""Reads beside adds, and reads with a thousand tokens: loads whose requests differ."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from tests.bench import lineup, ours, varied
from tests.bench.bench import COLUMNS, CPU, RATE, Bench, Entrant, entrants, note
from tests.bench.figures import Aim, Column, Figures, Row, Table
from tests.bench.varied import VARIED, Group, never_sent_before
from tests.bench.wire import Call

CONNECTIONS: Final = 16
# Of a hundred calls, 95 read and 5 add.
READS_FOR_AN_ADD: Final = 19
ADDERS: Final = 8
TOKENS: Final = 1_000
ADDS: Final = "adds_per_second"

_TIMES: Final = (
    Column("p50", "p50, ms", 2, scale=1e3),
    Column("p99", "p99, ms", 2, scale=1e3),
    Column("p999", "p99.9, ms", 2, scale=1e3),
)


def mixed(bench: Bench) -> list[Table]:
    """Measure reads alone, and while one add is made for every 19 of them: such as repeat another, and in full."""
    tables = []
    with entrants(bench, [lineup.OURS], "json") as (rows, found):
        for in_full in (False, True):
            alone, beside = Row("reads alone"), Row("reads while adds run")
            rates: dict[str, float] = {}
            for entrant in found:
                for number in range(bench.rounds):
                    for row in (alone, beside):
                        adding = row is beside
                        measure = partial(_reads, bench, entrant, rates, adding=adding, in_full=in_full)
                        note(bench, row, number, measure)
            tables.append(_mixed_table(_or_why(rows, [alone, beside]), in_full=in_full))
    return tables


def _mixed_table(rows: list[Row], *, in_full: bool) -> Table:
    alone, beside = (row.name for row in rows)
    aims = (Aim(beside, alone, at_least=0.8), Aim(beside, beside, at_most=10, figure="p99", base="p50"))
    text = f"JSON. {CONNECTIONS} connections read; beside them {ADDERS} add once for every {READS_FOR_AN_ADD} reads."
    columns = (Column(RATE, "reads/s"), Column(ADDS, "adds/s"), *_TIMES)
    if in_full:
        text += " Each read comes from another origin, so that it is made in full."
        return Table("mixed-full", "95% reads in full, 5% adds", RATE, columns, rows, [beside], aims, text)
    text += " A read repeats another and costs a fraction of an add, as all its work is looking up what is known."
    return Table("mixed", "95% reads, 5% adds", RATE, columns, rows, [beside], aims, text)


def _reads(bench: Bench, entrant: Entrant, rates: dict[str, float], *, adding: bool, in_full: bool) -> Figures:
    call = entrant.target.call
    reading = call.with_headers({"origin": VARIED}) if in_full else call

    def groups(calls: int) -> list[Group]:
        values = never_sent_before(calls) if in_full else ()
        made = [Group("reads", reading, CONNECTIONS, calls, values, entrant.target.reply)]
        if adding:
            headers = {"authorization": call.headers["authorization"], "content-type": "application/json"}
            add = Call("json", ours.ADD_PATH, headers, ours.add_body({}))
            made.append(Group("adds", add, ADDERS, every=READS_FOR_AN_ADD))
        return made

    kind = "beside" if adding else "alone"
    if kind not in rates:
        rates[kind] = varied.run(entrant.target.address, groups(1_000))["reads"].rate
    outcomes = varied.run(entrant.target.address, groups(max(1_000, int(rates[kind] * bench.seconds))))
    reads = outcomes["reads"]
    rates[kind] = reads.rate
    figures = {RATE: reads.rate, "p50": reads.p50, "p99": reads.p99, "p999": reads.p999}
    return {**figures, ADDS: outcomes["adds"].rate} if adding else figures


def tokens(bench: Bench) -> list[Table]:
    """Measure reads with one token, with a thousand that take turns, and such as repeat none; these also with peers."""
    one, many = Row("one token"), Row(f"{TOKENS:,} tokens")
    agent, origin = Row("one token, each call by another user-agent"), Row("one token, each call from another origin")
    with entrants(bench, [lineup.OURS, lineup.FASTAPI, lineup.CONNECTRPC, lineup.GRPC_GATEWAY], "json") as (
        started,
        found,
    ):
        turns: list[tuple[Row, Callable[[], Figures]]] = []
        for entrant in found:
            varying = partial(read_varying, bench, entrant, {})
            if entrant.running.data is None:
                turns.append((entrant.row, partial(varying, "origin", None)))
                continue
            bearers = [f"Bearer {token}" for token in ours.tokens(entrant.running.data, TOKENS)]
            turns += [
                (one, partial(varying, "authorization", bearers[:1])),
                (many, partial(varying, "authorization", bearers)),
                (agent, partial(varying, "user-agent", None)),
                (origin, partial(varying, "origin", None)),
            ]
        for number in range(bench.rounds):
            for row, measure in turns:
                note(bench, row, number, measure)
    text = (
        f"JSON, {CONNECTIONS} connections; all tokens have been seen before. This server repeats its answer to a call "
        "that it has seen, as in all other tables. The user-agent decides nothing, so calls that differ in it alone "
        "are repeated too; the origin does, and such calls are made in full. Peers make all calls in full."
    )
    ours_alone = [row for row in started if row.name == lineup.OURS.name]
    rows = _or_why(ours_alone, [one, many, agent, origin]) + [row for row in started if row not in ours_alone]
    columns = (*COLUMNS, *_TIMES)
    return [Table("tokens", "Reads that differ from each other", RATE, columns, rows, [origin.name], text=text)]


def read_varying(
    bench: Bench, entrant: Entrant, rates: dict[str, float], header: str, taking_turns: list[str] | None
) -> Figures:
    """Read with values of a header that take turns; without any given, with another one in each call.

    `rates` is the entrant's, and keeps between rounds how fast it was.
    """
    call = entrant.target.call
    call = replace(call, headers={**call.headers, header: VARIED})
    group = Group("reads", call, CONNECTIONS, reply=entrant.target.reply)
    kind = f"{header} {len(taking_turns or ())}"

    def read(calls: int) -> varied.Outcome:
        values = never_sent_before(calls) if taking_turns is None else taking_turns
        return varied.run(entrant.target.address, [replace(group, calls=calls, values=values)])["reads"]

    # Tokens are verified once, before anything is measured.
    warm = read(max(1_000, len(taking_turns or ())))
    calls = max(1_000, int(rates.get(kind, warm.rate) * bench.seconds))
    before = entrant.running.cpu()
    reads = read(calls)
    cpu = (entrant.running.cpu() - before) / calls
    rates[kind] = reads.rate
    return {RATE: reads.rate, CPU: cpu, "p50": reads.p50, "p99": reads.p99, "p999": reads.p999}


def _or_why(started: list[Row], rows: list[Row]) -> list[Row]:
    """Return the rows; where the server did not start, they say so."""
    for row in rows:
        for each in started:
            row.failed += each.failed
            row.absent = row.absent or each.absent
    return rows
