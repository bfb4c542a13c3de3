"""The ASGI application: from an HTTP request to the protocol and the method that serve it."""

import asyncio
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from sonora.asgi import grpcASGI

from gateway._call import Call, FindHandler, send_reply
from gateway._codec import UnknownFields, every_codec
from gateway._context import peer_named
from gateway._cors import ANY_ORIGIN, CORS
from gateway._lifetime import Lifetime, Watches
from gateway._metadata import reply_headers
from gateway._method import Method, guarded
from gateway._protocol import CallProtocol, Exchange
from gateway._protocol_connect import VERSION_HEADER, ConnectStream, ConnectUnary, query_parameters
from gateway._protocol_grpc import GRPC
from gateway._protocol_grpc_web import GRPCWeb
from gateway._protocol_json import PlainJSON
from gateway._repeats import Again, Asked, Repeat, Repeats, returned
from gateway._route import Route, routes_of
from gateway._router import Match, Router
from gateway._status import refused
from gateway._template import Template
from gateway._types import (
    Address,
    Answer,
    ASGIApplication,
    Event,
    Handler,
    Headers,
    Metadata,
    Receive,
    Reply,
    Scope,
    Send,
)

_log = logging.getLogger(__name__)

DEFAULT_MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
DEFAULT_RECEIVE_TIMEOUT: Final = 30.0
DEFAULT_MAX_CONCURRENT_CALLS: Final = 10_000
DEFAULT_MAX_URL_BYTES: Final = 16 * 1024

# A caller that does not take trailers never learns how its call ended.
_WITHOUT_TRAILERS: Final[tuple[int, grpc.StatusCode, str, Headers]] = (
    400,
    grpc.StatusCode.INTERNAL,
    "te: trailers is missing",
    [],
)
# How many ways to ask for the same are kept; a caller may write one Content-Type in very many ways.
_REMEMBERED: Final = 1024
# In a scope: what `at_once` has taken its request for, where it was asked.
_ASKED: Final = "gateway.asked"
_READS: Final = ("GET", "HEAD")
_TOO_MANY_CALLS: Final = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls run at once; try again later")
_TOO_LONG: Final[tuple[int, grpc.StatusCode, str, Headers]] = (
    414,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "the path and query are too long",
    [],
)
_RPC_PATH: Final = re.compile(r"/[^/]+/[^/]+")
_WITHOUT_BODY_BY_NATURE: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_ORDER_OF_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A protocol, the media type that picked it, and whether its calls end in HTTP trailers."""

    protocol: CallProtocol
    media_type: bytes
    in_trailers: bool


class _Target(NamedTuple):
    """What of a request says what it calls, and how."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    head: Mapping[bytes, bytes]
    bodyless: bool


# HTTP method, path as sent, Content-Type, without a body Accept, Connect's version, whether the host offers trailers,
# whether there is no body.
_Key = tuple[str, bytes, bytes | None, bytes | None, bytes | None, bool, bool]


