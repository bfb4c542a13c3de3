"""What the connections of a host share, whatever they speak."""

import asyncio
import contextvars
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway._types import Address, ASGIApplication, AtOnce
from gateway.hosts.request import HostedRequest

DEFAULT_MAX_HEADER_BYTES: Final = 32 * 1024
DEFAULT_HEADER_TIMEOUT: Final = 10.0
DEFAULT_KEEP_ALIVE: Final = 75.0
DEFAULT_PING_EVERY: Final = 120.0
DEFAULT_PING_TIMEOUT: Final = 20.0


class Connection(Protocol):
    """What a host needs of a connection."""

    transport: asyncio.Transport

    def shut_down(self) -> None:
        """Close the connection once the requests that have come are answered."""

    def drop_waiting(self) -> None:
        """Take no more requests up."""


@dataclass(slots=True)
class Served:
    """What is served, within which limits, and what is under way; times are in seconds."""

    application: ASGIApplication
    at_once: AtOnce | None
    max_header_bytes: int
    header_timeout: float
    keep_alive: float
    ping_every: float
    ping_timeout: float
    connections: set[Connection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, request: HostedRequest) -> None:
        """Run the application for a request."""
        # Requests have nothing in common, and whatever started the host neither.
        # The name is given as asyncio takes 2 µs to make one, and by the class as create_task lets it do so first.
        request.task = task = asyncio.Task(
            request.run(self.application),
            loop=asyncio.get_running_loop(),
            name=request.scope["path"],
            context=contextvars.Context(),
        )
        self.tasks.add(task)

    def ended(self, request: HostedRequest) -> None:
        """Forget the task of a request."""
        if request.task is not None:
            self.tasks.discard(request.task)


class Alarm:
    """The one timer of a connection. Most deadlines are moved or dropped long before they are reached.

    So it is only ever set to an earlier time, and who is called when it goes off looks at what is due.
    """

    __slots__ = ("_at", "_call", "_loop", "_timer")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Go off then, in the time of the loop, or before."""
        if when < self._at:
            if self._timer is not None:
                self._timer.cancel()
            self._at = when
            self._timer = self._loop.call_at(when, self._go_off)

    def cancel(self) -> None:
        """Never go off, and let go of who would be called."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._call = _nobody

    def _go_off(self) -> None:
        self._timer = None
        self._at = math.inf
        self._call()


def _nobody() -> None:
    """Stand in for who was called."""


def address(name: object) -> Address | None:
    """Give an address as ASGI has it; of a unix socket the path."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
