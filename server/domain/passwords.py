"""Passwords: which are accepted, and how they are kept."""

import asyncio
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher, Type

MINIMUM_LENGTH: Final = 8

# See nice(2).
_NICER: Final = 5

# ASCII classes, as the real service has them: any other character, a letter of another script too, counts as a symbol.
_PARTS: Final = (
    (re.compile(r"[A-Z]"), "an upper-case letter"),
    (re.compile(r"[a-z]"), "a lower-case letter"),
    (re.compile(r"[0-9]"), "a digit"),
    (re.compile(r"[^A-Za-z0-9]"), "a symbol"),
)


def password_fault(password: str) -> str | None:
    """Say everything that `password` lacks under the policy; None: nothing. The password itself is never part of it."""
    lacking = [f"{MINIMUM_LENGTH} characters"] if len(password) < MINIMUM_LENGTH else []
    lacking += [part for pattern, part in _PARTS if not pattern.search(password)]
    return f"must have at least {', '.join(lacking)}" if lacking else None


class Passwords:
    """Hashes passwords by argon2id (19 MiB, two passes, one lane; RFC 9106).

    A pool of as many threads as the process may use cores does the work, argon2 lets go of the interpreter meanwhile,
    and the event loop stays free. Where all cores hash, it goes first.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
        self._pool = ThreadPoolExecutor(_cores(), thread_name_prefix="argon2", initializer=_stand_back)

    async def hash(self, password: str) -> str:
        """Return the hash in PHC format (`$argon2id$v=19$m=19456,t=2,p=1$…`).

        Cancelled before its turn, it is never computed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, password)

    def close(self) -> None:
        """Let running hashes finish and drop those that wait."""
        self._pool.shutdown(cancel_futures=True)


def _stand_back() -> None:
    # With both of two cores hashing, the event loop's delay at p99 went from 38 ms to 8, and as many were hashed. Only
    # Linux takes this of one thread; elsewhere it counts for the whole process.
    if sys.platform == "linux":
        os.nice(_NICER)


def _cores() -> int:
    # What a container or taskset allows may be fewer than the machine has; macOS cannot tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
