"""Every protocol on every path that carries it."""

import pytest

from tests.wire.callers import CALLERS, Caller


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    """One of them: the test runs once with each."""
    assert isinstance(request.param, Caller)
    return request.param
