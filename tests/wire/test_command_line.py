"""The command as its users run it: what it prints, what it refuses and how it says so."""

import json
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
import requests

from tests.servers import INSTANCED, Server

Starting = Callable[..., Server]


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INSTANCED_")}
    command = [str(INSTANCED), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env={**clean, **env})


def test_help_says_what_there_is() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("serve", "token", "rebuild"))


def test_the_version_is_that_of_the_replies() -> None:
    assert run("--version").stdout == "0.1.0\n"


def test_serve_prints_one_line_for_each_listener_and_nothing_else(starting: Starting) -> None:
    server = starting()
    server.add()
    server.process.send_signal(15)
    assert server.process.wait(15) == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""


def test_everything_in_the_data_folder_is_the_owners_alone(starting: Starting) -> None:
    server = starting()
    server.add()
    assert server.data.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in server.data.iterdir()}
    assert len(modes) >= 5
    assert set(modes.values()) == {0o600}, modes


def test_while_it_serves_the_folder_says_who_does_and_where(starting: Starting) -> None:
    server = starting()
    assert json.loads((server.data / "server.json").read_text()) == {
        "pid": server.process.pid,
        "external_url": server_url(server),
        "grpc": server.grpc,
        "http": server.http,
    }


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_leaves_nothing_but_the_data(starting: Starting, how: signal.Signals) -> None:
    server = starting()
    server.add()
    assert server.stop(how) == 0
    assert {path.name for path in server.data.iterdir()} == {"instanced.db", "local-user.key", "lock"}
    assert server.lines("stopped")


def test_the_log_says_how_to_get_a_token_with_the_command_that_was_called(server: Server) -> None:
    [said] = server.lines(
        "no system user is configured, so there is one of the server's own; this prints a token of it"
    )
    assert str(said["command"]).startswith(str(INSTANCED))


def test_an_instance_is_there_after_a_restart(starting: Starting) -> None:
    server = starting()
    server.add(customDomain="again.example")
    found = [ask(server, "again.example")]
    assert server.stop() == 0
    found.append(ask(starting(), "again.example"))
    first, second = (reply.json()["instance"] for reply in found)
    assert first == second


def server_url(server: Server) -> str:
    return f"http://localhost:{server.http.rpartition(':')[2]}"


def ask(server: Server, host: str) -> requests.Response:
    headers = {"x-zitadel-instance-host": host, **server.bearer()}
    return requests.get(f"{server.url}/admin/v1/instances/me", headers=headers, timeout=10)


def test_a_token_is_printed_alone_and_names_the_running_server(starting: Starting) -> None:
    server = starting()
    done = run("token", "--data", server.data)
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    claims = jwt.decode(line, options={"verify_signature": False})
    assert claims["aud"] == server_url(server)
    assert claims["exp"] - claims["iat"] == 3600


