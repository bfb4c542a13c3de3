"""What ends a call from outside: its deadline, a body that does not arrive, a caller that goes away."""

import asyncio
from typing import Final

import grpc

from gateway._status import Status
from gateway._types import Receive

# Most calls end within this many seconds; only longer ones pay for a task that waits for the caller to go away.
_LOOK_AFTER: Final = 0.05
# A host may answer `receive` at once for ever after the body's end; it is asked again no sooner than this.
_ASK_AGAIN_AFTER: Final = 1.0
# Timers that lie further ahead are never reached by a call.
_FAR: Final = 86400.0 * 365

DEADLINE: Final = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed")
STALLED: Final = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the body did not arrive in time", (), 408)
GONE: Final = Status(grpc.StatusCode.CANCELLED, "the caller went away")


class Lifetime:
    """Cancels the task of a call, once, and remembers why in `reason`."""

    __slots__ = (
        "_deadline_timer",
        "_looked",
        "_loop",
        "_over",
        "_receive",
        "_received",
        "_resumed",
        "_task",
        "_timer",
        "_watcher",
        "deadline",
        "reason",
        "receive_timeout",
    )

    def __init__(self, receive: Receive, receive_timeout: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI applications run in one
        self._task = task
        self._loop = task.get_loop()
        self._receive = receive
        self._received = False
        self._looked = False
        self._over = False
        self._resumed = False
        self._watcher: asyncio.Task[None] | None = None
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(_LOOK_AFTER, self._look)
        self.receive_timeout: float | None = receive_timeout
        self.reason: Status | None = None
        self.deadline: float | None = None

    def set_timeout(self, seconds: float) -> None:
        """End the call so many seconds from now."""
        self.deadline = self._loop.time() + seconds
        if seconds < _FAR:
            self._deadline_timer = self._loop.call_later(seconds, self.end, DEADLINE)

    def remaining(self) -> float | None:
        """Give the seconds until the deadline, never negative; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - self._loop.time())

    def received(self) -> None:
        """Say that the whole body is there: from now on only a caller that goes away can be received."""
        self._received = True
        if self._looked:
            self._watch()

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
        if self._timer is not None:
            self._timer.cancel()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _look(self) -> None:
        self._looked = True
        self._timer = None
        if self._received:
            self._watch()
        elif self.receive_timeout is not None:
            self._timer = self._loop.call_later(max(0.0, self.receive_timeout - _LOOK_AFTER), self._check_received)

    def _check_received(self) -> None:
        if not self._received and self.receive_timeout is not None:
            self.end(STALLED)

    def _watch(self) -> None:
        if self._watcher is None and not self._over:
            self._watcher = self._loop.create_task(self._wait_for_caller_to_go())

    async def _wait_for_caller_to_go(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":  # noqa: ASYNC110 - the host has no event to wait for
            await asyncio.sleep(_ASK_AGAIN_AFTER)
        self.end(GONE)
