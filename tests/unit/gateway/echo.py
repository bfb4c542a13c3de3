"""A service of this suite's own, with every kind of method and every kind of rule, built without generated code."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.api import annotations_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import Message

from gateway import Gateway

PACKAGE: Final = "gateway.test.v1"
SERVICE: Final = f"{PACKAGE}.Echo"

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
    "bool": _F.TYPE_BOOL,
    "int32": _F.TYPE_INT32,
    "int64": _F.TYPE_INT64,
    "uint32": _F.TYPE_UINT32,
    "uint64": _F.TYPE_UINT64,
    "float": _F.TYPE_FLOAT,
    "double": _F.TYPE_DOUBLE,
}


def _field(
    message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str, *, repeated: bool = False
) -> Any:
    field = message.field.add(name=name, number=number)
    field.label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _F.TYPE_ENUM if kind == "Color" else _F.TYPE_MESSAGE
        field.type_name = f".{kind}" if kind.startswith("google.") else f".{PACKAGE}.{kind}"
    return field


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="gateway/test/echo.proto", package=PACKAGE, syntax="proto3")
    modules = (any_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2, annotations_pb2)
    file.dependency.extend(module.DESCRIPTOR.name for module in modules)
    color = file.enum_type.add(name="Color")
    for number, name in enumerate(("COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_BLUE")):
        color.value.add(name=name, number=number)

    inner = file.message_type.add(name="Inner")
    _field(inner, "display_name", 1, "string")
    _field(inner, "number", 2, "int64")
    _field(inner, "is_set", 3, "bool")
    _field(inner, "inner", 4, "Inner")

    request = file.message_type.add(name="EchoRequest")
    _field(request, "text", 1, "string")
    _field(request, "count", 2, "int32")
    _field(request, "big", 3, "int64")
    _field(request, "is_set", 4, "bool")
    _field(request, "ratio", 5, "double")
    _field(request, "data", 6, "bytes")
    _field(request, "color", 7, "Color")
    _field(request, "tags", 8, "string", repeated=True)
    _field(request, "inner", 9, "Inner")
    _field(request, "at", 10, "google.protobuf.Timestamp")
    _field(request, "maybe", 11, "google.protobuf.StringValue")
    request.oneof_decl.add(name="choice")
    _field(request, "left", 12, "string").oneof_index = 0
    _field(request, "right", 13, "int32").oneof_index = 0
    entry = request.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, "string")
    _field(entry, "value", 2, "int32")
    _field(request, "labels", 14, "EchoRequest.LabelsEntry", repeated=True)
    _field(request, "inners", 15, "Inner", repeated=True)
    _field(request, "numbers", 16, "int32", repeated=True)
    _field(request, "extra", 17, "google.protobuf.Struct")
    _field(request, "huge", 18, "uint64")
    _field(request, "single", 19, "float")
    _field(request, "lasts", 20, "google.protobuf.Duration")
    _field(request, "mask", 21, "google.protobuf.FieldMask")
    _field(request, "colors", 22, "Color", repeated=True)
    _field(request, "detail", 23, "google.protobuf.Any")
    _field(request, "small", 24, "uint32")

    reply = file.message_type.add(name="EchoReply")
    _field(reply, "request", 1, "EchoRequest")
    _field(reply, "text", 2, "string")
    _field(reply, "big_number", 3, "int64")
    _field(reply, "detail", 4, "google.protobuf.Any")
    _add_service(file)
    return file


def _add_service(file: descriptor_pb2.FileDescriptorProto) -> None:
    service = file.service.add(name="Echo")
    for name, rules, streams in (
        ("Unary", [("post", "/v1/echo", "*"), ("put", "/v1/echo/{inner.display_name}", "inner")], (False, False)),
        ("Get", [("get", "/v1/items/{text}", ""), ("get", "/v1/items/special", "")], (False, False)),
        ("Shelf", [("get", "/v1/{text=shelves/*/books/*}", "")], (False, False)),
        ("Tail", [("get", "/v1/files/{text=**}", "")], (False, False)),
        ("Archive", [("post", "/v1/items/{text}:archive", "*"), ("delete", "/v1/items/{text}", "")], (False, False)),
        ("Ping", [("get", "/v1/ping", ""), ("post", "/v1/pong", "")], (False, False)),
        ("Answer", [("get", "/v1/answer/{count}/{color}", "")], (False, False)),
        ("ServerStream", [("get", "/v1/stream/{count}", "")], (False, True)),
        ("ClientStream", [("post", "/v1/join", "*"), ("post", "/v1/join/{text}", "inner")], (True, False)),
        ("Bidi", [("post", "/v1/chat", "*"), ("get", "/v1/chat/{text}", "")], (True, True)),
    ):
        method = service.method.add(
            name=name, input_type=f".{PACKAGE}.EchoRequest", output_type=f".{PACKAGE}.EchoReply"
        )
        method.client_streaming, method.server_streaming = streams
        if name in ("Get", "Ping", "ServerStream"):
            method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
        for at, (verb, path, body) in enumerate(rules):
            http = _rule(method)
            rule = http if at == 0 else http.additional_bindings.add()
            setattr(rule, verb, path)
            rule.body = body
        if name == "Answer":
            _rule(method).response_body = "text"


def _rule(method: descriptor_pb2.MethodDescriptorProto) -> Any:
    extension: Any = annotations_pb2.http
    return method.options.Extensions[extension]


_POOL: Final = descriptor_pool.Default()
_POOL.AddSerializedFile(_file().SerializeToString())
EchoRequest: Final[Any] = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.EchoRequest"))
EchoReply: Final[Any] = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.EchoReply"))

Unary = Callable[[Any, Any], Awaitable[Any]]


class EchoServicer:
    """Echoes; a test puts its own behaviour in place of an attribute. `calls` counts what ran."""

    def __init__(self) -> None:
        self.calls = 0
        self.context: Any = None
        self.unary: Any = self._echo
        self.server_stream: Any = self._count
        self.client_stream: Any = self._join
        self.bidi: Any = self._each

    async def _echo(self, request: Message, context: Any) -> Any:
        self.calls += 1
        self.context = context
        return EchoReply(request=request)

    async def _count(self, request: Any, context: Any) -> AsyncIterator[Message]:
        self.calls += 1
        self.context = context
        for number in range(request.count):
            yield EchoReply(text=f"{request.text}{number}")

    async def _join(self, requests: AsyncIterator[Any], context: Any) -> Any:
        self.calls += 1
        self.context = context
        return EchoReply(text=",".join([request.text async for request in requests]))

    async def _each(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Message]:
        self.calls += 1
        self.context = context
        async for request in requests:
            yield EchoReply(request=request)


UNARY_METHODS: Final = ("Unary", "Get", "Shelf", "Tail", "Archive", "Ping", "Answer")


def handlers_of(servicer: EchoServicer) -> dict[str, Any]:
    """Give handlers that look their behaviour up when the servicer is added, as generated code does."""
    codec = {"request_deserializer": EchoRequest.FromString, "response_serializer": EchoReply.SerializeToString}
    handlers: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(servicer.unary, **codec) for name in UNARY_METHODS
    }
    handlers["ServerStream"] = grpc.unary_stream_rpc_method_handler(servicer.server_stream, **codec)
    handlers["ClientStream"] = grpc.stream_unary_rpc_method_handler(servicer.client_stream, **codec)
    handlers["Bidi"] = grpc.stream_stream_rpc_method_handler(servicer.bidi, **codec)
    return handlers


def add_EchoServicer_to_server(servicer: EchoServicer, server: Any) -> None:  # noqa: N802 - named as generated code is
    handlers = handlers_of(servicer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def service_with_rules(name: str, *rules: dict[str, str], package: str) -> Gateway:
    """Add a service of one method with these rules, each under a package of its own."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.dependency.extend(["gateway/test/echo.proto", "google/api/annotations.proto"])
    service = file.service.add(name=name)
    for at, rule in enumerate(rules):
        kind = ".gateway.test.v1.EchoRequest"
        method = service.method.add(name=f"M{at}", input_type=kind, output_type=".gateway.test.v1.EchoReply")
        http = _rule(method)
        for key, value in rule.items():
            if key == "custom":
                http.custom.kind, http.custom.path = value.split(" ")
            elif key == "additional":
                http.additional_bindings.add(get=value)
            elif key == "nested":
                http.additional_bindings.add(get="/nested").additional_bindings.add(get=value)
            else:
                setattr(http, key, value)
    _POOL.AddSerializedFile(file.SerializeToString())

    async def echo(received: Any, context: Any) -> Any:
        return EchoReply(request=received)

    handler = grpc.unary_unary_rpc_method_handler(echo, EchoRequest.FromString, EchoReply.SerializeToString)
    gateway = Gateway()
    handlers = {f"M{at}": handler for at in range(len(rules))}
    gateway.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{package}.{name}", handlers),))
    return gateway
