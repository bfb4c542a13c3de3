"""Where things are."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# What the bench makes, all of which can be made again.
BUILD: Final = ROOT / "build/bench"
INSTANCED: Final = ROOT / ".venv/bin/instanced"
