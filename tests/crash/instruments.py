"""The test's side of `instrumented.py`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.servers import wait_until

_SCRIPT = Path(__file__).with_name("instrumented.py")
# As much as SQLite takes.
NO_LIMIT = 1_073_741_823


@dataclass(slots=True)
class Group:
    """A transaction of the writer: commands it decided, statements that add rows, and whether it came to its COMMIT.

    One that SQLite rolls back by itself has no end in the diary.
    """

    decided: int = 0
    inserts: int = 0
    to_commit: bool = False


class Instruments:
    """Sets pragmas of a running server and reads what its store does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._diary, self._pragmas = folder / "diary", folder / "pragmas.json"
        self._diary.touch()
        self.wrapper = (sys.executable, str(_SCRIPT), str(folder))
        self.set()

    def set(self, **pragmas: str | int) -> None:
        """Have these pragmas set before each transaction from now on."""
        new = self._pragmas.with_suffix(".new")
        new.write_text(json.dumps(pragmas))
        new.replace(self._pragmas)

    def lines(self) -> list[str]:
        """Return the diary so far."""
        return self._diary.read_text().splitlines()

    def arrived(self) -> int:
        """Return how many commands have come to the store."""
        return self.lines().count("arrived")

    def wait_for_arrivals(self, count: int) -> None:
        """Wait until `count` commands, over all, have come to the store."""
        wait_until(lambda: self.arrived() >= count, within=30)

    def wait_for_group(self, number: int) -> None:
        """Wait until the writer has asked for its transaction of that number, counted from 1."""
        wait_until(lambda: len(self.groups()) >= number, within=30)

    def groups(self) -> list[Group]:
        """Return the transactions so far."""
        groups: list[Group] = []
        for line in self.lines():
            match line.split():
                case ["BEGIN", *_]:
                    groups.append(Group())
                case ["decided"]:
                    groups[-1].decided += 1
                case ["INSERT", *_]:
                    groups[-1].inserts += 1
                case ["COMMIT"]:
                    groups[-1].to_commit = True
        return groups
