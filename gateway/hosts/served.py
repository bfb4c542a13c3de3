"""What the connections of a host share, whatever they speak."""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway._types import ASGIApplication, AtOnce

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


Address = tuple[str, int | None]


def address(name: object) -> Address | None:
    """Give an address as ASGI has it; of a unix socket the path."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
