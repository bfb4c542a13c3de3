"""Responses that are the same for many calls."""

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

MessageType = TypeVar("MessageType", bound=Message)


class EncodedOnce(Generic[MessageType]):
    """A response that many calls may return: what it is in a format is worked out once and kept with it.

    A servicer returns it in place of the message, which nothing may change from then on. On a grpc.aio server the
    handler's serializer has to know it.
    """

    __slots__ = ("_encoded", "message")

    def __init__(self, message: MessageType) -> None:
        self.message: Final = message
        self._encoded: dict[Hashable, bytes] = {}

    def encoded(self, form: Hashable, encode: Callable[[MessageType], bytes]) -> bytes:
        """Give the message as `encode` gives it; `form` tells one way from others."""
        found = self._encoded.get(form)
        if found is None:
            found = self._encoded[form] = encode(self.message)
        return found
