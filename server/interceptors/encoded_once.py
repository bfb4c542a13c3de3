"""Responses that many calls share, on grpc.aio; the gateway knows them by itself."""

import functools
from typing import Any

from gateway import EncodedOnce
from server.interceptors.layers import Layer, Serializer


class Encode(Layer):
    """Lets a servicer return an `EncodedOnce`."""

    def serializer(self, inner: Serializer) -> Serializer:
        """Return one that takes the bytes that are there."""
        return functools.partial(_serialize, inner)


def _serialize(serializer: Serializer, response: Any) -> bytes:
    return response.encoded(serializer, serializer) if type(response) is EncodedOnce else serializer(response)
