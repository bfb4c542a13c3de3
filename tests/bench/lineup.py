"""Who is measured: for each contender how it is started and which call it answers in each protocol."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.bench import wire
from tests.bench.contender import Contender, Place, Running, free_port, log_of, process
from tests.bench.contenders.go import build
from tests.bench.contenders.python.connectrpc import stubs
from tests.bench.h2load import Shape
from tests.bench.ours import NAME, Ours
from tests.bench.wire import Call

CONTENDERS: Final = "tests.bench.contenders"

# As many calls under way for all; more wait in queues alone, and with some contenders get lost there.
SHAPES: Final[Mapping[str, Shape]] = {
    "grpc": Shape(4, 16),
    "grpc-web": Shape(16),
    "json": Shape(16),
    "connect": Shape(16),
}
TITLES: Final = {"grpc": "gRPC", "grpc-web": "gRPC-Web", "json": "JSON", "connect": "Connect"}


def _by_protocol(*calls: Call) -> Mapping[str, Call]:
    return {call.protocol: call for call in calls}


@dataclass(frozen=True, slots=True)
class Peer:
    """A contender that one command starts. `command` gets where it runs and the port it is to listen on."""

    name: str
    command: Callable[[Place, int], list[str]]
    calls: Mapping[str, Call]
    notes: Mapping[str, str] = field(default_factory=dict)

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


def connectrpc(module: str) -> Callable[[Place, int], list[str]]:
    """Return the command of connectrpc on a host, once its stubs are written."""

    def command(place: Place, port: int) -> list[str]:
        stubs.write()
        return python(f"connectrpc.{module}")(place, port)

    return command


def go(name: str) -> Callable[[Place, int], list[str]]:
    """Return the command of a contender in Go, once it is built."""

    def command(place: Place, port: int) -> list[str]:
        return [str(build.program(name)), str(port), str(place.reply_file)]

    return command


_NO_RULES: Final = "it knows no google.api.http rules: this is JSON by Connect, at the path of the RPC"
_TWO: Final = "two processes, and in Envoy a thread for each core, as is its default"
_MALFORMED: Final = "its trailers are malformed: clients cannot read the status"

OURS: Final = Ours(NAME)
OURS_NATIVE: Final = Ours(f"{NAME}, gRPC listener", native=True, calls=_by_protocol(wire.GRPC))

GRPC_AIO: Final = Peer("grpc.aio", python("grpc_aio.serve"), _by_protocol(wire.GRPC))
SONORA: Final = Peer(
    "sonora on uvicorn", python("sonora_uvicorn.serve"), _by_protocol(wire.GRPC_WEB), notes={"grpc-web": _MALFORMED}
)
SONORA_GRANIAN: Final = Peer(
    "sonora on granian", python("sonora_granian.serve"), _by_protocol(wire.GRPC_WEB), notes={"grpc-web": _MALFORMED}
)
CONNECTRPC: Final = Peer(
    "connectrpc on uvicorn",
    connectrpc("on_uvicorn"),
    _by_protocol(wire.GRPC_WEB, wire.JSON_RPC, wire.CONNECT),
    notes={"json": _NO_RULES},
)
CONNECTRPC_PYVOY: Final = Peer(
    "connectrpc on pyvoy",
    connectrpc("on_pyvoy"),
    _by_protocol(wire.GRPC, wire.GRPC_WEB, wire.JSON_RPC, wire.CONNECT),
    notes={"json": _NO_RULES},
)
FASTAPI: Final = Peer("FastAPI", python("fastapi.serve"), _by_protocol(wire.JSON))
ENVOY: Final = Peer(
    "Envoy before grpc.aio",
    python("envoy.serve"),
    _by_protocol(wire.GRPC_WEB, wire.JSON),
    notes=dict.fromkeys(("grpc-web", "json"), _TWO),
)
GRPC_GO: Final = Peer("grpc-go", go("grpc_go"), _by_protocol(wire.GRPC))
GRPC_GATEWAY: Final = Peer("grpc-gateway", go("grpc_gateway"), _by_protocol(wire.JSON))
VANGUARD: Final = Peer("vanguard-go", go("vanguard"), _by_protocol(wire.GRPC, wire.GRPC_WEB, wire.JSON, wire.CONNECT))
GRPCWEB: Final = Peer("Go grpcweb", go("grpcweb"), _by_protocol(wire.GRPC_WEB))
# The limits: what is left of a server when it has nothing to do.
CONSTANT: Final = Peer("constant bytes on uvicorn", python("constant.on_uvicorn"), _by_protocol(wire.JSON))
CONSTANT_OURS: Final = Peer("constant bytes on our host", python("constant.on_our_host"), _by_protocol(wire.JSON))

LIMITS: Final[tuple[Contender, ...]] = (CONSTANT, CONSTANT_OURS)
ALL: Final[tuple[Contender, ...]] = (
    *(OURS, OURS_NATIVE),
    *(GRPC_AIO, SONORA, SONORA_GRANIAN, CONNECTRPC, CONNECTRPC_PYVOY, FASTAPI, ENVOY),
    *(GRPC_GO, GRPC_GATEWAY, VANGUARD, GRPCWEB),
    *LIMITS,
)
# One of each kind of process.
STARTED: Final = tuple(each for each in ALL if each is not OURS_NATIVE and each not in LIMITS)


def answering(protocol: str) -> list[Contender]:
    """Return the contenders that speak a protocol."""
    return [contender for contender in ALL if protocol in contender.calls]
