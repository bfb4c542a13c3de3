"""A bounded memory for what recurs."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

REMEMBERED: Final = 10_000


class Recurring(Generic[Value]):
    """Values by a digest of what they answer, `size` of them.

    While there is room each is kept. Then one is kept when it comes for the second time, in place of the one that has
    been there longest: what never comes again pushes out nothing that does.
    """

    __slots__ = ("_seen_once", "_size", "_values")

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        # A dict takes longer to find its oldest entry the more of them were removed.
        self._values: OrderedDict[bytes, Value] = OrderedDict()
        self._seen_once: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, digest: bytes) -> Value | None:
        """Give what is kept."""
        return self._values.get(digest)

    def wants(self, digest: bytes) -> bool:
        """Tell whether a value would be kept; where not, it would be the next time."""
        if len(self._values) < self._size or digest in self._values or digest in self._seen_once:
            return True
        if len(self._seen_once) >= self._size:
            self._seen_once.popitem(last=False)
        self._seen_once[digest] = None
        return False

    def put(self, digest: bytes, value: Value) -> None:
        """Keep a value."""
        self._seen_once.pop(digest, None)
        self._values[digest] = value
        self._values.move_to_end(digest)
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    def drop(self, digest: bytes) -> None:
        """Forget a value."""
        self._values.pop(digest, None)
