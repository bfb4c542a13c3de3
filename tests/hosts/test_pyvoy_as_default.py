"""What is tested of the default host and holds of the fast one as it stands: the same tests, on servers with pyvoy."""

import importlib.util
from collections.abc import Callable, Iterator

import pytest

from tests.crash.test_drain import (
    test_a_health_stream_through_the_gateway_ends_at_once,
    test_health_and_reflection_streams_end_at_once,
    test_what_is_stored_when_a_loaded_server_stops_is_what_was_acknowledged,
)
from tests.hosts.certificates import Authority
from tests.hosts.test_floods import (
    test_others_are_answered_within_five_seconds_of_a_flood,
    test_resets_over_and_over_do_not_add_up,
    test_two_thousand_calls_at_once_on_one_connection_are_all_answered,
)
from tests.hosts.test_stalled_peers import (
    HURRIED,
    test_a_call_among_ten_thousand_idle_connections,
    test_a_peer_that_stalls_is_let_go_at_every_stage_and_others_are_served,
    test_peers_that_reset_their_connection_leave_nothing_behind,
)
from tests.hosts.test_tls import (
    authority,
    test_a_plain_caller_of_a_tls_port_is_let_go,
    test_a_renewed_certificate_is_shown_without_a_restart,
    test_callers_must_show_a_certificate_where_there_are_authorities_for_it,
    test_grpc_and_json_are_served_over_tls_on_one_port,
    test_large_messages_cross_tls_whole,
)
from tests.servers import Server, start
from tests.tools import unavailable
from tests.wire.callers import CALLERS, Caller
from tests.wire.test_calls import (
    nothing_stored,
    test_a_taken_domain_already_exists,
    test_all_violations_come_at_once_each_with_its_field,
    test_an_added_instance_is_returned_with_the_same_details,
    test_no_token_is_unauthenticated,
)

__all__ = [
    "authority",
    "nothing_stored",
    "test_a_call_among_ten_thousand_idle_connections",
    "test_a_health_stream_through_the_gateway_ends_at_once",
    "test_a_peer_that_stalls_is_let_go_at_every_stage_and_others_are_served",
    "test_a_plain_caller_of_a_tls_port_is_let_go",
    "test_a_renewed_certificate_is_shown_without_a_restart",
    "test_a_taken_domain_already_exists",
    "test_all_violations_come_at_once_each_with_its_field",
    "test_an_added_instance_is_returned_with_the_same_details",
    "test_callers_must_show_a_certificate_where_there_are_authorities_for_it",
    "test_grpc_and_json_are_served_over_tls_on_one_port",
    "test_health_and_reflection_streams_end_at_once",
    "test_large_messages_cross_tls_whole",
    "test_no_token_is_unauthenticated",
    "test_others_are_answered_within_five_seconds_of_a_flood",
    "test_peers_that_reset_their_connection_leave_nothing_behind",
    "test_resets_over_and_over_do_not_add_up",
    "test_two_thousand_calls_at_once_on_one_connection_are_all_answered",
    "test_what_is_stored_when_a_loaded_server_stops_is_what_was_acknowledged",
]


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if importlib.util.find_spec("pyvoy") is None:
        unavailable("pyvoy is not installed; make pyvoy installs it")


@pytest.fixture(scope="module")
def server(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("pyvoy") / "data", "--host", "pyvoy")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def hurried(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("hurried") / "data", "--host", "pyvoy", env=HURRIED)
    yield running
    assert running.stop() == 0


@pytest.fixture(
    params=[caller for caller in CALLERS if not caller.name.startswith("grpc-sync")], ids=lambda one: one.name
)
def caller(request: pytest.FixtureRequest) -> Caller:
    """Every media type, on the path of the RPC and on that of its rule."""
    assert isinstance(request.param, Caller)
    return request.param


@pytest.fixture
def starting(starting: Callable[..., Server]) -> Callable[..., Server]:
    return lambda *arguments, **options: starting("--host", "pyvoy", *arguments, **options)


@pytest.fixture(scope="module")
def tls_server(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Authority]]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    env = {"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)}
    server = start(folder / "data", "--host", "pyvoy", env=env)
    yield server, authority
    assert server.stop() == 0