class Gateway(grpcASGI):  # type: ignore[misc] # sonora has no types
    """Serves grpc.aio servicers as gRPC-Web, Connect and JSON over HTTP; as gRPC where the host offers trailers.

        gateway = Gateway(interceptors=[...])
        add_SystemServiceServicer_to_server(SystemServicer(), gateway)

    Each method is served at `POST /package.Service/Method` and, where its descriptor has `google.api.http` rules, at
    their paths. Errors in those rules are raised when the servicer is added.

    Args:
        application: the ASGI application that gets what is no call of an added service, websockets among it.
        interceptors: run around each call, the first outermost, before the request is read.
        cors_origins: origins whose pages may call, `*` for any; never with credentials.
        max_message_bytes: the longest request message; the limit acts while it is received.
        json_unknown_fields: `refuse` what no field takes with INVALID_ARGUMENT, or `ignore` it.
        receive_timeout: seconds for the whole body of a request with one message to arrive.
        max_concurrent_calls: how many may run at once; one more is RESOURCE_EXHAUSTED, as under grpc.aio.
        max_url_bytes: the longest path and query together; beyond it the answer is 414.
        repeat_by: the metadata that decides, beside what the gateway reads itself, how a call that may be repeated is
            answered: requests that differ in other metadata alone repeat each other. None: any may decide.
        repeat_regardless_of: metadata that decides nothing but what `Repeatable.again` makes of it, such as a request
            id.
    """

    def __init__(
        self,
        application: ASGIApplication | None = None,
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        cors_origins: Sequence[str] | str = (ANY_ORIGIN,),
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        json_unknown_fields: UnknownFields = "refuse",
        receive_timeout: float = DEFAULT_RECEIVE_TIMEOUT,
        max_concurrent_calls: int = DEFAULT_MAX_CONCURRENT_CALLS,
        max_url_bytes: int = DEFAULT_MAX_URL_BYTES,
        repeat_by: Collection[str] | None = None,
        repeat_regardless_of: Collection[str] = (),
    ) -> None:
        super().__init__(application)
        self._cors = CORS(cors_origins)
        self._max_message_bytes = max_message_bytes
        self._receive_timeout = receive_timeout
        self._max_concurrent_calls = max_concurrent_calls
        self._max_url_bytes = max_url_bytes
        self._running = 0
        self._watches = Watches()
        self._repeats = Repeats(repeat_by, repeat_regardless_of)
        self._found: dict[_Key, tuple[_Spoken | None, Match[Route] | None]] = {}
        self._router: Router[Route] = Router()
        self._methods: dict[str, Method] = {}
        self._services: set[str] = set()
        self._generic: list[grpc.GenericRpcHandler] = []
        self._find_handler = self._chain(interceptors)

        self._json = PlainJSON(json_unknown_fields)
        codecs = every_codec(json_unknown_fields)
        protocols: tuple[CallProtocol, ...] = (
            *(GRPC(codec) for codec in codecs),
            *(GRPCWeb(codec) for codec in codecs),
            *(GRPCWeb(codec, text=True) for codec in codecs),
            *(ConnectUnary(codec, codecs) for codec in codecs),
            *(ConnectStream(codec, codecs) for codec in codecs),
            # Last, as application/json is plain unless the request says that it is Connect.
            self._json,
        )
        every = _by_media_type(protocols)
        # By whether the host offers trailers.
        self._served = {
            True: every,
            False: {key: each for key, each in every.items() if not each.in_trailers},
        }
        self._connect = _by_media_type([ConnectUnary(codec, codecs) for codec in codecs])
        gets = _by_media_type([ConnectUnary(codec, codecs, get=True) for codec in codecs])
        self._connect_gets = {media_type.rpartition(b"/")[2]: spoken for media_type, spoken in gets.items()}
        self._readable: dict[str, Match[Route]] = {}
        self._default = every[b"application/json"]
        self._accept_post = {
            trailers: (b"accept-post", b", ".join(served)) for trailers, served in self._served.items()
        }

    # Adding servicers, as to a grpc server.

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add services; those with a descriptor are served at their HTTP rules too.

        Raises:
            BadRule: a rule is wrong; the message names its RPC.
            Clash: two rules, or a rule and an RPC, match the same requests; the message names both.
        """
        for generic in generic_rpc_handlers:
            service = generic.service_name() if isinstance(generic, grpc.ServiceRpcHandler) else None
            descriptor = None if service is None else _descriptor(service)
            if service is None or descriptor is None:
                self._generic.append(generic)
                continue
            names = (method.name for method in descriptor.methods)
            found = {name: generic.service(_Details(f"/{service}/{name}")) for name in names}
            self._add(service, {name: handler for name, handler in found.items() if handler is not None}, descriptor)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Add the methods of one service, as generated code does after `add_generic_rpc_handlers`.

        Raises:
            BadRule, Clash: as `add_generic_rpc_handlers`.
        """
        self._add(service_name, method_handlers, _descriptor(service_name))

    def _add(self, service: str, handlers: Mapping[str, Handler], descriptor: ServiceDescriptor | None) -> None:
        self._services.add(service)
        self._found.clear()
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            if path in self._methods:
                continue
            described = None if descriptor is None else descriptor.methods_by_name.get(name)
            if described is None:
                method = Method(path, guarded(handler))
            else:
                request_class = message_factory.GetMessageClass(described.input_type)
                response_class = message_factory.GetMessageClass(described.output_type)
                method = Method(path, guarded(handler), request_class, response_class)
            self._methods[path] = method
            self._router.add("POST", Template((service, name)), Route(method))
            if described is not None:
                if _is_readable(described):
                    self._readable[path] = Match(Route(method))
                for http_method, template, route in routes_of(method, described):
                    self._router.add(http_method, template, route)

    def _chain(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> FindHandler:
        """Nest the interceptors once; per call only their coroutines are made."""

        async def registered(details: grpc.HandlerCallDetails) -> Handler | None:
            method = self._methods.get(details.method)
            return method.handler if method is not None else self._from_generic(details)

        find: FindHandler = registered
        for interceptor in reversed(interceptors):
            find = partial(interceptor.intercept_service, find)
        return find

    def _from_generic(self, details: grpc.HandlerCallDetails) -> Handler | None:
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return guarded(handler)
        return None

    # Serving.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._other_scope(scope, receive, send)
            return
        before: Asked | None = scope.get(_ASKED)
        digest, apart = self._repeats.asked(scope) if before is None else before
        repeat = None if digest is None or before is not None else self._repeats.known.get(digest)
        if repeat is None:
            await self._serve(scope, receive, send, digest, self._receive_timeout)
            return
        # As any other body this one may not arrive.
        lifetime = Lifetime(self._watches, receive, self._receive_timeout)
        try:
            event = await receive()
        except asyncio.CancelledError:
            if lifetime.resume() is None:
                raise
            await self._serve(scope, receive, send, digest, 0.0)
            return
        finally:
            lifetime.stop()
        is_whole = event["type"] == "http.request" and not event.get("more_body")
        answer = self._repeated(repeat, scope, apart, event.get("body", b"")) if is_whole else None
        if answer is None:
            await self._serve(scope, returned(event, receive), send, digest, self._receive_timeout)
        else:
            await send_reply(send, answer.reply._replace(headers=answer.reply.headers + answer.headers))

    def at_once(self, scope: Scope, body: bytes) -> Answer | None:
        """Answer a request whose whole body is there, if it repeats one before it; None where it must be made in full.

        For a host that spares it a task, and the events of ASGI. The call in full follows with the same scope.
        """
        digest, apart = scope[_ASKED] = self._repeats.asked(scope)
        repeat = None if digest is None else self._repeats.known.get(digest)
        return None if repeat is None else self._repeated(repeat, scope, apart, body)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, digest: bytes | None, receive_timeout: float
    ) -> None:
        method: str = scope["method"]
        head = dict(scope["headers"])
        headers = self._cors.headers(head.get(b"origin"))
        if self._cors.is_preflight(method, head):
            await send_reply(send, self._cors.preflight(head))
            return
        path, raw_path = _paths(scope)
        query: bytes = scope.get("query_string", b"")
        if len(raw_path) + len(query) > self._max_url_bytes:
            await self._refuse(scope, send, self._default, headers, _TOO_LONG)
            return
        bodyless = b"transfer-encoding" not in head and head.get(b"content-length", b"0").strip(b"0") == b""
        # Most hosts have no extensions at all.
        trailers = bool(scope.get("extensions")) and _offers_trailers(scope)
        accept = head.get(b"accept") if bodyless else None
        key = (method, raw_path, head.get(b"content-type"), accept, head.get(VERSION_HEADER), trailers, bodyless)
        found = self._found.get(key)
        if found is None or (query and method in _READS):
            asked = _Target(method, path, raw_path, query, head, bodyless)
            if query and method in _READS:
                found = self._find_get(asked, self._served[trailers])
            else:
                found = self._find(asked, self._served[trailers])
                self._remember(key, found)
        spoken, match = found
        if spoken is not None and spoken.in_trailers and not _takes_trailers(head):
            await self._refuse(scope, send, spoken, headers, _WITHOUT_TRAILERS)
            return
        if match is None or spoken is None:
            await self._no_call(scope, receive, send, spoken, headers, known=match is not None)
            return
        exchange = Exchange(
            spoken.media_type,
            match.target,
            match.captures,
            query,
            head,
            bodyless and (method != "POST" or b"content-type" not in head),
            self._max_message_bytes,
            headers,
            match.refusal if self._running < self._max_concurrent_calls else _TOO_MANY_CALLS,
        )
        call = Call(spoken.protocol, exchange, scope, receive, send)
        self._running += 1
        try:
            answered = await call.run(self._find_handler, self._watches, receive_timeout)
        finally:
            self._running -= 1
        if not answered:
            await self._refuse(scope, send, spoken, headers, self._not_found())
        elif call.repeat is not None:
            self._repeats.keep(scope, digest, call.repeat)

    def _repeated(self, repeat: Repeat, scope: Scope, apart: Metadata, body: bytes) -> Answer | None:
        """Answer a request as one before it, if it is the same and nothing has changed."""
        if body != repeat.body:
            return None
        headers = self._again(repeat.again, apart, scope.get("client"))
        return None if headers is None else Answer(repeat.reply, headers, partial(self._again, repeat.again, apart))

    def _again(self, again: Again, apart: Metadata, client: Address | None) -> Headers | None:
        try:
            metadata = again(peer_named(client), apart)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call made in full says so to its caller
            _log.error("a call could not be repeated", exc_info=error)
            return None
        return None if metadata is None else reply_headers(metadata)

    def _remember(self, key: _Key, found: tuple[_Spoken | None, Match[Route] | None]) -> None:
        """Keep what requests speak and call, of which the key says all that decides it, where no path is new."""
        spoken, match = found
        literal = match is not None and not match.captures and match.refusal is None
        if literal and spoken is not None:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[key] = found

    def _find(self, asked: _Target, served: Mapping[bytes, _Spoken]) -> tuple[_Spoken | None, Match[Route] | None]:
        """Give what a request speaks and what it calls, each None where it is nothing that is served."""
        spoken = self._spoken_in(served, asked)
        if spoken is self._default and VERSION_HEADER in asked.head and self._is_rpc(asked.path):
            spoken = self._connect[spoken.media_type]
        match = self._match(asked, spoken)
        if spoken is None and match is not None and match.target.raw_request:
            # What goes into a google.api.HttpBody may be of any type.
            spoken = self._default
        return spoken, match

    def _is_rpc(self, path: str) -> bool:
        """Say whether a path names an RPC of an added service, be it one that does not exist."""
        return _RPC_PATH.fullmatch(path) is not None and path[1:].partition("/")[0] in self._services

    def _find_get(self, asked: _Target, served: Mapping[bytes, _Spoken]) -> tuple[_Spoken | None, Match[Route] | None]:
        """Give protocol and RPC of a GET that says it is Connect; on any path but an RPC's it is one like others."""
        parameters = query_parameters(asked.query)
        if parameters.get(b"connect") != b"v1" or asked.path not in self._methods:
            return self._find(asked, served)
        # An encoding that is not served is refused by the protocol, as part of the call.
        spoken = self._connect_gets.get(parameters.get(b"encoding", b""), self._connect_gets[b"json"])
        return spoken, self._readable.get(asked.path)

    def _spoken_in(self, served: Mapping[bytes, _Spoken], asked: _Target) -> _Spoken | None:
        """Give what the request speaks: Content-Type; without a body, Accept; else JSON. None: a type not served."""
        content_type = asked.head.get(b"content-type")
        if asked.bodyless and (content_type is None or asked.method in _WITHOUT_BODY_BY_NATURE):
            accept = asked.head.get(b"accept")
            accepted = None if accept is None else _accepted(served, accept)
            if accepted is not None:
                return accepted
        if content_type is None:
            return self._default
        return served.get(content_type) or served.get(_bare(content_type))

    def _match(self, asked: _Target, spoken: _Spoken | None) -> Match[Route] | None:
        path = asked.path
        match = self._router.find(asked.method, path, asked.raw_path)
        if match is None and asked.method == "POST":
            if spoken is not None and spoken.protocol.always_posts:
                match = self._router.find("GET", path, asked.raw_path)
            if match is None and _RPC_PATH.fullmatch(path) is not None and self._is_ours(path, spoken):
                # Nothing is known of the method, but interceptors see calls of it, and generic handlers may serve it.
                match = Match(Route(Method(path, _UNKNOWN_HANDLER)))
        return match

    def _is_ours(self, path: str, spoken: _Spoken | None) -> bool:
        if spoken is not None and spoken.protocol.always_posts:
            return True
        return path[1:].partition("/")[0] in self._services

    # What is no call.

    async def _no_call(
        self, scope: Scope, receive: Receive, send: Send, spoken: _Spoken | None, headers: Headers, *, known: bool
    ) -> None:
        allowed = self._router.allowed(_paths(scope)[1])
        if not known and not allowed and self._application is not None:
            await self._application(scope, receive, send)
            return
        if known:
            message = "the media type is not served here"
            accept_post = self._accept_post[_offers_trailers(scope)]
            refusal = (415, grpc.StatusCode.INVALID_ARGUMENT, message, [accept_post])
        elif allowed:
            allow = (b"allow", _allow(allowed))
            if scope["method"] == "OPTIONS":
                await send_reply(send, Reply(204, [allow, *headers]))
                return
            refusal = (405, grpc.StatusCode.UNIMPLEMENTED, "the method is not allowed on this path", [allow])
        else:
            refusal = self._not_found()
        await self._refuse(scope, send, spoken, headers, refusal)

    def _not_found(self) -> tuple[int, grpc.StatusCode, str, Headers]:
        return 404, grpc.StatusCode.NOT_FOUND, "there is nothing at this path", []

    async def _refuse(
        self,
        scope: Scope,
        send: Send,
        spoken: _Spoken | None,
        headers: Headers,
        refusal: tuple[int, grpc.StatusCode, str, Headers],
    ) -> None:
        http_status, code, message, own = refusal
        if spoken is not None:
            reply = spoken.protocol.refusal(http_status, code, message, spoken.media_type, own + headers)
        elif _reads_no_json(dict(scope["headers"])):
            accept_post = self._accept_post[_offers_trailers(scope)]
            reply = Reply(415, [(b"content-length", b"0"), accept_post, *headers])
        else:
            reply = self._json.refusal(http_status, code, message, b"", own + headers)
            if self._is_rpc(_paths(scope)[0]):
                reply = Reply(reply.status, [_NOT_CONNECT.get(each, each) for each in reply.headers], reply.body)
        await send_reply(send, reply, head_only=scope["method"] == "HEAD")

    async def _other_scope(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._application is not None:
            await self._application(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})


