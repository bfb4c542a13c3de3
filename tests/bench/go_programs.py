"""Programs in Go, built when their sources are newer."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.bench.places import BUILD
from tests.bench.unmeasured import Absent, Failed

BIN: Final = BUILD / "bin"
MISSING: Final = "Go is not on the PATH"


def check() -> None:
    """Do nothing where there is Go.

    Raises:
        Absent: there is none.
    """
    if shutil.which("go") is None:
        raise Absent(MISSING)


def run(command: Sequence[str], folder: Path) -> None:
    """Run a step of a build; programs that were built before are on its path.

    Raises:
        Failed: it fails.
    """
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise Failed(f"{' '.join(command[:3])} failed: {done.stderr[-2000:]}")


def build(folder: Path, packages: str) -> None:
    """Build packages of the module in a folder, each to a program of its name in BIN."""
    BIN.mkdir(parents=True, exist_ok=True)
    run(["go", "build", "-buildvcs=false", "-o", f"{BIN}/", packages], folder)


def is_newer(stamp: Path, sources: Iterable[Path]) -> bool:
    """Tell whether a file is there and newer than all of the sources."""
    return stamp.exists() and stamp.stat().st_mtime > max(path.stat().st_mtime for path in sources)
