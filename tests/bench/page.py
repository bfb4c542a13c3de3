"""docs/performance.md: what a full run writes anew there, between its marks, and the charts beside it."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tests.bench import chart, lineup, report
from tests.bench.contender import ROOT
from tests.bench.figures import Table

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
    PAGE.write_text(replaced(PAGE.read_text(), parts))


def replaced(text: str, parts: Mapping[str, str]) -> str:
    """Return the text with other parts between its marks, `<!-- bench: NAME -->` and `<!-- /bench -->`.

    Raises:
        ValueError: a part has no place.
    """
    for name, part in parts.items():
        place = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- /bench -->)", re.DOTALL)
        text, found = place.subn(lambda match, part=part: f"{match[1]}\n{part}\n\n{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"the page has no place for {name}")
    return text


def _with_chart(table: Table) -> str:
    made = report.markdown(table, with_aims=False)
    if table.case not in DRAWN:
        return made
    heading, _, rest = made.partition("\n")
    return f"{heading}\n\n![{table.title}](performance/{table.case}.svg)\n{rest}"
