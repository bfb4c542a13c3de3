"""GetMyInstance as fast as it goes, in each protocol, all contenders beside each other."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from tests.bench import lineup
from tests.bench.bench import COLUMNS, CPU, RATE, Bench, Entrant, entrants, in_turn, load
from tests.bench.cases import latency
from tests.bench.figures import Aim, Figures, Table
from tests.bench.h2load import Shape

_OURS, _NATIVE = lineup.OURS.name, lineup.OURS_NATIVE.name


def _to_reach(*peers: tuple[lineup.Peer, float]) -> Sequence[Aim]:
    return [Aim(_OURS, peer.name, at_least=ratio) for peer, ratio in peers]


AIMS: Final[Mapping[str, Sequence[Aim]]] = {
    "grpc": (
        Aim(_NATIVE, lineup.GRPC_AIO.name, at_least=0.9),
        *_to_reach((lineup.GRPC_AIO, 3), (lineup.GRPC_GO, 0.4)),
    ),
    "grpc-web": _to_reach((lineup.SONORA, 2), (lineup.CONNECTRPC, 2), (lineup.GRPCWEB, 1.2), (lineup.VANGUARD, 1.2)),
    "json": _to_reach(
        (lineup.FASTAPI, 2), (lineup.CONNECTRPC, 1.3), (lineup.GRPC_GATEWAY, 1.2), (lineup.CONSTANT_OURS, 0.5)
    ),
}


def run(bench: Bench, protocol: str, *, and_latency: bool = False) -> list[Table]:
    """Measure one protocol; with latency after each round, for which nothing has to be started again."""
    shape = lineup.SHAPES[protocol]
    with entrants(bench, lineup.answering(protocol), protocol) as (rows, found):
        in_turn(bench, found, partial(measure, bench, shape))
        after = [latency.table(bench, protocol, rows, found)] if and_latency else []
    table = Table(
        case=protocol,
        title=f"{lineup.TITLES[protocol]}: GetMyInstance",
        key=RATE,
        columns=COLUMNS,
        rows=rows,
        cost=CPU,
        ours=[name for name in (_OURS, _NATIVE) if name in {row.name for row in rows}],
        aims=AIMS.get(protocol, ()),
        text=f"{shape.connections} connections"
        + (f" with {shape.streams} calls at once on each." if shape.streams > 1 else ", one call at a time on each."),
    )
    return [table, *after]


def measure(bench: Bench, shape: Shape, entrant: Entrant) -> Figures:
    """Measure one round of one contender."""
    result, cpu = load(entrant, shape, bench.seconds)
    entrant.rate = result.rate
    return {RATE: result.rate, CPU: cpu / result.calls}
