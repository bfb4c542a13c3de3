"""The contender that all this is about: the installed command, whole, on a data folder of its own."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from server.identity.local_user import LOCAL_USER_ID
from server.identity.minting import mint
from tests.bench import wire
from tests.bench.contender import Place, Running, log_of, process
from tests.bench.places import INSTANCED
from tests.bench.unmeasured import Failed
from tests.bench.wire import Call

NAME: Final = "instanced"
DOMAIN: Final = "acme.bench.example"
ADD_PATH: Final = "/system/v1/instances"

# In seconds; a token counts for an hour at most.
_LIFE: Final = 3_000
_BORN: Final = 300

_ON_THE_PORT: Final = {call.protocol: call for call in (wire.GRPC, wire.GRPC_WEB, wire.JSON, wire.CONNECT)}


@dataclass(frozen=True, slots=True)
class Ours:
    """`instanced serve`, its log at its default and written to a file.

    The instance is asked for by its `domain`. Without `data` the folder is new, with one instance; otherwise it is that
    folder itself, and what is added stays there. `native` has gRPC on the listener of its own, not on the HTTP port.
    `command` is that of another environment than `make` sets up.
    """

    name: str
    arguments: tuple[str, ...] = ()
    native: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None
    domain: str = DOMAIN
    calls: Mapping[str, Call] = field(default_factory=lambda: _ON_THE_PORT)
    command: Path = INSTANCED

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start it and stop it at the end; it answers."""
        data = self.data or Path(tempfile.mkdtemp(prefix="data-", dir=place.folder)) / "data"
        command = [str(self.command), "serve", "--data", str(data), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        command += self.arguments
        log = log_of(place, self.name)
        with process(command, log, stdout=subprocess.PIPE) as started:
            began = time.monotonic()
            addresses = _listeners(started, log)
            grpc = addresses["grpc" if self.native else "http"]
            running = Running(
                self.name,
                started,
                {"grpc": grpc, **dict.fromkeys(("grpc-web", "json", "connect"), addresses["http"])},
                {"authorization": f"Bearer {tokens(data)[0]}", wire.INSTANCE_HOST: self.domain},
                data,
                began,
            )
            if self.data is None:
                add(running, {"customDomain": DOMAIN})
            yield running


def tokens(data: Path, count: int = 1) -> list[str]:
    """Return different bearer tokens of the user that the server in a data folder has of its own."""
    key = next(data.glob("*.key")).read_bytes()
    audience = json.loads((data / "server.json").read_text())["external_url"]
    now = int(time.time())
    # Born at other seconds, and signed by a method that signs the same in another way each time.
    return [mint(LOCAL_USER_ID, key, audience, _LIFE, now=now - number % _BORN) for number in range(count)]


def add_body(fields: Mapping[str, object]) -> bytes:
    """Return the JSON of an AddInstance."""
    common = {"instanceName": "Acme", "ownerEmail": {"email": "owner@acme.example"}}
    return json.dumps({**common, **fields}).encode()


def add(running: Running, fields: Mapping[str, object]) -> None:
    """Add an instance.

    Raises:
        Failed: the server refuses.
    """
    headers = {"content-type": "application/json", "authorization": running.headers["authorization"]}
    try:
        wire.ask(running.addresses["json"], Call("json", ADD_PATH, headers, add_body(fields)), within=30)
    except wire.Wrong as error:
        raise Failed(f"AddInstance: {error}") from error


def _listeners(started: subprocess.Popen[str], log: Path) -> dict[str, str]:
    assert started.stdout is not None
    addresses: dict[str, str] = {}
    while len(addresses) < 2:
        line = started.stdout.readline()
        if not line:
            raise Failed(f"it ended with {started.wait()}: {log.read_text()[-500:]}")
        name, _, address = line.strip().partition(" ")
        addresses[name] = address
    return addresses
