"""`make lint` holds the .proto files to what clients have compiled in."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("grpc_tools", reason="the stubs' compiler comes with make lint, not with make test")


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, root / "proto/compile.py", "--check"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("proto", "generated", "examples/bookshop"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def change(root: Path, old: str, new: str) -> None:
    path = root / "proto/zitadel/instance.proto"
    content = path.read_text()
    assert content.count(old) == 1
    path.write_text(content.replace(old, new))


def test_what_is_committed_passes(copy: Path) -> None:
    assert (done := check(copy)).returncode == 0, done.stdout + done.stderr


def test_a_renumbered_field_breaks(copy: Path) -> None:
    change(copy, "string version = 5;", "string version = 7;")
    subprocess.run([sys.executable, copy / "proto/compile.py"], check=True, capture_output=True)
    done = check(copy)
    assert done.returncode == 1
    assert 'Previously present field "5" with name "version" on message "InstanceDetail" was deleted' in done.stdout


def test_stubs_that_lag_are_named(copy: Path) -> None:
    change(copy, "string version = 5;", "string version = 5;\n  string added = 7;")
    done = check(copy)
    assert done.returncode == 1
    assert "generated/ lags its .proto files in zitadel/instance_pb2.py, zitadel/instance_pb2.pyi" in done.stderr
