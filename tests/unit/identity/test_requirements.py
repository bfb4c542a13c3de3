"""What RPCs ask for, read from descriptors."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from instanced import authorization_pb2
from zitadel import admin_pb2, system_pb2

from server.identity.requirements import PUBLIC, Requirement, Requirements, UnguardedRpc, read_requirements

SYSTEM = system_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name


def pool_with(authorization: authorization_pb2.Authorization | None) -> descriptor_pool.DescriptorPool:
    """A pool with test.v1.Service, whose Guarded is in order and whose Open has this option."""
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="test.v1", syntax="proto3")
    file.message_type.add(name="Empty")
    service = file.service.add(name="Service")
    guarded = service.method.add(name="Guarded", input_type=".test.v1.Empty", output_type=".test.v1.Empty")
    guarded.options.Extensions[authorization_pb2.authorization].permission = "test.read"
    open_ = service.method.add(name="Open", input_type=".test.v1.Empty", output_type=".test.v1.Empty")
    if authorization is not None:
        open_.options.Extensions[authorization_pb2.authorization].CopyFrom(authorization)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def test_requirements_stand_in_the_proto_files() -> None:
    requirements = read_requirements([SYSTEM, ADMIN])
    assert requirements.get(f"/{SYSTEM}/AddInstance") == Requirement("system.instance.write")
    assert requirements.get(f"/{SYSTEM}/GetMyInstance") == Requirement("system.instance.read", asked_instance=True)
    assert requirements.get(f"/{ADMIN}/GetMyInstance") == Requirement("iam.read", asked_instance=True)
    assert requirements.get(f"/{SYSTEM}/Healthz") == requirements.get(f"/{ADMIN}/Healthz") == PUBLIC
    assert requirements.get(f"/{SYSTEM}/Other") is None


@pytest.mark.parametrize(
    "option",
    [
        None,
        authorization_pb2.Authorization(),
        authorization_pb2.Authorization(public=False),
        authorization_pb2.Authorization(permission=""),
        authorization_pb2.Authorization(asked_instance=True),
    ],
    ids=["no option", "empty", "public: false", "no permission", "no requirement"],
)
def test_rpc_without_authorization_stops_the_start(option: authorization_pb2.Authorization | None) -> None:
    with pytest.raises(UnguardedRpc, match=r"^/test\.v1\.Service/Open ") as caught:
        read_requirements(["test.v1.Service"], pool=pool_with(option))
    assert caught.value.path == "/test.v1.Service/Open"


def test_rpc_marked_public_is_public() -> None:
    pool = pool_with(authorization_pb2.Authorization(public=True))
    assert read_requirements(["test.v1.Service"], pool=pool).get("/test.v1.Service/Open") == PUBLIC


def test_service_without_descriptor_stops_the_start() -> None:
    with pytest.raises(UnguardedRpc, match=r"^no\.such\.Service "):
        read_requirements(["no.such.Service"])


def test_services_public_by_name_need_no_descriptor() -> None:
    requirements = read_requirements(
        ["grpc.reflection.v1.ServerReflection"], public=["grpc.reflection.v1.ServerReflection"]
    )
    assert requirements.get("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo") == PUBLIC
    assert requirements.get("/grpc.reflection.v1.ServerReflectionX/ServerReflectionInfo") is None
    assert requirements.get("/grpc.reflection.v1.ServerReflection") is None


def test_nothing_public_by_name_means_nothing() -> None:
    assert Requirements({}, ()).get("/any/Thing") is None
