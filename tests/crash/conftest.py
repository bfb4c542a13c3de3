"""The figures of the kill rounds, told at the end of the run."""

from dataclasses import dataclass

import pytest


@dataclass(slots=True)
class KillFigures:
    """What `kill -9` met, over all rounds of a run."""

    rounds: int = 0
    acknowledged: int = 0
    stored_unacknowledged: int = 0
    during_commit: int = 0
    inside_writes: int = 0

    def count(self, acknowledged: int, stored_unacknowledged: int, *, torn: bool) -> None:
        """Count one round; `torn`: the log ends in the middle of a commit."""
        self.rounds += 1
        self.acknowledged += acknowledged
        self.stored_unacknowledged += stored_unacknowledged
        self.during_commit += torn or stored_unacknowledged > 0
        self.inside_writes += torn

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds: {self.acknowledged} instances acknowledged and all found whole, "
            f"{self.stored_unacknowledged} stored whole whose acknowledgement the kill cut off; "
            f"{self.during_commit} kills between a commit's first write and its last reply, "
            f"{self.inside_writes} of them inside its writes"
        )


_FIGURES = pytest.StashKey[KillFigures]()


@pytest.fixture(scope="session")
def kill_figures(pytestconfig: pytest.Config) -> KillFigures:
    """Counts over the run; `pytest_terminal_summary` tells them."""
    return pytestconfig.stash.setdefault(_FIGURES, KillFigures())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash.get(_FIGURES, None)
    if figures is not None and figures.rounds:
        terminalreporter.section("kill -9")
        terminalreporter.line(str(figures))
