"""Fixtures that more than one kind of test uses."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fronts import Front, start_over_tls
from tests.servers import Server, start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share: none may depend on what is not its own in it."""
    running = start(tmp_path_factory.mktemp("shared") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A server that speaks TLS, shared like `server`."""
    front = start_over_tls(tmp_path_factory.mktemp("shared-tls"))
    yield front
    assert front.server.stop() == 0


@pytest.fixture(scope="module", params=["plain", "tls"])
def front(request: pytest.FixtureRequest) -> Front:
    """The one port as published clients may meet it, each way in turn."""
    if request.param == "tls":
        over_tls: Front = request.getfixturevalue("over_tls")
        return over_tls
    return Front(request.getfixturevalue("server"))


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
