"""Constant bytes on the host that `instanced serve` has."""

import asyncio
import socket

import uvloop
from google.protobuf.json_format import MessageToJson

from gateway.hosts.http_host import HTTPHost
from tests.bench.contenders.python.constant.application import constant
from tests.bench.contenders.python.reply import arguments


async def main() -> None:
    """Serve until the process is ended."""
    port, reply = arguments()
    listener = socket.create_server(("127.0.0.1", port))
    host = HTTPHost(constant(MessageToJson(reply, indent=None).encode()), listener)
    await host.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
