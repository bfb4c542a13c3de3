"""What the server does not start on: exit status 1, one line that says why, and nothing of it changed."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.stored import database
from tests.servers import INSTANCED, Server

# Becomes another user once the command line is read: whoever runs the test may be the only one who can read the code,
# and typer imports some of its own only when it is run.
AS_ANOTHER_USER = """
import os
import server.application, server.cli

def run(loaded, run=server.application.run):
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    run(loaded)

server.application.run = run
server.cli.main()
"""


def _refusal(data: Path, *arguments: str, command: tuple[str, ...] = (str(INSTANCED),)) -> str:
    """Try to start; return the line that tells why that is refused."""
    ends = [end for name in ("--grpc", "--http") if name not in arguments for end in (name, "127.0.0.1:0")]
    serve = [*command, "serve", "--data", str(data), *ends, *arguments]
    tried = subprocess.run(serve, capture_output=True, text=True, timeout=30, check=False)
    assert tried.returncode == 1, tried.stderr
    assert tried.stdout == ""
    assert "Traceback" not in tried.stderr
    # Lines of the log, which are JSON here, may come before it.
    *log, told = tried.stderr.splitlines()
    assert told.startswith("instanced: ")
    assert all(line.startswith("{") for line in log), tried.stderr
    return told


@pytest.fixture
def stopped(starting: Callable[..., Server]) -> Path:
    """A folder that a server has used and no longer runs on."""
    server = starting()
    assert server.stop() == 0
    return server.data


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="instanced-open-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_written_is_named(open_folder: Path) -> None:
    data = open_folder / "data"
    if os.geteuid() == 0:
        data.mkdir(mode=0o755)
        told = _refusal(data, command=(sys.executable, "-c", AS_ANOTHER_USER))
    else:
        data.mkdir(mode=0o500)
        # Its owner could make it writable, and the server may: one below it cannot be made.
        told = _refusal(data / "below")
    assert str(data) in told
    assert "cannot be written" in told
    assert list(data.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    assert str(tmp_path / "data") in _refusal(tmp_path / "data")


def test_a_folder_in_use_names_the_process_that_uses_it(starting: Callable[..., Server]) -> None:
    server = starting()
    told = _refusal(server.data)
    assert str(server.data) in told
    assert f"process {server.process.pid}" in told
    # The one that runs is as well as before.
    server.add()
    assert server.stop() == 0


def test_a_server_that_was_killed_leaves_the_folder_free(starting: Callable[..., Server]) -> None:
    starting().kill()
    assert starting().stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("offset", "damage"),
    [(0, b"not a database, but a text" * 400), (100, bytes(3000)), (0, None)],
    ids=["another-file", "first-page", "cut-off"],
)
def test_a_damaged_database_is_refused_and_left_as_it_is(stopped: Path, offset: int, damage: bytes | None) -> None:
    path = database(stopped)
    content = path.read_bytes()
    damaged = content[: len(content) // 3] if damage is None else content[:offset] + damage
    damaged += content[len(damaged) :] if damage is not None else b""
    path.write_bytes(damaged)
    told = _refusal(stopped)
    assert str(path) in told
    assert "backup" in told
    assert path.read_bytes() == damaged


def test_a_log_without_its_database_is_refused(starting: Callable[..., Server]) -> None:
    server = starting()
    server.kill()
    path = database(server.data)
    log = path.with_name(f"{path.name}-wal")
    path.unlink()
    kept = log.read_bytes()
    assert kept
    assert str(path) in _refusal(server.data)
    assert log.read_bytes() == kept


def test_a_database_of_a_newer_version_is_refused(stopped: Path) -> None:
    with closing(sqlite3.connect(database(stopped))) as connection:
        connection.execute("PRAGMA user_version = 99")
    told = _refusal(stopped)
    assert str(database(stopped)) in told
    assert "newer version" in told


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with closing(sqlite3.connect(database(data))) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    assert "another program" in _refusal(data)


@pytest.mark.parametrize("flag", ["--grpc", "--http"])
def test_a_port_in_use_is_refused(tmp_path: Path, flag: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        told = _refusal(tmp_path / "data", flag, address)
    assert address in told
    assert flag in told


@pytest.mark.parametrize("front", ["grpc", "http"])
def test_a_port_that_another_server_serves_on_is_refused(
    starting: Callable[..., Server], tmp_path: Path, front: str
) -> None:
    address = getattr(starting(), front)
    assert address in _refusal(tmp_path / "second", f"--{front}", address)


def test_after_a_refusal_the_folder_is_free(starting: Callable[..., Server], tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        _refusal(tmp_path / "data", "--http", f"127.0.0.1:{holder.getsockname()[1]}")
    assert starting().stop() == 0
