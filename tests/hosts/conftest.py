"""A server that speaks TLS, for the tests that change nothing in it."""

from collections.abc import Iterator

import pytest

from tests.hosts.certificates import Authority
from tests.servers import Server, start


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Authority]]:
    """A server, and the authority behind its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    env = {"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)}
    server = start(folder / "data", env=env)
    yield server, authority
    assert server.stop() == 0
