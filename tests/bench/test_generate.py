import asyncio
from pathlib import Path

import pytest

from server.store.folder import DataFolder
from server.store.sqlite import open_store
from tests.bench.generate import custom_domain, generate, instance_name


async def served(path: Path, numbers: range) -> list[str | None]:
    with DataFolder.open(path) as folder:
        store = await open_store(folder)
        found = [await store.instance_by_domain(custom_domain(number)) for number in numbers]
        await store.close()
    return [instance.name if instance else None for instance in found]


def test_a_generated_folder_is_served_and_every_instance_is_found_by_its_domain(tmp_path: Path) -> None:
    told: list[int] = []
    generate(25, tmp_path / "data", told.append)
    assert told[-1] == 25
    assert asyncio.run(served(tmp_path / "data", range(26))) == [*map(instance_name, range(25)), None]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        generate(1, tmp_path, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
