"""Group commit: commands that wait at the same time share one transaction.

A transaction costs a sync of the disk, whatever it holds. While one runs, commands gather; when it ends, all that wait
go into the next, with those whose callers were just answered and ask again at once. Nobody waits for a group to fill.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from server.domain.decisions import Command, Decided, Decided_co
from server.domain.errors import StoreUnavailable
from server.store.interface import Recorded

WAITING_LIMIT: Final = 10_000
GROUP_LIMIT: Final = 512

# Turns of the event loop before a group begins: an answer is written, the caller's next request is read, becomes a
# task, and gets here. Begun at once, two groups alternate with half of the callers each, and 8 callers cost 269 µs of
# the processor for an add and not 200, 128 of them 172 and not 154. A caller alone waits some 16 µs longer.
_TURNS: Final = 4

_log = logging.getLogger(__name__)


class Order(NamedTuple):
    """A command, and the id of the user who gave it."""

    command: Command[Decided]
    creator: str


# Commits a group, and says for each order in turn what was recorded or what to raise. Raising itself, it fails the
# whole group.
Commit = Callable[[Sequence[Order]], Awaitable[Sequence[Recorded[Any] | Exception]]]


class GroupCommit:
    """The one task that writes: `execute` hands it a command and waits for the outcome.

    Built inside a running event loop.
    """

    def __init__(self, commit: Commit, *, waiting_limit: int = WAITING_LIMIT, group_limit: int = GROUP_LIMIT) -> None:
        self._commit = commit
        self._waiting_limit = waiting_limit
        self._group_limit = group_limit
        self._waiting: deque[tuple[Order, asyncio.Future[Recorded[Any]]]] = deque()
        self._running: list[tuple[Order, asyncio.Future[Recorded[Any]]]] = []
        self._wake = asyncio.Event()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="group commit")

    async def execute(self, command: Command[Decided_co], creator: str) -> Recorded[Decided_co]:
        """Return what `command` recorded, or raise what became of it.

        Cancelled while it waits, it is never begun; once its group has begun, it is finished without the caller. Raises
        StoreUnavailable where too many wait already.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if len(self._waiting) >= self._waiting_limit:
            raise StoreUnavailable(f"{self._waiting_limit} commands wait already")
        outcome: asyncio.Future[Recorded[Any]] = self._loop.create_future()
        self._waiting.append((Order(command, creator), outcome))
        self._wake.set()
        return await outcome

    async def close(self) -> None:
        """Finish what waits and accept nothing more."""
        self._closed = True
        self._wake.set()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while await self._anything_waits():
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                self._running = self._next_group()
                if self._running:
                    await self._serve(self._running)
                self._running = []
        except Exception:  # noqa: BLE001 - logged, and told to all who wait
            _log.critical("the writer ended; restart the server", exc_info=True)
        finally:
            # Whatever ended this task, nobody may be left waiting for it.
            self._closed = True
            for _, outcome in (*self._running, *self._waiting):
                if not outcome.done():
                    outcome.set_exception(StoreUnavailable("the writer ended"))

    async def _anything_waits(self) -> bool:
        while not self._waiting and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        return bool(self._waiting)

    def _next_group(self) -> list[tuple[Order, asyncio.Future[Recorded[Any]]]]:
        group: list[tuple[Order, asyncio.Future[Recorded[Any]]]] = []
        while self._waiting and len(group) < self._group_limit:
            order, outcome = self._waiting.popleft()
            if not outcome.done():  # else its caller went away while it waited
                group.append((order, outcome))
        return group

    async def _serve(self, group: Sequence[tuple[Order, asyncio.Future[Recorded[Any]]]]) -> None:
        try:
            results = await self._commit([order for order, _ in group])
            pairs = list(zip(group, results, strict=True))
        except StoreUnavailable as failure:
            pairs = [(waiting, StoreUnavailable(failure.cause)) for waiting in group]
        except Exception as bug:  # noqa: BLE001 - the callers get it
            # A bug must not end the writer; each caller gets it, and their log lines say which it was.
            _log.exception("a group of %d commands failed", len(group))
            pairs = [(waiting, bug) for waiting in group]
        for (_, outcome), result in pairs:
            if outcome.done():
                continue
            if isinstance(result, Exception):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)
