"""Ends the streams that would never end by themselves, health's Watch and reflection, once the server drains."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

from server.call import current_call
from server.interceptors.layers import Behaviour, Context, Layer, responses

# Any, as no response is one.
_END: Any = object()


class Drain(Layer):
    """Lets the streams of `services` run until `drain`, which ends them with the status OK."""

    def __init__(self, services: Collection[str]) -> None:
        self._prefixes = tuple(f"/{service}/" for service in services)
        self._draining = asyncio.Event()

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Wait for each response in a task, which can be ended without ending the call."""
        steps = responses(inner, request, context)
        if not current_call.get().method.startswith(self._prefixes):
            async for response in steps:
                yield response
            return
        draining = asyncio.ensure_future(self._draining.wait())
        step = draining
        try:
            while not self._draining.is_set():
                step = asyncio.ensure_future(anext(steps, _END))
                await asyncio.wait((step, draining), return_when=asyncio.FIRST_COMPLETED)
                if not step.done() or (response := step.result()) is _END:
                    return
                yield response
        finally:
            draining.cancel()
            step.cancel()
            await asyncio.wait((step,))

    def drain(self) -> None:
        """End the running streams, and any that still comes, at once."""
        self._draining.set()