class _Details(grpc.HandlerCallDetails):
    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


async def _unknown(request: object, context: Any) -> None:  # noqa: ANN401 - never called
    raise NotImplementedError


_UNKNOWN_HANDLER: Final[Handler] = grpc.unary_unary_rpc_method_handler(_unknown)


def _offers_trailers(scope: Scope) -> bool:
    """Say whether the host can send trailers (ASGI's HTTP Trailers extension)."""
    return "http.response.trailers" in (scope.get("extensions") or ())


def _takes_trailers(head: Mapping[bytes, bytes]) -> bool:
    return b"trailers" in head.get(b"te", b"").lower()


def _by_media_type(protocols: Iterable[CallProtocol]) -> dict[bytes, _Spoken]:
    return {
        media_type.encode(): _Spoken(protocol, media_type.encode(), protocol.trailers is not None)
        for protocol in protocols
        for media_type in protocol.media_types
    }


def _is_readable(method: MethodDescriptor) -> bool:
    """Say whether Connect may call a method by GET: it has no side effects, and no streams."""
    level = method.GetOptions().idempotency_level
    one_each_way = not method.client_streaming and not method.server_streaming
    return one_each_way and level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS


# A client of Connect takes a reply of exactly `application/json` for an error in Connect's form, whatever it had sent.
_NOT_CONNECT: Final = {(b"content-type", b"application/json"): (b"content-type", b"application/json; charset=utf-8")}


