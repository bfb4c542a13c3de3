"""What has been measured, by case, contender and round, and what becomes of it: medians, ratios and aims.

Rounds are interleaved, so a ratio is taken within each round and the median of those is told: what else the machine
does in a round, it does to both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that is told of each row. `scale` multiplies what was measured, for the unit that people read."""

    key: str
    title: str
    digits: int = 0
    scale: float = 1.0

    def shown(self, value: float) -> str:
        """Return the figure as text."""
        return f"{value * self.scale:,.{self.digits}f}"


@dataclass(slots=True)
class Row:
    """A contender's rounds; `absent` says what is missing for there to be any, `failed` why some do not count.

    An `optional` one is measured only when somebody asks for it.
    """

    name: str
    note: str = ""
    absent: str | None = None
    optional: bool = False
    failed: list[str] = field(default_factory=list)
    rounds: dict[int, Figures] = field(default_factory=dict)

    def values(self, key: str) -> list[float]:
        """Return a figure of all rounds."""
        return [figures[key] for figures in self.rounds.values() if key in figures]

    def median(self, key: str) -> float | None:
        """Return the median of a figure, None if it was never measured."""
        values = self.values(key)
        return median(values) if values else None


@dataclass(frozen=True, slots=True)
class Aim:
    """What the ratio of two rows' figures should be: `figure` of `row` to `base` of `peer`, at least or at most.

    Without a peer it is the figure itself that is asked about, in the unit that its column shows.
    """

    row: str
    peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    figure: str = ""
    base: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An aim and what was measured; `ratio` is None where one of the two is missing.

    `by_cost` is the same ratio as the costs have it, which other work on the machine moves less.
    """

    aim: Aim
    ratio: float | None
    by_cost: float | None = None

    @property
    def met(self) -> bool | None:
        """Tell whether it was reached."""
        if self.ratio is None:
            return None
        if self.aim.at_most is not None:
            return self.ratio <= self.aim.at_most
        return self.aim.at_least is None or self.ratio >= self.aim.at_least


@dataclass(slots=True)
class Table:
    """A case's rows. `key` is the figure that rows are compared by, `ours` the rows that others are compared with.

    `cost` is what one call takes of the processor, where that is known.
    """

    case: str
    title: str
    key: str
    columns: Sequence[Column]
    rows: list[Row]
    ours: Sequence[str] = ()
    aims: Sequence[Aim] = ()
    text: str = ""
    cost: str = ""

    def row(self, name: str) -> Row | None:
        """Return the row of that name."""
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, row: Row | None, peer: Row | None, figure: str = "", base: str = "") -> float | None:
        """Return the median of the rounds' ratios, None without a round in which both have run."""
        if row is None or peer is None:
            return None
        over, under = figure or self.key, base or figure or self.key
        both = [
            row.rounds[number][over] / peer.rounds[number][under]
            for number in row.rounds.keys() & peer.rounds.keys()
            if over in row.rounds[number] and peer.rounds[number].get(under)
        ]
        return median(both) if both else None

    def verdicts(self) -> list[Verdict]:
        """Return what became of each aim."""
        return [Verdict(aim, self._measured(aim), self._by_cost(aim)) for aim in self.aims]

    def _measured(self, aim: Aim) -> float | None:
        row = self.row(aim.row)
        if aim.peer is not None:
            return self.ratio(row, self.row(aim.peer), aim.figure, aim.base)
        value = None if row is None else row.median(aim.figure)
        scale = next((column.scale for column in self.columns if column.key == aim.figure), 1.0)
        return None if value is None else value * scale

    def _by_cost(self, aim: Aim) -> float | None:
        if not self.cost or aim.peer is None or aim.figure:
            return None
        return self.ratio(self.row(aim.peer), self.row(aim.row), self.cost)

    def problems(self, *, nothing_missing: bool = False) -> list[str]:
        """Return what went wrong: contenders that failed, runs that do not count and, if asked for, what is missing."""
        found = [(row, reason) for row in self.rows for reason in row.failed]
        if nothing_missing:
            found += [(row, row.absent) for row in self.rows if row.absent and not row.optional]
        return [f"{self.case}: {row.name}: {reason}" for row, reason in found]
