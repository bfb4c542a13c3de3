"""How much of what costs the server and brings nobody an answer a peer may send on one connection."""

import time
from typing import Final

_CAPACITY: Final = 2_000
_PER_SECOND: Final = 200


class Budget:
    """Pays for resets, pings, settings, empty frames and the like; time and calls that are answered fill it up.

    The floods that HTTP/2 invites (CVE-2019-9511 to 9518, CVE-2023-44487) are all of frames that an honest client sends
    a few of for each call.
    """

    __slots__ = ("_left", "_since")

    def __init__(self) -> None:
        self._left: float = _CAPACITY
        self._since = time.monotonic()

    def pay(self, cost: int = 1) -> bool:
        """Say whether there was enough left."""
        self._left -= cost
        if self._left >= 0:
            return True
        # Only now is the clock asked.
        now = time.monotonic()
        self._left = min(_CAPACITY, self._left + (now - self._since) * _PER_SECOND)
        self._since = now
        return self._left >= 0

    def earn(self, amount: int) -> None:
        """Take what a call or its replies are worth."""
        left = self._left + amount
        self._left = min(_CAPACITY, left)
