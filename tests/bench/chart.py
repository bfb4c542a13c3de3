"""Bars for eyes: one chart per protocol, as SVG."""

from pathlib import Path
from statistics import median
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.figures import Table

OURS: Final = "#1f5fa8"
PEER: Final = "#b9c2cc"
LIMIT: Final = "#e4e7eb"
INK: Final = "#24292f"
FAINT: Final = "#6a737d"


def draw(table: Table, path: Path, limits: frozenset[str] = frozenset()) -> None:
    """Draw the medians of a table's key, the longest bar first; whiskers reach from the least to the most.

    `limits` are rows that are no contenders and are drawn fainter.
    """
    # Text as outlines looks alike everywhere, and with the salt the same figures make the same file.
    mpl.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "instanced", "font.family": "DejaVu Sans"})
    column = next(each for each in table.columns if each.key == table.key)
    rows = [(row, values) for row in table.rows if (values := [v * column.scale for v in row.values(table.key)])]
    rows.sort(key=lambda each: (median(each[1]), each[0].name))
    figure = Figure(figsize=(8.4, 0.9 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    middles = [median(values) for _, values in rows]
    colours = [OURS if row.name in table.ours else LIMIT if row.name in limits else PEER for row, _ in rows]
    axes.barh(range(len(rows)), middles, color=colours, height=0.72)
    for place, ((_, values), middle) in enumerate(zip(rows, middles, strict=True)):
        axes.plot([min(values), max(values)], [place, place], color=FAINT, linewidth=1, solid_capstyle="butt")
        axes.annotate(
            f"{middle:,.{column.digits}f}",
            (max(values), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(range(len(rows)), [row.name for row, _ in rows], fontsize=9, color=INK)
    for label, (row, _) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.name in table.ours else "normal")
    axes.set_xlim(0, max(max(values) for _, values in rows) * 1.12)
    axes.set_title(f"{table.title}, {column.title}", loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.tick_params(axis="x", labelsize=8, colors=FAINT)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="x", color="#eaecef", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#d0d7de")
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
