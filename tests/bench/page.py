"""docs/performance.md: what a full run writes anew there, between its marks, and the charts beside it."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.bench import chart, lineup, report
from tests.bench.figures import Table
from tests.bench.places import ROOT

PAGE: Final = ROOT / "docs/performance.md"
CHARTS: Final = ROOT / "docs/performance"
# Cases that are drawn.
DRAWN: Final = ("grpc", "grpc-web", "json", "connect")


def write(tables: Sequence[Table], machine: Mapping[str, str], how: str) -> None:
    """Write what was measured into the page. `how` says how long and how often."""
    limits = frozenset(each.name for each in lineup.LIMITS)
    CHARTS.mkdir(exist_ok=True)
    for table in tables:
        if table.case in DRAWN:
            chart.draw(table, CHARTS / f"{table.case}.svg", limits)
    measured = "\n".join(_with_chart(table) for table in tables)
    parts = {
        "aims": report.aims(tables),
        "machine": "\n".join(f"- {name}: {value}" for name, value in machine.items()) + f"\n- measured: {how}",
        "tables": measured.rstrip("\n"),
    }
    PAGE.write_text(report.replaced(PAGE.read_text(), parts))


def _with_chart(table: Table) -> str:
    made = report.markdown(table, with_aims=False)
    if table.case not in DRAWN:
        return made
    heading, _, rest = made.partition("\n")
    return f"{heading}\n\n![{table.title}](performance/{table.case}.svg)\n{rest}"
