"""What ends a call from outside: its deadline, a body that does not arrive, a caller that goes away."""

import asyncio
import time
from typing import Final
from weakref import WeakKeyDictionary

import grpc

from gateway._status import Status
from gateway._types import Receive, TellsWhenGone

# Most calls end within this many seconds; only longer ones, by up to twice as many, pay for a task that waits for the
# caller to go away.
_LOOK_AFTER: Final = 0.05
# A host may answer `receive` at once for ever after the body's end; it is asked again no sooner than this.
_ASK_AGAIN_AFTER: Final = 1.0
# Timers that lie further ahead are never reached by a call.
_FAR: Final = 86400.0 * 365

DEADLINE: Final = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed")
STALLED: Final = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the body did not arrive in time", (), 408)
GONE: Final = Status(grpc.StatusCode.CANCELLED, "the caller went away")


class Watch:
    """Looks at the calls of one event loop that take longer than most: one timer for all instead of one for each."""

    __slots__ = ("_new", "_seen", "_timer", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._new: set[Lifetime] = set()
        self._seen: set[Lifetime] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, lifetime: "Lifetime") -> None:
        """Look at a call once, unless it is over by then."""
        self._new.add(lifetime)
        if self._timer is None:
            self._timer = self.loop.call_later(_LOOK_AFTER, self._tick)

    def remove(self, lifetime: "Lifetime") -> None:
        """Forget a call that is over."""
        self._new.discard(lifetime)
        self._seen.discard(lifetime)

    def _tick(self) -> None:
        for lifetime in self._seen:
            lifetime.look()
        self._seen, self._new = self._new, set()
        self._timer = self.loop.call_later(_LOOK_AFTER, self._tick) if self._seen else None


class Watches:
    """The watch of each event loop that calls run in; nearly always there is one."""

    def __init__(self) -> None:
        self._last: Watch | None = None
        self._all: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()

    def of(self, loop: asyncio.AbstractEventLoop) -> Watch:
        """Give the watch of a loop."""
        watch = self._last
        if watch is None or watch.loop is not loop:
            watch = self._last = self._all.setdefault(loop, Watch(loop))
        return watch


class Lifetime:
    """Cancels the task of a call, once, and remembers why in `reason`."""

    # Defaults stand with the class: most calls set none of them.
    _received = False
    _looked = False
    _over = False
    _resumed = False
    _watcher: asyncio.Task[None] | None = None
    _host: TellsWhenGone | None = None
    _timer: asyncio.TimerHandle | None = None
    _deadline_timer: asyncio.TimerHandle | None = None
    reason: Status | None = None
    deadline: float | None = None

    def __init__(self, watches: Watches, receive: Receive, receive_timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - ASGI applications run in one
        self._task = task
        self._receive = receive
        self._started = self._loop.time()
        self._watch = watches.of(self._loop)
        self._watch.add(self)
        self.receive_timeout: float | None = receive_timeout

    def set_timeout(self, seconds: float) -> None:
        """End the call so many seconds from now."""
        self.deadline = self._loop.time() + seconds
        if seconds < _FAR:
            self._deadline_timer = self._loop.call_later(seconds, self.end, DEADLINE)

    def remaining(self) -> float | None:
        """Give the seconds until the deadline, never negative; None without one."""
        # The loop's own time stands still between two of its turns.
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def received(self) -> None:
        """Say that the whole body is there: from now on only a caller that goes away can be received."""
        self._received = True
        if self._looked:
            self._await_leaving()

    def end(self, reason: Status) -> None:
        """Cancel the call, unless it is over or already cancelled."""
        if self.reason is None and not self._over:
            self.reason = reason
            self._task.cancel()

    def end_without_cancel(self, reason: Status) -> None:
        """Note why the call ends, where its task knows already."""
        self.reason = reason
        self._resumed = True

    def resume(self) -> Status | None:
        """Take back a cancellation that has arrived, so that the task can still answer; None where it was not ours."""
        if self.reason is not None and not self._resumed:
            self._resumed = True
            self._task.uncancel()
        return self.reason

    def stop(self) -> None:
        """Stop watching; nothing cancels the call any more."""
        self._over = True
        self._watch.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._host is not None:
            self._host.call_when_gone(None)

    def look(self) -> None:
        """Begin to wait for what most calls end before: the caller going away, a body that does not arrive."""
        self._looked = True
        if self._received:
            self._await_leaving()
        elif self.receive_timeout is not None:
            at = self._started + self.receive_timeout
            self._timer = self._loop.call_at(max(at, self._loop.time()), self._check_received)

    def _check_received(self) -> None:
        if not self._received and self.receive_timeout is not None:
            self.end(STALLED)

    def _await_leaving(self) -> None:
        if self._over or self._watcher is not None or self._host is not None:
            return
        host = getattr(self._receive, "__self__", None)
        if isinstance(host, TellsWhenGone):
            # Without a task, which for an AddInstance among many were a tenth of its time.
            self._host = host
            host.call_when_gone(self._caller_has_gone)
        else:
            self._watcher = self._loop.create_task(self._wait_for_caller_to_go())

    def _caller_has_gone(self) -> None:
        self.end(GONE)

    async def _wait_for_caller_to_go(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":  # noqa: ASYNC110 - the host has no event to wait for
            await asyncio.sleep(_ASK_AGAIN_AFTER)
        self.end(GONE)
