"""A mark in memory that processes share, and that each changes when it has committed."""

import mmap
import os
import secrets
from typing import Final

from server.store.folder import DataFolder

_FILE: Final = "commits"
_SIZE: Final = 8


class CommitMark:
    """Eight bytes of a file in the data folder. Their value means nothing; another value means another commit.

    Raises StoreRefused.
    """

    def __init__(self, folder: DataFolder) -> None:
        folder.create(_FILE)
        file = os.open(folder.path / _FILE, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(file, _SIZE)
            self._shared = memoryview(mmap.mmap(file, _SIZE)).cast("Q")
        finally:
            os.close(file)

    def change(self) -> None:
        """Give the mark a value that it never had; to be called between a commit and its acknowledgement."""
        # Drawn, and not counted: of two processes that count at the same time, one would leave no trace.
        self._shared[0] = secrets.randbits(64)

    def read(self) -> int:
        """Return the value; 50 ns."""
        return self._shared[0]
