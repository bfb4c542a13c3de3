"""What Envoy loads: constant bytes, on the same host as ours with `--host pyvoy`."""

from google.protobuf.json_format import MessageToJson
from zitadel.admin_pb2 import GetMyInstanceResponse

from gateway.hosts.pyvoy import PyvoyHost
from tests.bench.contenders.python.constant.application import constant
from tests.bench.contenders.python.reply import handed_on


async def _main(host: PyvoyHost) -> int:
    reply = GetMyInstanceResponse.FromString(handed_on())
    await host.start(constant(MessageToJson(reply, indent=None).encode()))
    await host.stopping.wait()
    return 0


host = PyvoyHost(_main)