def test_a_token_of_a_server_that_is_not_running_names_the_settings_url(starting: Starting) -> None:
    server = starting()
    server.kill()
    done = run("token", "--data", server.data, "--ttl", "10m", INSTANCED_EXTERNALDOMAIN="a.example")
    claims = jwt.decode(done.stdout.strip(), options={"verify_signature": False})
    assert claims["aud"] == "http://a.example:8080"
    assert claims["exp"] - claims["iat"] == 600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ttl", "2h"], "--ttl: a token is accepted for an hour"),
        (["--ttl", "soon"], "--ttl: soon is not a duration"),
        (["--user", "boss"], "--user and --key go together"),
        (["--user", "boss", "--key", "/nowhere"], "--key: cannot read /nowhere: No such file or directory"),
        (["--data", "/nowhere"], "there is no key of the server's own user"),
    ],
)
def test_what_no_token_can_be_made_of_is_said_in_one_line(server: Server, arguments: list[str], message: str) -> None:
    done = run("token", "--data", server.data, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("instanced: ")
    assert message in line


@pytest.mark.parametrize("listener", ["--grpc", "--http"])
def test_a_port_in_use_is_refused(tmp_path: Path, listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "--grpc" if listener == "--http" else "--http"
        done = run("serve", "--data", tmp_path / "data", listener, address, other, "127.0.0.1:0")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"instanced: cannot listen for {'gRPC' if listener == '--grpc' else 'HTTP'} on {address}" in done.stderr
    assert listener in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("users", [None, "[]"])
def test_without_users_other_machines_must_not_reach_it(tmp_path: Path, users: str | None) -> None:
    env = {} if users is None else {"INSTANCED_SYSTEMAPIUSERS": users}
    done = run("serve", "--data", tmp_path / "data", "--http", "0.0.0.0:0", "--grpc", "127.0.0.1:0", **env)
    assert done.returncode == 1
    assert "instanced: SystemAPIUsers:" in done.stderr
    assert "0.0.0.0:0" in done.stderr


def test_the_servers_own_user_is_ignored_once_one_is_configured(starting: Starting, tmp_path: Path) -> None:
    server = starting()
    own = server.token()
    server.stop()
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    config = tmp_path / "config.yaml"
    config.write_text(f"SystemAPIUsers:\n- boss:\n    Path: {public}\nDatabase: {{}}\n")
    server = starting("--config", str(config))
    body = {"instanceName": "Acme", "ownerEmail": {"email": "a@acme.example"}}

    def add(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return requests.post(f"{server.url}/system/v1/instances", json=body, headers=headers, timeout=10).status_code

    url = server_url(server)
    assert add(run("token", "--data", server.data, "--audience", url).stdout.strip()) == 401
    assert add(own) == 401
    made = run("token", "--data", server.data, "--config", config, "--user", "boss", "--key", key)
    assert add(made.stdout.strip()) == 200
    [line] = server.lines("these settings mean nothing here and are ignored")
    assert line["settings"] == ["Database"]


def test_rebuild_leaves_the_same_projections(starting: Starting) -> None:
    server = starting()
    for number in range(3):
        server.add(f"Acme {number}", customDomain=f"rebuilt{number}.example")
    refused = run("rebuild", "--data", server.data)
    assert refused.returncode == 1
    assert f"process {server.process.pid}" in refused.stderr
    server.stop()
    before = projections(server.data)
    done = run("rebuild", "--data", server.data)
    assert (done.returncode, done.stdout) == (0, "")
    assert "27 events" in done.stderr
    assert projections(server.data) == before


def projections(data: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(data / "instanced.db")
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        assert {"instances", "domains", "organizations", "users"} <= set(tables)
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    finally:
        connection.close()


def test_rebuild_shows_its_progress_on_a_terminal(starting: Starting) -> None:
    server = starting()
    server.add()
    server.stop()
    main, terminal = pty.openpty()
    done = subprocess.run([INSTANCED, "rebuild", "--data", server.data], check=True, stderr=terminal, timeout=60)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # what Linux says at the end of a terminal
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert done.returncode == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    assert "rebuilding" in text
    assert "7/7 events" in text


def test_the_log_is_text_on_a_terminal(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    command: list[str | Path] = [
        INSTANCED,
        "serve",
        "--data",
        tmp_path / "data",
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    shown = os.read(main, 65536).decode()
    process.terminate()
    assert process.wait(15) == 0
    process.stdout.close()
    os.close(main)
    assert "no system user is configured" in shown
    assert "{" not in shown


def test_the_log_can_be_json_or_text_by_setting(starting: Starting) -> None:
    server = starting(env={"INSTANCED_LOG_FORMATTER_FORMAT": "text"})
    assert "serving" in server.log.read_text()
    with pytest.raises(json.JSONDecodeError):
        json.loads(server.log.read_text().splitlines()[0])


def test_healthz_answers_as_soon_as_the_lines_are_printed(starting: Starting) -> None:
    server = starting()
    assert requests.get(f"{server.url}/admin/v1/healthz", timeout=5).json() == {}


@pytest.mark.parametrize("stderr", ["closed pipe", "/dev/full"])
def test_a_log_that_cannot_be_written_fails_nothing(tmp_path: Path, stderr: str) -> None:
    if stderr == "closed pipe":
        reader, target = os.pipe()
        os.close(reader)
    else:
        target = os.open(stderr, os.O_WRONLY)
    arguments = ("--data", str(tmp_path / "data"), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    process = subprocess.Popen([INSTANCED, "serve", *arguments], stdout=subprocess.PIPE, stderr=target, text=True)
    os.close(target)
    assert process.stdout is not None
    grpc_address, http_address = (process.stdout.readline().split()[1] for _ in range(2))
    running = Server(process, grpc_address, http_address, tmp_path / "data", tmp_path / "log")
    assert running.add()
    assert requests.get(f"{running.url}/admin/v1/healthz", timeout=5).status_code == 200
    assert running.stop() == 0
