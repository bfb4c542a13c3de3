import asyncio
from collections.abc import Callable
from typing import Any

from server.domain.passwords import Passwords
from server.instances import Instances
from server.store.folder import DataFolder


async def test_ids_grow_when_the_clock_steps_back_and_across_restarts(
    serve: Callable[..., Any], folder: DataFolder, clock: Any, acme: dict[str, Any], passwords: Passwords
) -> None:
    ids: list[int] = []
    for step in (0, -3_600_000_000, 1_000, -7_200_000_000):
        clock.now += step
        store = await serve(folder, clock=clock)
        instances = Instances(store, "localhost", passwords)
        for _ in range(3):
            ids.append(int((await instances.add(acme, creator="a")).instance_id))  # noqa: PERF401 - one after another
        await store.close()
    assert ids == sorted(set(ids))


async def test_ids_of_one_group_differ(acme: dict[str, Any], instances: Instances) -> None:
    added = await asyncio.gather(*(instances.add(acme, creator="a") for _ in range(100)))
    assert len({each.instance_id for each in added}) == 100
