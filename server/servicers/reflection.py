"""Server reflection under both of its names: v1alpha, which grpcio-reflection has, and v1, the same on the wire.

https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

from collections.abc import Iterable
from typing import Protocol

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha import reflection_pb2 as v1alpha

V1ALPHA = reflection.SERVICE_NAME
V1 = "grpc.reflection.v1.ServerReflection"


class Registry(Protocol):
    """What servicers are added to: a grpc server, or the gateway."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add handlers."""


def add_reflection(services: Iterable[str], *registries: Registry) -> None:
    """Serve reflection of `services`, and of itself, on each registry."""
    _publish_v1()
    names = [*services, V1, V1ALPHA]
    servicer = _ReflectionServicer(names, _with_json_names(names))
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=v1alpha.ServerReflectionRequest.FromString,
        response_serializer=v1alpha.ServerReflectionResponse.SerializeToString,
    )
    handlers = [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in (V1, V1ALPHA)]
    for registry in registries:
        registry.add_generic_rpc_handlers(handlers)


def _publish_v1() -> None:
    """Add the v1 file to the descriptors, made from the other by its package's name, so that reflection can show it."""
    file = descriptor_pb2.FileDescriptorProto()
    v1alpha.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    # A file that is there already, the same to the letter, is no error.
    descriptor_pool.Default().Add(file)


class _ReflectionServicer(reflection.aio.ReflectionServicer):
    """Finds methods by their full names too, which protobuf's Python pool does not."""

    def __init__(self, services: Iterable[str], pool: descriptor_pool.DescriptorPool) -> None:
        super().__init__(services, pool)
        self._files = pool

    def _file_containing_symbol(
        self, request: v1alpha.ServerReflectionRequest, symbol: str
    ) -> v1alpha.ServerReflectionResponse:
        service, _, method = symbol.rpartition(".")
        try:
            self._files.FindServiceByName(service).FindMethodByName(method)
        except KeyError:
            service = symbol
        answer: v1alpha.ServerReflectionResponse = super()._file_containing_symbol(request, service)  # type: ignore[misc]
        return answer


def _with_json_names(services: Iterable[str]) -> descriptor_pool.DescriptorPool:
    """Return the services' files, and those of error details, with the json_name of every field.

    Python's stubs leave it out, and without it grpcurl writes instance_id where it writes instanceId of a server in Go.
    """
    default, pool, added = descriptor_pool.Default(), descriptor_pool.DescriptorPool(), set[str]()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for imported in file.dependencies:
            add(imported)
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        messages = [(proto.message_type, file.message_types_by_name)]
        while messages:
            protos, descriptors = messages.pop()
            for message in protos:
                descriptor = descriptors[message.name]
                for field in message.field:
                    field.json_name = descriptor.fields_by_name[field.name].json_name
                messages.append((message.nested_type, descriptor.nested_types_by_name))
        pool.Add(proto)

    for symbol in (*services, "google.rpc.ErrorInfo"):
        add(default.FindFileContainingSymbol(symbol))
    return pool
