import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from gateway import Gateway
from gateway.hosts.http_host import HTTPHost
from tests.unit.gateway.echo import EchoServicer, add_EchoServicer_to_server

MakeGateway = Callable[..., Gateway]
Serve = Callable[..., Awaitable[int]]


@pytest.fixture
def servicer() -> EchoServicer:
    return EchoServicer()


@pytest.fixture
def make_gateway(servicer: EchoServicer) -> MakeGateway:
    """Build a gateway for the servicer as the test has set it up by then."""

    def make(**options: Any) -> Gateway:
        gateway = Gateway(**options)
        add_EchoServicer_to_server(servicer, gateway)
        return gateway

    return make


@pytest.fixture
def gateway(make_gateway: MakeGateway) -> Gateway:
    return make_gateway()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Run an application on a real socket; gives the port."""
    hosts: list[HTTPHost] = []

    async def start(app: Any, **options: Any) -> int:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        host = HTTPHost(app, sock, **options)
        await host.start()
        hosts.append(host)
        return port

    yield start
    for host in hosts:
        await host.stop(0)
    await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _nothing_unexpected_in_the_log(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that logs an error, unless it is marked as one that does."""
    yield
    if request.node.get_closest_marker("logs_errors") is None:
        records = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
        assert not records, [record.getMessage() for record in records]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "logs_errors: the test makes the gateway log an error on purpose")
