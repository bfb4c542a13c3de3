"""What is told of the figures: tables in Markdown, which read well in a terminal too, and the same as JSON."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench.figures import Aim, Table


def markdown(table: Table, *, with_aims: bool = True) -> str:
    """Return a case's table and, below it, what it should have reached."""
    ours = [row for row in (table.row(name) for name in table.ours) if row is not None and row.rounds]
    main = next(column for column in table.columns if column.key == table.key)
    others = [column for column in table.columns if column.key != table.key]
    header = ["", main.title, "least to most", *(column.title for column in others)]
    header += [f"{row.name} ÷ it" for row in ours]
    lines = []
    for row in table.rows:
        middle = row.median(table.key)
        if middle is None:
            reason = row.absent or (row.failed[-1] if row.failed else "not measured")
            lines.append([row.name, f"not run: {reason}", *([""] * (len(header) - 2))])
            continue
        values = row.values(table.key)
        cells = [row.name, main.shown(middle), f"{main.shown(min(values))} to {main.shown(max(values))}"]
        for column in others:
            figure = row.median(column.key)
            cells.append("" if figure is None else column.shown(figure))
        for mine in ours:
            ratio = None if mine is row else table.ratio(mine, row)
            cells.append("" if ratio is None else f"{ratio:.2f}")
        lines.append(cells)
    parts = [f"### {table.title}", table.text, _grid(header, lines)]
    notes = [f"- {row.name}: {row.note}" for row in table.rows if row.note]
    notes += [f"- {row.name}: {reason}" for row in table.rows if row.rounds for reason in row.failed]
    parts.append("\n".join(notes))
    if table.aims and with_aims:
        parts.append(aims([table]))
    return "\n\n".join(part for part in parts if part) + "\n"


def aims(tables: Iterable[Table]) -> str:
    """Return the table of what should be reached."""
    rows = []
    for table, verdict in ((each, verdict) for each in tables for verdict in each.verdicts()):
        aim = verdict.aim
        wanted = f"≤ {aim.at_most:g}" if aim.at_most is not None else f"≥ {aim.at_least:g}"
        ratio = "" if verdict.ratio is None else f"{verdict.ratio:.2f}"
        said = {True: "met", False: "short", None: "not run"}[verdict.met]
        by_cost = "" if verdict.by_cost is None else f"{verdict.by_cost:.2f}"
        rows.append([table.title, _what(table, aim), wanted, ratio, said, by_cost])
    header = ["case", "what", "aim", "measured", "", "by CPU per call"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return _grid(header, rows, left=2)


def _what(table: Table, aim: Aim) -> str:
    titles = {column.key: column.title for column in table.columns}
    if aim.peer is None:
        return f"{aim.row}: {titles[aim.figure]}"
    if aim.row == aim.peer:
        return f"{aim.row}: {titles[aim.figure]} ÷ {titles[aim.base]}"
    figure = f"{titles[aim.figure]}, " if aim.figure else ""
    return f"{figure}{aim.row} ÷ {aim.peer}"


def as_json(tables: Sequence[Table], machine: object) -> dict[str, Any]:
    """Return all that was measured."""
    return {
        "machine": machine,
        "cases": [
            {
                "case": table.case,
                "title": table.title,
                "key": table.key,
                "rows": [
                    {
                        "name": row.name,
                        "absent": row.absent,
                        "failed": row.failed,
                        "median": {column.key: row.median(column.key) for column in table.columns},
                        "rounds": [{"round": number, **figures} for number, figures in sorted(row.rounds.items())],
                        "ratios": {
                            name: table.ratio(mine, row)
                            for name in table.ours
                            if (mine := table.row(name)) is not None and mine is not row
                        },
                    }
                    for row in table.rows
                ],
                "aims": [
                    {
                        "what": _what(table, verdict.aim),
                        "at_least": verdict.aim.at_least,
                        "at_most": verdict.aim.at_most,
                        "measured": verdict.ratio,
                        "by_cost": verdict.by_cost,
                        "met": verdict.met,
                    }
                    for verdict in table.verdicts()
                ],
            }
            for table in tables
        ],
    }


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


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    # A reason in place of figures may run over the columns beside it.
    widths[1] = max([len(header[1]), *(len(row[1]) for row in rows if not row[1].startswith("not run"))])

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rules = ["-" * (width + 2) if place < left else "-" * (width + 1) + ":" for place, width in enumerate(widths)]
    rule = f"|{'|'.join(rules)}|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
