import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.store.folder import DataFolder
from server.store.interface import StoreRefused

HOLD = """
import pathlib, sys, time
from server.store.folder import DataFolder
folder = DataFolder.open(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""

AS_NOBODY = """
import os, pathlib, sys
from server.store.folder import DataFolder
from server.store.interface import StoreRefused
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    DataFolder.open(pathlib.Path(sys.argv[1]))
except StoreRefused as refused:
    print(refused)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_folder_and_files_are_for_their_owner_alone(
    tmp_path: Path, serve: Callable[..., Any], setup: Callable[..., Any]
) -> None:
    before = os.umask(0)
    try:
        with DataFolder.open(tmp_path / "deep" / "data") as folder:
            folder.write("server.json", b"{}")
            store = await serve(folder)
            await store.execute(setup(), "a")
            files = {file.name: mode(file) for file in folder.path.iterdir()}
            await store.close()
    finally:
        os.umask(before)
    assert mode(folder.path) == 0o700
    assert set(files) == {"instanced.db", "instanced.db-wal", "instanced.db-shm", "lock", "server.json"}
    assert set(files.values()) == {0o600}


def test_an_empty_folder_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    with DataFolder.open(tmp_path / "data") as folder:
        assert mode(folder.path) == 0o700


def test_a_database_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "data") as folder:
        folder.database.touch(mode=0o644)
        folder.create(folder.database.name)
        assert mode(folder.database) == 0o600


def test_a_folder_with_files_of_others_is_not_closed_to_them(tmp_path: Path) -> None:
    shared = tmp_path / "home"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "letter").touch()
    with pytest.raises(StoreRefused, match=f"{shared} holds other files.*chmod 700"):
        DataFolder.open(shared)
    assert mode(shared) == 0o755
    shared.chmod(0o700)
    DataFolder.open(shared).close()


def test_a_second_holder_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreRefused, match=f"{path} is in use by process {holder.pid};"):
            DataFolder.open(path)
        holder.send_signal(signal.SIGKILL)
    DataFolder.open(path).close()


def test_a_folder_is_free_again_once_it_is_closed(tmp_path: Path) -> None:
    first = DataFolder.open(tmp_path / "data")
    with pytest.raises(StoreRefused, match=f"process {os.getpid()}"):
        DataFolder.open(tmp_path / "data")
    first.close()
    first.close()
    DataFolder.open(tmp_path / "data").close()


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that other users can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_a_folder_that_cannot_be_written_is_refused_by_name(public: Path) -> None:
    theirs = public / "data"
    theirs.mkdir(mode=0o755)
    for path in (theirs, public / "new"):
        child = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, timeout=30, check=False
        )
        assert f"the data folder {path} cannot be written: Permission denied" in child.stdout, child.stderr
        assert "--data" in child.stdout


def test_a_file_in_place_of_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StoreRefused, match=f"{tmp_path}/data cannot be written: Not a directory"):
        DataFolder.open(tmp_path / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_read_only_file_system_is_refused_by_name_for_root_too(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k,mode=700", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this system lets nobody mount: {mounted.stderr.strip()}")
    try:
        for path in (disk, disk / "data"):
            with pytest.raises(StoreRefused, match=f"{path} cannot be written: Read-only file system"):
                DataFolder.open(path)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_is_replaced_as_a_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "data") as folder:
        folder.write("server.json", b"old")
        folder.write("server.json", b"new")
        assert (folder.path / "server.json").read_bytes() == b"new"
        assert mode(folder.path / "server.json") == 0o600
        assert {file.name for file in folder.path.iterdir()} == {"lock", "server.json"}
