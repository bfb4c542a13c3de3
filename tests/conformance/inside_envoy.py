"""What Envoy loads where the host is pyvoy: the gateway alone, over both versions of HTTP."""

import base64

from connectrpc.conformance.v1 import server_compat_pb2

from gateway.hosts.pyvoy import PyvoyHost
from tests.conformance.server import answer, make_gateway


async def _main(host: PyvoyHost) -> int:
    asked = server_compat_pb2.ServerCompatRequest.FromString(base64.b64decode(host.handed_over["asked"]))
    await host.start(make_gateway(asked))
    answer(asked, host.address[1])
    await host.stopping.wait()
    return 0


host = PyvoyHost(_main)
