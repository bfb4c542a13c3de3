"""A service whose messages are, or have, a google.api.HttpBody, built without generated code."""

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from google.api import annotations_pb2, httpbody_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "gateway.test.files.v1"
SERVICE: Final = f"{PACKAGE}.Files"

_HTTP_BODY: Final = ".google.api.HttpBody"
_DOCUMENT: Final = f".{PACKAGE}.Document"
_RULES: Final = (
    ("Get", _DOCUMENT, _HTTP_BODY, (False, False), {"get": "/files/{name}"}),
    ("Put", _DOCUMENT, _DOCUMENT, (False, False), {"put": "/files/{name}", "body": "file"}),
    ("Mirror", _HTTP_BODY, _HTTP_BODY, (False, False), {"post": "/mirror", "body": "*"}),
    ("Open", _DOCUMENT, _DOCUMENT, (False, False), {"get": "/open/{name}", "response_body": "file"}),
    ("Follow", _DOCUMENT, _HTTP_BODY, (False, True), {"get": "/follow/{name}"}),
    ("Append", _DOCUMENT, _DOCUMENT, (True, False), {"post": "/append/{name}", "body": "file"}),
)


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="gateway/test/files.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend(["google/api/annotations.proto", "google/api/httpbody.proto"])
    document = file.message_type.add(name="Document")
    field = descriptor_pb2.FieldDescriptorProto
    document.field.add(name="name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    document.field.add(name="file", number=2, type=field.TYPE_MESSAGE, type_name=_HTTP_BODY, label=field.LABEL_OPTIONAL)
    document.field.add(name="size", number=3, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    service = file.service.add(name="Files")
    extension: Any = annotations_pb2.http
    for name, request, response, streams, rule in _RULES:
        method = service.method.add(name=name, input_type=request, output_type=response)
        method.client_streaming, method.server_streaming = streams
        for key, value in rule.items():
            setattr(method.options.Extensions[extension], key, value)
    return file


_POOL: Final = descriptor_pool.Default()
_POOL.AddSerializedFile(_file().SerializeToString())
Document: Final[Any] = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.Document"))
HttpBody: Final[Any] = httpbody_pb2.HttpBody


class FilesServicer:
    """`file` is what every reply has; `fails_after` ends a stream after so many pieces."""

    def __init__(self) -> None:
        self.file = HttpBody(content_type="text/plain", data=b"hallo")
        self.fails_after: int | None = None
        self.requests: list[Any] = []

    async def get(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        if request.name == "absent":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such file")
        return self.file

    async def put(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return Document(name=request.name, size=len(request.file.data))

    async def mirror(self, request: Any, context: Any) -> Any:
        return request

    async def open(self, request: Any, context: Any) -> Any:
        return Document(name=request.name, file=self.file)

    async def follow(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(3):
            if number == self.fails_after:
                await context.abort(grpc.StatusCode.DATA_LOSS, "gone")
            yield self.file

    async def append(self, requests: AsyncIterator[Any], context: Any) -> Any:
        self.requests = [request async for request in requests]
        return Document(size=sum(len(request.file.data) for request in self.requests))


def add_FilesServicer_to_server(servicer: FilesServicer, server: Any) -> None:  # noqa: N802 - named as generated code is
    factories = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
    }
    classes = {_DOCUMENT: Document, _HTTP_BODY: HttpBody}
    handlers: dict[str, Any] = {
        name: factories[streams](
            getattr(servicer, name.lower()), classes[request].FromString, classes[response].SerializeToString
        )
        for name, request, response, streams, _ in _RULES
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
