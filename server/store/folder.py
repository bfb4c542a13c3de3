"""The data folder: who may read it, and that one process writes to it at a time."""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from server.store.interface import StoreRefused

DATABASE: Final = "instanced.db"
LOCK: Final = "lock"

_PRIVATE: Final = 0o700


class DataFolder:
    """A data folder that this process holds, until it closes it or ends in whatever way.

    `open` creates it where it is missing. The folder is 0700 and what is created in it 0600. The lock is flock(2) on a
    file that names the holder's process id: the kernel lets go of it when the process dies.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take hold of the folder at `path`.

        Raises StoreRefused, naming the folder, where it cannot be created or written, or where another process holds
        it.
        """
        path = path.absolute()
        try:
            _make(path)
            _probe(path)
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as failure:
            raise _not_usable(path, failure) from failure
        try:
            _take(lock, path)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock)

    @property
    def database(self) -> Path:
        """Where the database file is, or will be."""
        return self.path / DATABASE

    def create(self, name: str) -> None:
        """Create the empty file `name`, if there is none, for its owner alone; an existing one becomes so.

        Raises StoreRefused.
        """
        try:
            file = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _restrict(file, 0o600)
                os.fsync(file)
            finally:
                os.close(file)
            _sync(self.path)
        except OSError as failure:
            raise _not_usable(self.path, failure) from failure

    def write(self, name: str, content: bytes) -> None:
        """Put `content` into the file `name`, for its owner alone.

        A reader finds the old content or the new, whole. Raises StoreRefused.
        """
        try:
            file, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)
            try:
                with os.fdopen(file, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                Path(temporary).replace(self.path / name)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
                raise
            _sync(self.path)
        except OSError as failure:
            raise _not_usable(self.path, failure) from failure

    def close(self) -> None:
        """Let go of the folder. The lock file stays: removing it would let two processes lock two files of one name."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=_PRIVATE, parents=True)
    except FileExistsError:
        found = path.stat()
        # One that another user made for us, as Kubernetes does, cannot be changed; its files are private all the same.
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if ours and stat.S_IMODE(found.st_mode) != _PRIVATE:
            _tighten(path)
    else:
        _sync(path.parent)


def _tighten(path: Path) -> None:
    # A folder with files of others in it (someone's home, /) must not be closed to them.
    names = {entry.name for entry in path.iterdir()} - {"lost+found"}
    if names and LOCK not in names:
        raise StoreRefused(
            f"the folder {path} holds other files and is open to other users; "
            "chmod 700 it if it is meant for data, or name an empty or new folder with --data"
        )
    path.chmod(_PRIVATE)


def _probe(path: Path) -> None:
    # Permission bits say nothing to root, on a read-only or on a full file system; a file does.
    with tempfile.TemporaryFile(dir=path) as file:
        file.write(b"writable")
        file.flush()


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as failure:
        if failure.errno not in {errno.EAGAIN, errno.EACCES}:
            raise _not_usable(path, failure) from failure
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        named = f"process {holder}" if holder else "another process"
        raise StoreRefused(
            f"the data folder {path} is in use by {named}; stop it, or name another folder with --data"
        ) from None
    try:
        _restrict(lock, 0o600)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
    except OSError as failure:
        raise _not_usable(path, failure) from failure


def _restrict(file: int, mode: int) -> None:
    if stat.S_IMODE(os.fstat(file).st_mode) != mode:
        os.fchmod(file, mode)


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _not_usable(path: Path, failure: OSError) -> StoreRefused:
    return StoreRefused(
        f"the data folder {path} cannot be written: {failure.strerror or failure}; "
        "make it writable for this user, or name another folder with --data"
    )
