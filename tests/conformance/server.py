"""The server under test, `python -m tests.conformance.server SET_UP`: the runner starts one per kind of connection.

It reads one ServerCompatRequest from stdin, answers with a ServerCompatResponse on stdout once it serves, and serves
until it is told to end. Whatever is asked, the servicer is the same.
"""

import argparse
import asyncio
import signal
import socket
import ssl
import struct
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import grpc
import uvloop
from connectrpc.conformance.v1 import server_compat_pb2, service_pb2_grpc

from gateway import DEFAULT_MAX_MESSAGE_BYTES, Gateway
from gateway.hosts.http_host import HTTPHost
from tests.conformance.servicer import ConformanceServicer

_ADDRESS: Final = "127.0.0.1"
_LENGTH: Final = struct.Struct(">I")


@asynccontextmanager
async def on_one_port(asked: Any) -> AsyncIterator[int]:
    """Serve both versions of HTTP by the gateway, in the event loop."""
    sock = socket.create_server((_ADDRESS, 0))
    host = HTTPHost(make_gateway(asked), sock, tls=_tls(asked) if asked.use_tls else None)
    await host.start()
    try:
        yield sock.getsockname()[1]
    finally:
        await host.stop(0)


@asynccontextmanager
async def on_grpc_aio(asked: Any, cut_after: float | None) -> AsyncIterator[int]:
    """Serve native gRPC by grpc.aio."""
    server = _grpc_server(asked, cut_after)
    if asked.use_tls:
        pair = (asked.server_creds.key, asked.server_creds.cert)
        trusted = asked.client_tls_cert or None
        credentials = grpc.ssl_server_credentials([pair], trusted, require_client_auth=trusted is not None)
        port = server.add_secure_port(f"{_ADDRESS}:0", credentials)
    else:
        port = server.add_insecure_port(f"{_ADDRESS}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def make_gateway(asked: Any) -> Gateway:
    """Return a gateway with the servicer and the limit that is asked for."""
    gateway = Gateway(max_message_bytes=_limit(asked))
    service_pb2_grpc.add_ConformanceServiceServicer_to_server(ConformanceServicer(), gateway)
    return gateway


def answer(asked: Any, port: int) -> None:
    """Tell the runner that it can call."""
    pem = asked.server_creds.cert if asked.use_tls else b""
    response = server_compat_pb2.ServerCompatResponse(host=_ADDRESS, port=port, pem_cert=pem).SerializeToString()
    sys.stdout.buffer.write(_LENGTH.pack(len(response)) + response)
    sys.stdout.buffer.flush()


def _grpc_server(asked: Any, cut_after: float | None) -> grpc.aio.Server:
    options = [("grpc.max_receive_message_length", _limit(asked)), ("grpc.so_reuseport", 0)]
    if cut_after is not None:
        options += [("grpc.max_connection_age_ms", int(cut_after * 1000)), ("grpc.max_connection_age_grace_ms", 1)]
    server = grpc.aio.server(options=options)
    service_pb2_grpc.add_ConformanceServiceServicer_to_server(ConformanceServicer(), server)
    return server


def _limit(asked: Any) -> int:
    return asked.message_receive_limit or DEFAULT_MAX_MESSAGE_BYTES


def _tls(asked: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(asked.server_creds.cert + b"\n" + asked.server_creds.key)
        pem.flush()
        context.load_cert_chain(pem.name)
    if asked.client_tls_cert:
        context.load_verify_locations(cadata=asked.client_tls_cert.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def serve(serving: AbstractAsyncContextManager[int], asked: Any) -> None:
    """Serve until SIGTERM or SIGINT."""
    told_to_end = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, told_to_end.set)
    async with serving as port:
        answer(asked, port)
        await told_to_end.wait()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set_up", choices=["default", "grpc-aio"])
    parser.add_argument(
        "--cut-after", type=float, help="seconds after which grpc.aio cuts a connection: some of its calls never end"
    )
    arguments = parser.parse_args()
    (length,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    asked = server_compat_pb2.ServerCompatRequest.FromString(sys.stdin.buffer.read(length))
    serving = on_one_port(asked) if arguments.set_up == "default" else on_grpc_aio(asked, arguments.cut_after)
    uvloop.run(serve(serving, asked))


if __name__ == "__main__":
    main()
