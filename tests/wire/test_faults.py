"""The rows of the errors table that a healthy server never sends, on each protocol."""

import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from zitadel import system_pb2

from tests.servers import Server, start
from tests.wire.callers import ADD, CALLERS, Caller

FAULTY = Path(__file__).with_name("faulty.py")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("faulty") / "data", wrapper=(sys.executable, str(FAULTY)))
    yield running
    assert running.stop() == 0


def test_a_store_that_cannot_write_is_unavailable_and_says_when_to_retry(faulty: Server, caller: Caller) -> None:
    message = system_pb2.AddInstanceRequest(instance_name="full")
    reply = caller(faulty, ADD, message, token=faulty.token())
    assert reply.code is grpc.StatusCode.UNAVAILABLE
    assert reply.http_status == (503 if caller.is_json else None)
    assert reply.detail(RetryInfo).retry_delay.seconds == 1
    assert "disk is full" not in reply.message


def test_a_bug_is_internal_with_an_id_that_the_log_has_too(faulty: Server, caller: Caller) -> None:
    message = system_pb2.AddInstanceRequest(instance_name="bug")
    headers = {"x-request-id": f"bug-{caller.name}"}
    reply = caller(faulty, ADD, message, token=faulty.token(), headers=headers)
    assert reply.code is grpc.StatusCode.INTERNAL
    assert reply.http_status == (500 if caller.is_json else None)
    assert "secret" not in reply.message
    [line] = [line for line in faulty.lines("internal error") if line["request_id"] == headers["x-request-id"]]
    assert str(line["error_id"]) in reply.message
    assert "ZeroDivisionError: the secret of the exception" in str(line["exception"])


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_log_has_a_password_or_a_token(tmp_path: Path, form: str) -> None:
    env = {"INSTANCED_LOG_FORMATTER_FORMAT": form, "INSTANCED_LOG_LEVEL": "debug"}
    server = start(tmp_path / "data", wrapper=(sys.executable, str(FAULTY)), env=env)
    password = system_pb2.AddInstanceRequest.Password(password="Sup3r-secret-word")
    message = system_pb2.AddInstanceRequest(instance_name="bug", owner_password=password)
    for caller in CALLERS:
        assert caller(server, ADD, message, token=server.token()).code is grpc.StatusCode.INTERNAL
    assert server.stop() == 0
    log = server.log.read_text()
    assert log.count("ZeroDivisionError: the secret of the exception") == len(CALLERS)
    assert password.password not in log
    assert server.token() not in log
