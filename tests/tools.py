"""Programs of other languages that tests run: found or built here, and what becomes of a test without them.

On a user's machine a test whose program is missing is skipped, and says what is missing. Where the environment variable
CI is set it fails instead: there a test that did not run has tested nothing.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

# For modules whose first test also waits for what is built or installed, once for a checkout.
BUILDS_FIRST = pytest.mark.timeout(900)

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"in CI nothing may be missing: {reason}", pytrace=False)
    pytest.skip(reason)


def find(*names: str) -> str:
    """Return the first of the programs that is on the PATH."""
    for name in names:
        if path := shutil.which(name):
            return path
    unavailable(f"{' or '.join(names)} is not on the PATH")


def chromium() -> str:
    """Return a Chromium that DevTools clients can drive."""
    return find(*CHROMIUM_NAMES)


def node_modules(package: Path) -> Path:
    """Install what the folder's package-lock.json says, unless that is there already, and return its node_modules."""
    npm = find("npm")
    modules = package / "node_modules"
    stamp = modules / ".installed"
    locked = hashlib.sha256((package / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != locked:
        _prepare([npm, "ci"], package, within=300)
        stamp.write_text(locked)
    return modules


def go_program(module: Path, package: str, program: Path) -> Path:
    """Build a Go program, unless it is newer than all that is in its module's folder, and return it."""
    go = find("go")
    sources = max(path.stat().st_mtime for path in module.iterdir() if path.is_file())
    if not program.exists() or program.stat().st_mtime < sources:
        _prepare([go, "build", "-buildvcs=false", "-o", str(program), package], module, within=600)
        program.touch()
    return program


def run(command: Sequence[str | Path], *, stdin: str | None = None, within: float = 60) -> str:
    """Run a program and return what it prints; one that fails, fails the test with what it said."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        pytest.fail(
            f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr or done.stdout}", pytrace=False
        )
    return done.stdout


def run_json(command: Sequence[str | Path], *, stdin: str | None = None, within: float = 60) -> Any:
    """Run a program as `run` does and return the JSON that it prints."""
    return json.loads(run(command, stdin=stdin, within=within))


def _prepare(command: Sequence[str], folder: Path, *, within: float) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        unavailable(f"{' '.join(command)} in {folder.name} failed: {done.stderr.strip()[-2000:]}")
