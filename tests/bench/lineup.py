"""Who is measured: for each contender how it is started and which call it answers in each protocol."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.bench import wire
from tests.bench.contender import Contender, Place, Running, free_port, log_of, process
from tests.bench.ours import NAME, Ours
from tests.bench.wire import Call

CONTENDERS: Final = "tests.bench.contenders"


def _by_protocol(*calls: Call) -> Mapping[str, Call]:
    return {call.protocol: call for call in calls}


@dataclass(frozen=True, slots=True)
class Peer:
    """A contender that one command starts. `command` gets where it runs and the port it is to listen on."""

    name: str
    command: Callable[[Place, int], list[str]]
    calls: Mapping[str, Call]
    note: str = ""

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start it and stop it at the end."""
        port = free_port()
        with process(self.command(place, port), log_of(place, self.name)) as started:
            address = f"127.0.0.1:{port}"
            yield Running(self.name, started, dict.fromkeys(self.calls, address))


def python(module: str) -> Callable[[Place, int], list[str]]:
    """Return the command of a contender in Python."""

    def command(place: Place, port: int) -> list[str]:
        return [sys.executable, "-m", f"{CONTENDERS}.python.{module}", str(port), str(place.reply_file)]

    return command


OURS: Final = Ours(NAME)
OURS_NATIVE: Final = Ours(f"{NAME}, gRPC listener", native=True, calls=_by_protocol(wire.GRPC))
OURS_PYVOY: Final = Ours(f"{NAME} on pyvoy", host="pyvoy")

GRPC_AIO: Final = Peer("grpc.aio", python("grpc_aio.serve"), _by_protocol(wire.GRPC))
SONORA: Final = Peer(
    "sonora on uvicorn",
    python("sonora_uvicorn.serve"),
    _by_protocol(wire.GRPC_WEB),
    note="its trailers are malformed: clients cannot read the status",
)
FASTAPI: Final = Peer("FastAPI", python("fastapi.serve"), _by_protocol(wire.JSON))
CONSTANT: Final = Peer("constant bytes on uvicorn", python("constant.on_uvicorn"), _by_protocol(wire.JSON))

ALL: Final[tuple[Contender, ...]] = (
    OURS,
    OURS_NATIVE,
    OURS_PYVOY,
    GRPC_AIO,
    SONORA,
    FASTAPI,
    CONSTANT,
)


def answering(protocol: str) -> list[Contender]:
    """Return the contenders that speak a protocol."""
    return [contender for contender in ALL if protocol in contender.calls]
