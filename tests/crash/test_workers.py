"""`serve --workers N`: one server to whoever calls it and whoever stops it, whichever of its processes ends how."""

import asyncio
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import requests

from server.domain.decisions import Decision, NewEvent, Registry
from server.domain.events import InstanceChanged
from server.store.folder import DataFolder
from server.store.interface import StoreRefused
from server.store.sqlite import open_store
from tests.crash.callers import (
    HOST,
    LOST,
    AtOnce,
    Front,
    Load,
    Native,
    both_fronts,
    codes,
    names,
    some,
)
from tests.crash.instruments import Instruments
from tests.crash.stored import assert_is, contents, database, write_lock
from tests.hosts.certificates import Authority
from tests.servers import INSTANCED, Server, wait_until

Starting = Callable[..., Server]

KILLER = Path(__file__).with_name("killer.py")
TWO = ("--workers", "2")
LONG_GRACE = {"INSTANCED_SHUTDOWNGRACE": "300s"}


def workers(server: Server) -> set[int]:
    """Return the processes below the one that was started."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {int(row[0]) for row in rows if int(row[1]) == server.process.pid and not row[2].startswith("Z")}


@contextmanager
def many(server: Server) -> Iterator[list[Front]]:
    """Reach the server over connections enough for each worker to get some: 16 for gRPC, one for each call for JSON."""
    with both_fronts(server) as (first, json_), ExitStack() as stack:
        more = [Native(server) for _ in range(15)]
        for native in more:
            stack.callback(native.close)
        yield [front for native in (first, *more) for front in (native, json_)]


def address_of(shown: str) -> tuple[str, int]:
    host, _, port = shown.rpartition(":")
    return host, int(port)


def read(server: Server, host: str) -> requests.Response:
    """Look an instance up on a connection of its own, and so on any of the workers."""
    headers = {HOST: host, "connection": "close", **server.bearer()}
    return requests.get(f"{server.url}/admin/v1/instances/me", headers=headers, timeout=10)


def test_each_listener_is_one_port_of_all_workers(starting: Starting) -> None:
    server = starting(*TWO)
    pids = workers(server)
    assert len(pids) == 2
    for address in (server.http, server.grpc):
        answered = set()
        for _ in range(64):
            with socket.create_connection(address_of(address), timeout=10) as connection:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                assert connection.recv(9)
                answered.add(_owner(connection, pids))
        assert answered == pids, address
    assert server.stop() == 0


def _owner(connection: socket.socket, pids: set[int]) -> int:
    """Return which process has the other end of a connection."""
    if sys.platform != "linux":
        pytest.skip("which process has a socket is read from Linux' /proc")
    ours, theirs = (f"{name[1]:04X}" for name in (connection.getsockname(), connection.getpeername()))
    # grpc core has sockets of IPv6, also for IPv4.
    for line in (line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]):
        _, local, remote, *rest = line.split()
        if local.endswith(f":{theirs}") and remote.endswith(f":{ours}"):
            link = f"socket:[{rest[6]}]"
            return next(pid for pid in pids if link in map(_target, Path(f"/proc/{pid}/fd").iterdir()))
    raise AssertionError("the other end is not there")


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def test_what_one_worker_acknowledged_every_worker_answers(starting: Starting) -> None:
    server = starting(*TWO)
    for number in range(8):
        host = f"acme{number}.example"
        # Nobody remembers that there was none.
        assert read(server, host).status_code == 404
        server.add(f"Acme {number}", customDomain=host)
        assert [read(server, host).status_code for _ in range(8)] == [200] * 8
    assert server.stop() == 0


class _Rename:
    def __init__(self, instance_id: str, name: str) -> None:
        self._id, self._name = instance_id, name

    def decide(self, registry: Registry) -> Decision:
        return Decision(self._id, [NewEvent(self._id, InstanceChanged(self._name))])


async def test_what_another_process_commits_every_worker_shows_at_once(starting: Starting) -> None:
    server = starting(*TWO)
    instance_id = server.add("Acme", customDomain="acme.example")
    # It does not hold the folder, as the workers do, and writes as they do.
    store = await open_store(DataFolder(server.data, os.open(os.devnull, os.O_RDONLY)), alone=False)
    try:
        for number in range(8):
            await store.execute(_Rename(instance_id, f"Acme {number}"), "test")
            shown = await asyncio.to_thread(lambda: [read(server, "acme.example").json() for _ in range(8)])
            assert {reply["instance"]["name"] for reply in shown} == {f"Acme {number}"}
    finally:
        await store.close()
    assert server.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_stored_when_loaded_workers_stop_is_what_was_acknowledged(
    starting: Starting, how: signal.Signals
) -> None:
    server = starting(*TWO, env=LONG_GRACE)
    with many(server) as fronts:
        load = Load(fronts, 32, "drained")
        load.wait_for_first()
        time.sleep(0.3)
        status: list[int] = []
        outcomes = load.end(lambda: status.append(server.stop(how, within=60)))
    assert status == [0]
    # CANCELLED is what grpc core says to calls that it has taken in and handed to nobody when the server stops.
    assert codes(outcomes).keys() <= {"OK", LOST, "CANCELLED"}
    found = contents(server.data).instances
    assert found.keys() == names(outcomes, ok=True)
    for outcome in outcomes:
        if outcome.ok:
            assert_is(outcome, found[outcome.wanted.name])


@pytest.mark.parametrize("whom", ["the first process", "all processes"])
def test_running_calls_of_all_workers_finish_and_new_ones_are_refused(
    starting: Starting, tmp_path: Path, whom: str
) -> None:
    instruments = Instruments(tmp_path / "instruments")
    server = starting(*TWO, wrapper=instruments.wrapper, env=LONG_GRACE)
    with many(server) as fronts:
        with write_lock(server.data):
            running = AtOnce(fronts, some(32, "running"))
            instruments.wait_for_arrivals(32)
            # As a service manager does that ends a whole control group, the workers may get the signal as well.
            for pid in {server.process.pid} if whom == "the first process" else {server.process.pid, *workers(server)}:
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: len(server.lines("draining")) == 2)
            for address in (server.http, server.grpc):
                wait_until(partial(_refuses, address))
            assert len(workers(server)) == 2
        outcomes = running.outcomes()
    assert codes(outcomes) == {"OK": 32}, {outcome.said for outcome in outcomes}
    assert server.wait(60) == 0
    assert contents(server.data).instances.keys() == names(outcomes, ok=True)


def _refuses(address: str) -> bool:
    try:
        socket.create_connection(address_of(address), timeout=10).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # It had not been accepted yet when the socket that it waited in was closed.
        return False
    return False


def test_a_second_signal_ends_all_workers_at_once(starting: Starting, tmp_path: Path) -> None:
    instruments = Instruments(tmp_path / "instruments")
    server = starting(*TWO, wrapper=instruments.wrapper, env=LONG_GRACE)
    with many(server) as fronts:
        with write_lock(server.data):
            running = AtOnce(fronts, some(8, "running"))
            instruments.wait_for_arrivals(8)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: len(server.lines("draining")) == 2)
            assert server.stop(signal.SIGTERM, within=60) == 128 + signal.SIGTERM
        assert codes(running.outcomes()) == {LOST: 8}
    server = starting(*TWO)
    assert contents(server.data).instances == {}
    assert server.stop() == 0


@pytest.mark.parametrize("when", ["at any moment", "while it writes"])
def test_a_killed_worker_is_replaced_and_nothing_acknowledged_is_lost(starting: Starting, when: str) -> None:
    server = starting(*TWO)
    with many(server) as fronts:
        load = Load(fronts, 32, "killed")
        load.wait_for_first()
        outcomes = load.end(partial(_kill_one_and_stop, server, while_it_writes=when == "while it writes"))
    assert codes(outcomes).keys() <= {"OK", LOST, "CANCELLED"}
    [line] = server.lines("a worker ended and is replaced")
    assert line["reason"] == "it ended with SIGKILL"
    found = contents(server.data).instances
    assert names(outcomes, ok=True) <= found.keys(), "acknowledged, and gone"
    for outcome in outcomes:
        if outcome.ok:
            assert_is(outcome, found[outcome.wanted.name])


def _kill_one_and_stop(server: Server, *, while_it_writes: bool) -> None:
    """Kill a worker, see that another has taken its place and answers, and stop the server."""
    before = workers(server)
    if while_it_writes:
        log = database(server.data).with_name("instanced.db-wal")
        subprocess.run([sys.executable, "-I", "-S", KILLER, str(min(before)), log, "0.2"], check=True)
    else:
        time.sleep(random.uniform(0, 0.4))
        os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(workers(server)) == 2 and workers(server) != before)
    for _ in range(16):
        healthy = requests.get(f"{server.url}/admin/v1/healthz", headers={"connection": "close"}, timeout=10)
        assert healthy.status_code == 200
    assert server.stop(within=60) == 0


def test_a_worker_that_is_told_to_stop_finishes_its_calls_and_is_replaced(starting: Starting) -> None:
    server = starting(*TWO)
    before = workers(server)
    os.kill(min(before), signal.SIGTERM)
    wait_until(lambda: len(workers(server)) == 2 and workers(server) != before)
    [line] = server.lines("a worker ended and is replaced")
    assert line["reason"] == "it ended with status 0"
    assert all(read(server, "nobody.example").status_code == 404 for _ in range(8))
    assert server.stop() == 0


def test_workers_end_with_the_first_process_however_that_ends(starting: Starting) -> None:
    server = starting(*TWO)
    pids = workers(server)
    with many(server) as fronts:
        load = Load(fronts, 32, "left")
        load.wait_for_first()
        outcomes = load.end(server.kill)
    assert codes(outcomes).keys() <= {"OK", LOST, "CANCELLED"}
    wait_until(partial(_is_free, server.data), within=5)
    server = starting(*TWO)
    assert not workers(server) & pids
    found = contents(server.data).instances
    assert names(outcomes, ok=True) <= found.keys(), "acknowledged, and gone"
    assert server.stop() == 0


def _is_free(data: Path) -> bool:
    try:
        DataFolder.open(data).close()
    except StoreRefused:
        return False
    return True


def test_the_folder_is_held_until_the_last_worker_is_gone(starting: Starting) -> None:
    server = starting(*TWO)
    pids = workers(server)
    for pid in pids:
        # It cannot notice that the first process is gone.
        os.kill(pid, signal.SIGSTOP)
    server.kill()
    assert not _is_free(server.data)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    wait_until(partial(_is_free, server.data), within=5)


def refused(data: Path, *arguments: str, **env: str) -> str:
    """Return what a server says on stderr that does not start, and prints nothing else."""
    command: list[str | Path] = [
        INSTANCED,
        "serve",
        "--data",
        data,
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        *arguments,
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INSTANCED_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**clean, **env}, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize("listener", ["--grpc", "--http"])
def test_a_port_in_use_is_refused_also_where_its_owner_would_share_it(tmp_path: Path, listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(tmp_path / "data", *TWO, listener, address)
    assert f"on {address}: Address already in use" in said.splitlines()[-1]


def test_a_second_server_is_refused_and_told_of_the_first(starting: Starting) -> None:
    server = starting(*TWO)
    assert f"in use by process {server.process.pid};" in refused(server.data, *TWO)
    assert f"in use by process {server.process.pid};" in refused(server.data)
    assert server.stop() == 0


def test_a_server_whose_workers_cannot_be_replaced_ends_and_says_why(starting: Starting, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("server")
    env = {"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)}
    server = starting(*TWO, env=env)
    key.rename(key.with_suffix(".away"))
    os.kill(min(workers(server)), signal.SIGKILL)
    assert server.wait(30) == 1
    assert f"instanced: TLS.KeyPath: cannot read {key}" in server.log.read_text().splitlines()[-1]
    assert _is_free(server.data)


def test_every_worker_takes_up_a_renewed_certificate(starting: Starting, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    env = {"INSTANCED_TLS_CERTPATH": str(certificate), "INSTANCED_TLS_KEYPATH": str(key)}
    server = starting(*TWO, env=env)
    before = ssl.get_server_certificate(address_of(server.http))
    for old, new in zip((certificate, key), authority.issue("renewed"), strict=True):
        new.replace(old)
    wait_until(lambda: len(server.lines("certificate reloaded")) == 2)
    for address in (server.http, server.grpc):
        assert before not in {ssl.get_server_certificate(address_of(address)) for _ in range(16)}
    assert server.stop() == 0


def test_one_worker_is_the_server_itself(starting: Starting) -> None:
    server = starting("--workers", "1")
    assert workers(server) == set()
    assert server.add()
    assert server.stop() == 0
