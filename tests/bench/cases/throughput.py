"""GetMyInstance as fast as it goes, in each protocol, all contenders beside each other."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.bench import lineup
from tests.bench.bench import Bench, Entrant, entrants, load
from tests.bench.figures import Aim, Column, Figures, Table
from tests.bench.h2load import Shape, Void

# As many calls under way for all; more wait in queues alone, and with some contenders get lost there.
SHAPES: Final[Mapping[str, Shape]] = {
    "grpc": Shape(4, 16),
    "grpc-web": Shape(16),
    "json": Shape(16),
    "connect": Shape(16),
}
TITLES: Final = {"grpc": "gRPC", "grpc-web": "gRPC-Web", "json": "JSON", "connect": "Connect"}
RATE: Final = "calls_per_second"
CPU: Final = "cpu_per_call"
COLUMNS: Final = (Column(RATE, "calls/s"), Column(CPU, "CPU µs/call", scale=1e6))

_OURS, _NATIVE, _PYVOY = lineup.OURS.name, lineup.OURS_NATIVE.name, lineup.OURS_PYVOY.name
_HTTP: Final = (_OURS, _PYVOY)


def _of_both(*peers: tuple[lineup.Peer, float]) -> Sequence[Aim]:
    return [Aim(mine, peer.name, at_least=ratio) for peer, ratio in peers for mine in _HTTP]


AIMS: Final[Mapping[str, Sequence[Aim]]] = {
    "grpc": (
        Aim(_NATIVE, lineup.GRPC_AIO.name, at_least=0.9),
        Aim(_OURS, lineup.GRPC_AIO.name, at_least=0.9),
        Aim(_PYVOY, lineup.GRPC_AIO.name, at_least=3),
        Aim(_PYVOY, lineup.GRPC_GO.name, at_least=0.4),
    ),
    "grpc-web": _of_both((lineup.SONORA, 2), (lineup.CONNECTRPC, 2), (lineup.GRPCWEB, 1.2), (lineup.VANGUARD, 1.2)),
    "json": (
        *_of_both((lineup.FASTAPI, 2), (lineup.CONNECTRPC, 1.3), (lineup.GRPC_GATEWAY, 1.2)),
        Aim(_OURS, lineup.CONSTANT_OURS.name, at_least=0.5),
        Aim(_PYVOY, lineup.CONSTANT_PYVOY.name, at_least=0.5),
    ),
}


def run(bench: Bench, protocol: str) -> Table:
    """Measure one protocol."""
    shape = SHAPES[protocol]
    with entrants(bench, lineup.answering(protocol), protocol) as (rows, found):
        for number in range(bench.rounds):
            # Whoever goes first in one round does not in the next.
            turn = number % len(found) if found else 0
            for entrant in [*found[turn:], *found[:turn]]:
                figures = measure(bench, entrant, shape)
                if figures:
                    entrant.row.rounds[number] = figures
    return Table(
        case=protocol,
        title=f"{TITLES[protocol]}: GetMyInstance",
        key=RATE,
        columns=COLUMNS,
        rows=rows,
        ours=[name for name in (_OURS, _NATIVE, _PYVOY) if name in {row.name for row in rows}],
        aims=AIMS.get(protocol, ()),
        text=f"{shape.connections} connections"
        + (f" with {shape.streams} calls at once on each." if shape.streams > 1 else ", one call at a time on each."),
    )


def measure(bench: Bench, entrant: Entrant, shape: Shape) -> Figures | None:
    """Measure one round of one contender; a void one is noted in its row."""
    try:
        result, cpu = load(entrant, shape, bench.seconds)
    except Void as reason:
        entrant.row.failed.append(f"void: {reason}")
        bench.say(f"  {entrant.row.name}: void: {reason}")
        return None
    bench.say(f"  {entrant.row.name}: {result.rate:,.0f} calls/s, {cpu / result.calls * 1e6:,.0f} µs")
    return {RATE: result.rate, CPU: cpu / result.calls}
