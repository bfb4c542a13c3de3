"""Fixtures that more than one kind of test uses."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import Server, start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share: none may depend on what is not its own in it."""
    running = start(tmp_path_factory.mktemp("shared") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers that a test has for itself, by default on one folder; what still runs at the end is killed."""
    started: list[Server] = []

    def begin(*arguments: str, **options: object) -> Server:
        data = options.pop("data", tmp_path / "data")
        running = start(data, *arguments, **options)  # type: ignore[arg-type]  # checked by `start` itself
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.kill()
        if running.process.stdout:
            running.process.stdout.close()
