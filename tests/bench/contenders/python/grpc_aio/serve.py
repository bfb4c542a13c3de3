"""Bare grpc.aio on uvloop."""

import grpc
import uvloop
from zitadel.admin_pb2_grpc import add_AdminServiceServicer_to_server

from tests.bench.contenders.python.reply import arguments
from tests.bench.contenders.python.servicer import Servicer

# By default grpc core cancels some of the calls that arrive at once.
PENDING = 100_000


async def main() -> None:
    """Serve until the process is ended."""
    port, reply = arguments()
    server = grpc.aio.server(
        options=[
            ("grpc.server.max_pending_requests", PENDING),
            ("grpc.server.max_pending_requests_hard_limit", PENDING),
        ]
    )
    add_AdminServiceServicer_to_server(Servicer(reply), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
