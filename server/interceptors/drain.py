"""Ends the streams that would never end by themselves, health's Watch and reflection, once the server drains."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

from server.call import current_call
from server.interceptors.behaviour import Behaviour, BehaviourInterceptor, Context, responses


class DrainInterceptor(BehaviourInterceptor):
    """Lets the streams of `services` run until `drain`, which ends them with the status OK."""

    def __init__(self, services: Collection[str]) -> None:
        super().__init__()
        self._prefixes = tuple(f"/{service}/" for service in services)
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def stream(self, inner: Behaviour, request: Any, context: Context) -> AsyncIterator[Any]:
        """Run the stream in a task of its own, which can be ended without ending the call."""
        if not current_call.get().method.startswith(self._prefixes):
            async for response in responses(inner, request, context):
                yield response
            return
        queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        task = asyncio.create_task(_run(inner, request, context, queue))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._draining:
            task.cancel()
        try:
            while (response := await queue.get()) is not _END:
                yield response
            if not task.cancelled():
                await task
        finally:
            task.cancel()

    def drain(self) -> None:
        """End the running streams, and any that still comes, at once."""
        self._draining = True
        for task in self._tasks:
            task.cancel()


_END = object()


async def _run(inner: Behaviour, request: Any, context: Context, queue: asyncio.Queue[Any]) -> None:
    try:
        async for response in responses(inner, request, context):
            await queue.put(response)
    finally:
        # Whoever reads has an empty queue in front of him or is gone.
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(_END)
