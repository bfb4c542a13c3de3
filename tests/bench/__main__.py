"""`make bench`: this server beside what else one would take, the same load on each.

`make bench CASE=json` runs one case; the tables say the rest. docs/performance.md tells how to read them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from zitadel import admin_pb2

from tests.bench import h2load, lineup, machine, page, report, wire
from tests.bench.bench import Bench
from tests.bench.cases import adds, growth, latency, pythons, reads, throughput, workers
from tests.bench.figures import Table
from tests.bench.places import BUILD, ROOT
from tests.bench.unmeasured import Absent, Failed

Case = Callable[[Bench], list[Table]]

_OTHERS: Final[Mapping[str, Case]] = {
    "adds": adds.without_password,
    "adds-password": adds.with_password,
    "mixed": reads.mixed,
    "tokens": reads.tokens,
    "start": growth.start,
    "instances": growth.growth,
    "workers": workers.run,
    "pythons": pythons.run,
}
CASES: Final[Mapping[str, Case]] = {
    **{protocol: partial(throughput.run, protocol=protocol) for protocol in lineup.SHAPES},
    "latency": latency.run,
    **_OTHERS,
}
# The same, with every contender of a protocol started once.
ALL: Final[Mapping[str, Case]] = {
    **{
        protocol: partial(throughput.run, protocol=protocol, and_latency=protocol in latency.PROTOCOLS)
        for protocol in lineup.SHAPES
    },
    **_OTHERS,
}


def learn_reply(folder: Path) -> tuple[admin_pb2.GetMyInstanceResponse, Path]:
    """Take the reply that all contenders are to give from ours, and leave it in a file too."""
    expected = wire.instance_of("Acme", 2)
    scratch = Bench(folder, 0, 0, expected, folder / "reply.binpb")
    with lineup.OURS.run(scratch) as running:
        address, call = running.addresses["connect"], wire.PROTO.with_headers(running.headers)
        reply = wire.ask(address, call)
    scratch.reply_file.write_bytes(reply)
    return admin_pb2.GetMyInstanceResponse.FromString(reply), scratch.reply_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. The exit status tells of errors and of runs that do not count, never of a figure."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--case", action="append", choices=list(CASES), help="one case; may be given again")
    parser.add_argument("--only", action="append", default=[], help="contenders whose name has this in it alone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long a round of a contender takes")
    parser.add_argument("--short", action="store_true", help="one short round, to see that all of it runs")
    parser.add_argument("--instances", type=int, action="append", default=[], help="databases of more sizes")
    parser.add_argument(
        "--python", type=Path, action="append", default=[], help="another Python to measure this server by"
    )
    given = parser.parse_args(arguments)
    if given.short:
        given.rounds, given.seconds = 1, 0.3
    if reason := h2load.missing():
        sys.exit(reason)
    started = time.monotonic()
    described = machine.describe()
    tables: list[Table] = []
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD) as folder:
        try:
            reply, reply_file = learn_reply(Path(folder))
        except (Absent, Failed) as error:
            sys.exit(f"instanced cannot be run: {error}")
        bench = Bench(
            folder=Path(folder),
            rounds=given.rounds,
            seconds=given.seconds,
            reply=reply,
            reply_file=reply_file,
            instances=given.instances,
            only=given.only,
            pythons=given.python,
        )
        cases = {name: CASES[name] for name in given.case} if given.case else ALL
        for name, case in cases.items():
            bench.say(f"{name}:")
            made = case(bench)
            tables += made
            print(*(report.markdown(table) for table in made), sep="\n", flush=True)
    seconds = time.monotonic() - started
    (BUILD / "results.json").write_text(json.dumps(report.as_json(tables, described), indent=1) + "\n")
    if not (given.case or given.only or given.short):
        how = f"{datetime.now(UTC):%Y-%m-%d}, {given.rounds} rounds of {given.seconds:g} s, {seconds / 60:.0f} minutes"
        page.write(tables, described, how)
    print(f"{seconds:.0f} s; all of it is in {(BUILD / 'results.json').relative_to(ROOT)}", file=sys.stderr)
    problems = [problem for table in tables for problem in table.problems(nothing_missing="CI" in os.environ)]
    print(*problems, sep="\n", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
