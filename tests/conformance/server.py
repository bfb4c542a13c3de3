"""The server under test: `python -m tests.conformance.server HOST`, started by the runner once per kind of connection.

It reads one ServerCompatRequest from stdin, serves, answers with a ServerCompatResponse on stdout, and serves until it
is told to end. HOST carries the gateway; what that host cannot carry, plain grpc.aio serves with the same servicer.
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
from connectrpc.conformance.v1 import config_pb2, server_compat_pb2, service_pb2_grpc

from gateway import DEFAULT_MAX_MESSAGE_BYTES, Gateway
from gateway.hosts.uvicorn import UvicornHost
from tests.conformance.servicer import ConformanceServicer

_ADDRESS: Final = "127.0.0.1"
_LENGTH: Final = struct.Struct(">I")


@asynccontextmanager
async def on_grpc_aio(asked: Any, cut_after: float | None) -> AsyncIterator[int]:
    """Serve native gRPC over HTTP/2 and give the port."""
    options = [("grpc.max_receive_message_length", _limit(asked)), ("grpc.so_reuseport", 0)]
    if cut_after is not None:
        options += [("grpc.max_connection_age_ms", int(cut_after * 1000)), ("grpc.max_connection_age_grace_ms", 1)]
    server = grpc.aio.server(options=options)
    service_pb2_grpc.add_ConformanceServiceServicer_to_server(ConformanceServicer(), server)
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


@asynccontextmanager
async def on_uvicorn(asked: Any) -> AsyncIterator[int]:
    """Serve all that the gateway speaks over HTTP/1.1 and give the port."""
    sock = socket.create_server((_ADDRESS, 0))
    host = UvicornHost(_gateway(asked), sock, tls=_tls(asked) if asked.use_tls else None)
    await host.start()
    try:
        yield sock.getsockname()[1]
    finally:
        await host.stop(0)


def front(host: str, asked: Any, cut_after: float | None) -> AbstractAsyncContextManager[int]:
    """Serve the asked protocol and version of HTTP, the gateway on `host`.

    Raises:
        ValueError: nothing serves them there.
    """
    if host == "uvicorn" and asked.http_version == config_pb2.HTTP_VERSION_1:
        return on_uvicorn(asked)
    if host == "uvicorn" and asked.protocol == config_pb2.PROTOCOL_GRPC:
        return on_grpc_aio(asked, cut_after)
    raise ValueError(f"nothing serves protocol {asked.protocol} over HTTP version {asked.http_version} with {host}")


def _gateway(asked: Any) -> Gateway:
    gateway = Gateway(max_message_bytes=_limit(asked))
    service_pb2_grpc.add_ConformanceServiceServicer_to_server(ConformanceServicer(), gateway)
    return gateway


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


async def serve(host: str, cut_after: float | None) -> None:
    """Serve as stdin asks, until SIGTERM or SIGINT."""
    (length,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    asked = server_compat_pb2.ServerCompatRequest.FromString(sys.stdin.buffer.read(length))
    told_to_end = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, told_to_end.set)
    async with front(host, asked, cut_after) as port:
        pem = asked.server_creds.cert if asked.use_tls else b""
        answer = server_compat_pb2.ServerCompatResponse(host=_ADDRESS, port=port, pem_cert=pem).SerializeToString()
        sys.stdout.buffer.write(_LENGTH.pack(len(answer)) + answer)
        sys.stdout.buffer.flush()
        await told_to_end.wait()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", help="what carries the gateway")
    parser.add_argument(
        "--cut-after", type=float, help="seconds after which grpc.aio cuts a connection: some of its calls never end"
    )
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.host, arguments.cut_after))


if __name__ == "__main__":
    main()