def _reads_no_json(head: Mapping[bytes, bytes]) -> bool:
    """Say whether a caller of a media type that is not served is a client of gRPC or Connect all the same."""
    families = (b"application/grpc", b"application/connect+")
    return VERSION_HEADER in head or head.get(b"content-type", b"").lower().startswith(families)


def _descriptor(service: str) -> ServiceDescriptor | None:
    try:
        return descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return None


def _paths(scope: Scope) -> tuple[str, bytes]:
    """Give the path as the application sees it, percent-decoded and as sent."""
    path: str = scope["path"]
    raw_path: bytes = scope.get("raw_path") or path.encode("utf-8", "replace")
    root: str = scope.get("root_path", "")
    if root and path.startswith(root):
        return path[len(root) :], raw_path.removeprefix(root.encode())
    return path, raw_path


def _bare(content_type: bytes) -> bytes:
    """Give a media type without its parameters; nothing where its charset is other than UTF-8."""
    media_type, _, parameters = content_type.partition(b";")
    for parameter in parameters.lower().split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b' "') not in (b"utf-8", b"utf8", b"us-ascii"):
            return b""
    return media_type.strip().lower()


def _accepted(served: Mapping[bytes, _Spoken], accept: bytes) -> _Spoken | None:
    """Give the first served type of the highest weight (RFC 9110, 12.5.1); wildcards decide nothing."""
    best: _Spoken | None = None
    best_weight = 0.0
    for item in accept.split(b","):
        media_type, _, parameters = item.partition(b";")
        spoken = served.get(media_type.strip().lower())
        weight = _weight(parameters)
        if spoken is not None and weight > best_weight:
            best, best_weight = spoken, weight
    return best


def _weight(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"q":
            return int(value.replace(b".", b"").ljust(4, b"0")) / 1000 if _WEIGHT.fullmatch(value.strip()) else 0.0
    return 1.0


_WEIGHT: Final = re.compile(rb"[01](\.[0-9]{0,3})?")


def _allow(methods: frozenset[str]) -> bytes:
    all_methods = set(methods) | {"OPTIONS"}
    if "GET" in all_methods:
        all_methods.add("HEAD")
    known = [each for each in _ORDER_OF_METHODS if each in all_methods]
    return ", ".join([*known, *sorted(all_methods.difference(known))]).encode()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event: Event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
