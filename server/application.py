"""The composition root: settings, store, identity, servicers, and what serves them on the two listeners."""

import asyncio
import gc
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from socket import socket
from typing import cast

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from zitadel import admin_pb2, system_pb2
from zitadel.admin_pb2_grpc import add_AdminServiceServicer_to_server
from zitadel.system_pb2_grpc import add_SystemServiceServicer_to_server

from gateway import Gateway
from server import logs
from server.certificates import Certificates
from server.domain.passwords import Passwords
from server.external import external_url, publish, withdraw
from server.http_front import http_front
from server.identity.authorizer import Authorizer
from server.identity.local_user import load_or_create_local_user, may_have_local_user
from server.identity.metadata import AUTHORIZATION, INSTANCE_HOST
from server.identity.requirements import read_requirements
from server.identity.users import SystemUser, parse_system_users
from server.instances import Instances
from server.interceptors.access_log import REQUEST_ID, AccessLog
from server.interceptors.authentication import Authentication
from server.interceptors.drain import Drain
from server.interceptors.errors import Errors
from server.interceptors.layers import Layers
from server.interceptors.native_methods import NativeMethods
from server.listeners import bind, shown
from server.native import listen, native_server
from server.servicers.admin import AdminServicer
from server.servicers.reflection import V1, V1ALPHA, add_reflection
from server.servicers.system import SystemServicer
from server.settings import Loaded, Settings, split_address
from server.store.folder import DataFolder
from server.store.sqlite import open_store

