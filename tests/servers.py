"""Real servers for the tests: the installed command, in a process of its own, on free ports."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

INSTANCED = Path(sys.executable).parent / "instanced"


@dataclass
class Server:
    """A running `instanced serve`."""

    process: subprocess.Popen[str]
    grpc: str
    http: str
    data: Path
    log: Path
    tokens: dict[str | None, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return the HTTP listener's URL."""
        return f"http://{self.http}"

    def token(self, audience: str | None = None) -> str:
        """Return a token of the server's own user, made once by the command that users call."""
        if audience not in self.tokens:
            command = [INSTANCED, "token", "--data", self.data, *(("--audience", audience) if audience else ())]
            made = subprocess.run(command, check=True, capture_output=True, text=True)
            self.tokens[audience] = made.stdout.strip()
        return self.tokens[audience]

    def bearer(self, audience: str | None = None) -> dict[str, str]:
        """Return the header that a call carries."""
        return {"authorization": f"Bearer {self.token(audience)}"}

    def add(self, name: str = "Acme", **fields: object) -> str:
        """Add an instance over JSON and return its id."""
        body = {"instanceName": name, "ownerEmail": {"email": "owner@acme.example"}, **fields}
        reply = requests.post(f"{self.url}/system/v1/instances", json=body, headers=self.bearer(), timeout=30)
        assert reply.status_code == 200, reply.text
        instance_id = reply.json()["instanceId"]
        assert isinstance(instance_id, str)
        return instance_id

    def lines(self, event: str = "call") -> list[dict[str, object]]:
        """Return the log's lines of one kind."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in entries if entry["event"] == event]

    def line_of(self, request_id: object) -> dict[str, object]:
        """Return the one line of a call, which may be written shortly after its reply."""
        found: list[dict[str, object]] = []

        def is_there() -> bool:
            found[:] = [line for line in self.lines() if line["request_id"] == request_id]
            return bool(found)

        wait_until(is_there)
        [line] = found
        return line

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 15) -> int:
        """Send a signal and return the exit status, as `wait` does."""
        self.process.send_signal(how)
        return self.wait(within)

    def wait(self, within: float = 15) -> int:
        """Return the exit status; a server that does not end in time is killed, and fails the test."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout:
                self.process.stdout.close()

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can be."""
        self.stop(signal.SIGKILL)


def start(
    data: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    grpc: str = "127.0.0.1:0",
    http: str = "127.0.0.1:0",
) -> Server:
    """Start a server on `data` and return it once it takes calls; its log is beside the folder, `<data>.log`."""
    log = data.with_name(data.name + ".log")
    command = [*wrapper, str(INSTANCED), "serve", "--data", str(data), "--grpc", grpc, "--http", http, *arguments]
    with log.open("a") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**_clean_environment(), **(env or {})}
        )
    assert process.stdout is not None
    listeners: dict[str, str] = {}
    while len(listeners) < 2:
        line = process.stdout.readline()
        if not line:
            process.wait()
            process.stdout.close()
            raise RuntimeError(f"the server ended with {process.returncode}: {log.read_text()[-4000:]}")
        name, _, address = line.strip().partition(" ")
        listeners[name] = address
    return Server(process, listeners["grpc"], listeners["http"], data, log)


def wait_until(condition: Callable[[], object], within: float = 10) -> None:
    """Wait until a callable returns something true."""
    ends = time.monotonic() + within
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"not so after {within} s")
        time.sleep(0.01)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("INSTANCED_")}