SERVICES = (
    system_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
# Public by name: these descriptors are not ours to put an option on.
PUBLIC = (HEALTH, V1, V1ALPHA)

# All metadata that interceptors and servicers read, but for the request id.
DECISIVE = (AUTHORIZATION, INSTANCE_HOST)

# Between saying NOT_SERVING to those who watch and ending their streams, in seconds.
_LAST_WORD = 0.05


@dataclass(frozen=True, slots=True)
class Listening:
    """Where calls are taken: the external URL, and the addresses of the two listeners as `HOST:PORT`."""

    url: str
    grpc: str
    http: str


def run(loaded: Loaded) -> None:
    """Serve until SIGTERM or SIGINT has drained the server; a second signal ends the process at once.

    Raises:
        SettingsError, StoreRefused, ConfigurationError: it cannot start; the message says what to do.
    """
    logs.set_up(loaded.settings.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(loaded))


async def _serve(loaded: Loaded) -> None:
    settings, stopping = loaded.settings, _stop_on_signals()
    say_ignored(loaded)
    with DataFolder.open(settings.data) as folder:
        users = system_users(settings, folder)

        def announce(listening: Listening) -> None:
            announce_listening(folder, users, listening)

        try:
            await serve_from(folder, settings, users, stopping=stopping, announce=announce)
        finally:
            withdraw(folder)


async def serve_from(
    folder: DataFolder,
    settings: Settings,
    users: Mapping[str, SystemUser],
    *,
    stopping: asyncio.Event,
    announce: Callable[[Listening], None],
    worker_listener: socket | None = None,
) -> None:
    """Serve from a folder that is held until `stopping` is set and the running calls are done.

    `announce` is called once calls are taken. `worker_listener` is what a worker has for HTTP, bound already: other
    processes of this server write to the same database, and listen on the same port for gRPC.

    Raises:
        SettingsError, StoreRefused, ConfigurationError: it cannot start; the message says what to do.
    """
    log = structlog.get_logger()
    among_workers = worker_listener is not None
    async with AsyncExitStack() as stack:
        store = await open_store(folder, alone=not among_workers)
        stack.push_async_callback(store.close)
        passwords = Passwords()
        stack.callback(passwords.close)

        pem = settings.tls.read()
        certificates = None if pem is None else Certificates(settings.tls, pem)
        listener = worker_listener or stack.enter_context(closing(bind(settings.http.address, "HTTP", "--http")))
        host, port = listener.getsockname()[:2]
        url = external_url(settings, port)
        instances = Instances(store, settings.external_domain, passwords)

        drain = Drain((HEALTH, V1, V1ALPHA))
        authorizer = Authorizer(users, url, instances)
        authentication = Authentication(authorizer, read_requirements(SERVICES, public=PUBLIC))
        layers = Layers([AccessLog(), Errors(), drain, authentication])
        gateway = Gateway(
            interceptors=[layers],
            cors_origins=settings.http.cors.allowed,
            max_message_bytes=settings.http.max_message_bytes,
            json_unknown_fields=settings.json_.unknown_fields,
            receive_timeout=settings.http.receive_timeout.total_seconds(),
            max_concurrent_calls=settings.http.max_concurrent_calls,
            max_url_bytes=settings.http.max_url_bytes,
            repeat_by=DECISIVE,
            repeat_regardless_of=(REQUEST_ID,),
        )
        methods = NativeMethods(layers, repeat_by=DECISIVE, repeat_regardless_of=(REQUEST_ID,))
        native = native_server(
            settings.grpc,
            methods,
            handshake_timeout=settings.http.receive_timeout,
            share_port=among_workers,
        )
        front = http_front(settings, gateway, listener, certificates)
        checks = await _add_servicers(instances, cast("grpc.aio.Server", methods), gateway)

        tls = None if certificates is None else certificates.for_grpc()
        grpc_port = listen(native, settings.grpc.address, tls, share_port=among_workers)
        await native.start()
        await front.start()
        if certificates is not None:
            stack.enter_context(certificates.watched(front.replace_tls))
        announce(
            Listening(url, shown(split_address(settings.grpc.address)[0], grpc_port), shown(host, port)),
        )

        _collect_seldom()
        await stopping.wait()
        log.info("draining", grace_s=settings.shutdown_grace.total_seconds())
        await checks.enter_graceful_shutdown()
        await asyncio.sleep(_LAST_WORD)
        drain.drain()
        grace = settings.shutdown_grace.total_seconds()
        await asyncio.gather(native.stop(grace), front.stop(grace))
    log.info("stopped")


def _collect_seldom() -> None:
    """Look for garbage in cycles seldom, and never among what was made at the start.

    Calls leave next to none, and a group of adds has thousands of objects alive: with Python's own thresholds a tenth
    of the time of an add goes into looking through them.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def say_ignored(loaded: Loaded) -> None:
    """Name in the log the settings that mean nothing here."""
    if loaded.ignored:
        structlog.get_logger().warning(
            "these settings mean nothing here and are ignored", settings=list(loaded.ignored)
        )


def announce_listening(folder: DataFolder, users: Mapping[str, SystemUser], listening: Listening) -> None:
    """Tell `instanced token`, the log and whoever waits on stdout that calls are taken. May raise StoreRefused."""
    publish(folder, listening.url, listening.grpc, listening.http)
    structlog.get_logger().info("serving", external_url=listening.url, data=str(folder.path), users=sorted(users))
    print(f"grpc {listening.grpc}\nhttp {listening.http}", flush=True)  # noqa: T201 - scripts wait for these lines


def system_users(settings: Settings, folder: DataFolder) -> dict[str, SystemUser]:
    """Return who may sign tokens: the configured users, or the server's own where nobody else can reach it."""
    users = parse_system_users(settings.system_api_users)
    if may_have_local_user(
        configured=bool(users),
        setting_present=settings.system_api_users is not None,
        addresses=(settings.grpc.address, settings.http.address),
    ):
        local = load_or_create_local_user(folder.path).user
        users = {local.id: local}
        structlog.get_logger().info(
            "no system user is configured, so there is one of the server's own; this prints a token of it",
            command=shlex.join([sys.argv[0], "token", "--data", str(settings.data)]),
        )
    return users


async def _add_servicers(instances: Instances, *fronts: grpc.aio.Server | Gateway) -> health.aio.HealthServicer:
    """Add every servicer to all fronts; return the one that says whether the server takes calls."""
    checks = health.aio.HealthServicer()
    for service in ("", *SERVICES, *PUBLIC):
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    for front in fronts:
        add_SystemServiceServicer_to_server(SystemServicer(instances), front)
        add_AdminServiceServicer_to_server(AdminServicer(), front)
        health_pb2_grpc.add_HealthServicer_to_server(checks, front)
    add_reflection((*SERVICES, HEALTH), *fronts)
    return checks


def _stop_on_signals() -> asyncio.Event:
    """Return the event that the first SIGTERM or SIGINT sets."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: int) -> None:
        if stopping.is_set():
            # What was acknowledged is on disk; everything else may go.
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping
