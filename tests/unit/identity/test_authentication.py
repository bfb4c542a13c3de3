"""The interceptor, on a grpc.aio server with the generated stubs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
import structlog
from google.protobuf import empty_pb2
from zitadel import admin_pb2, system_pb2
from zitadel.admin_pb2_grpc import AdminServiceStub, add_AdminServiceServicer_to_server
from zitadel.system_pb2_grpc import SystemServiceStub, add_SystemServiceServicer_to_server

from server.application import DECISIVE
from server.call import current_call
from server.domain.model import Instance, ObjectDetails
from server.identity.authorizer import Authorizer
from server.identity.requirements import Requirement, Requirements, read_requirements
from server.instances import Added, Instances
from server.interceptors.access_log import AccessLog
from server.interceptors.authentication import Authentication
from server.interceptors.errors import Errors
from server.interceptors.layers import Layers
from server.interceptors.native_methods import NativeMethods
from server.servicers.admin import AdminServicer
from server.servicers.system import SystemServicer
from tests.unit.identity.signing import EXTERNAL_URL, Clock, KnownInstances, claims, iam, instance, system, token, user


@pytest.fixture(autouse=True, params=[False, True], ids=["looked-up", "remembered"])
def remembers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer the same by the short way, for an instance that is known without waiting, and by the long one."""
    monkeypatch.setattr(KnownInstances, "remembers", request.param)


SERVICES = ("zitadel.system.v1.SystemService", "zitadel.admin.v1.AdminService")
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
# Two more RPCs: one whose responses are written to the context, and one that no requirement was read for.
KIND_OF = {"written": "unary_stream", "unread": "unary_unary", "Nothing": "unary_unary"}
STATUS = grpc.StatusCode


class Setups:
    """Takes the place of the domain: sets nothing up, and keeps who asked."""

    def __init__(self) -> None:
        self.creators: list[str] = []

    async def add(self, _fields: Any, *, creator: str) -> Added:
        self.creators.append(creator)
        return Added("4", ObjectDetails(1, 1, 1, "4"))


class Failing(KnownInstances):
    async def by_domain(self, host: str) -> Instance | None:
        raise RuntimeError(f"a bug in the look-up of {host}")


class Kinds:
    """A service with one RPC of each kind, and what its deserializer and behaviours were given."""

    def __init__(self) -> None:
        self.parsed: list[bytes] = []
        self.ran: list[str | None] = []

    def parse(self, data: bytes) -> empty_pb2.Empty:
        self.parsed.append(data)
        return empty_pb2.Empty.FromString(data)

    async def one(self, _request: Any, _context: Any) -> empty_pb2.Empty:
        self.ran.append(current_call.get().user_id)
        return empty_pb2.Empty()

    async def many(self, _request: Any, _context: Any) -> AsyncIterator[empty_pb2.Empty]:
        self.ran.append(current_call.get().user_id)
        yield empty_pb2.Empty()
        yield empty_pb2.Empty()

    async def written(self, _request: Any, context: Any) -> None:
        self.ran.append(current_call.get().user_id)
        await context.write(empty_pb2.Empty())

    async def collected(self, requests: AsyncIterator[Any], _context: Any) -> empty_pb2.Empty:
        self.ran.append(current_call.get().user_id)
        async for _ in requests:
            pass
        return empty_pb2.Empty()

    def handler(self) -> grpc.GenericRpcHandler:
        behaviours = {
            "unary_unary": self.one,
            "unary_stream": self.many,
            "stream_unary": self.collected,
            "stream_stream": self.many,
            "written": self.written,
            "unread": self.one,
        }
        handlers = {
            name: getattr(grpc, f"{KIND_OF.get(name, name)}_rpc_method_handler")(
                behaviour,
                request_deserializer=self.parse,
                response_serializer=empty_pb2.Empty.SerializeToString,
            )
            for name, behaviour in behaviours.items()
        }
        return grpc.method_handlers_generic_handler("test.v1.Kinds", handlers)


@pytest.fixture
def kinds() -> Kinds:
    return Kinds()


@pytest.fixture
def setups() -> Setups:
    return Setups()


@pytest.fixture
def instances() -> KnownInstances:
    return KnownInstances(instance("1", "a.localhost"), instance("2", "b.localhost"))


@pytest.fixture
async def target(kinds: Kinds, instances: KnownInstances, setups: Setups) -> AsyncIterator[str]:
    users = {
        "admin": user("admin", "ec", system("SYSTEM_OWNER", "IAM_OWNER")),
        "member": user("member", "ec", iam("1")),
    }
    requirements = read_requirements(SERVICES)
    by_path = requirements._by_path | {
        f"/test.v1.Kinds/{name}": Requirement("system.test") for name in (*KINDS, "written")
    }
    layers = (
        AccessLog(),
        Errors(),
        Authentication(Authorizer(users, EXTERNAL_URL, instances, clock=Clock()), Requirements(by_path, ())),
    )
    methods = NativeMethods(Layers(layers), repeat_by=DECISIVE, repeat_regardless_of=[])
    registry = cast("grpc.aio.Server", methods)
    server = grpc.aio.server(
        handlers=[methods], options=[("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 32 << 10)]
    )
    add_AdminServiceServicer_to_server(AdminServicer(), registry)
    add_SystemServiceServicer_to_server(SystemServicer(cast("Instances", setups)), registry)
    methods.add_generic_rpc_handlers([kinds.handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(target) as opened:
        yield opened


def bearer(
    user_id: str = "admin", host: str | None = None, key: str = "ec", **changes: Any
) -> tuple[tuple[str, str], ...]:
    sent = [("authorization", f"Bearer {token(claims(user_id, **changes), key)}")]
    if host is not None:
        sent.append(("x-zitadel-instance-host", host))
    return tuple(sent)


async def status(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return STATUS.OK


async def status_of_kind(target: str, name: str, metadata: Any, message: bytes = b"") -> grpc.StatusCode:
    """Call an RPC of `Kinds`.

    By the sync client in a thread: that of grpc.aio says INTERNAL where it still sends when the reply is there already
    (https://github.com/grpc/grpc/issues/36066).
    """
    kind = KIND_OF.get(name, name)

    def call() -> grpc.StatusCode:
        with grpc.insecure_channel(target) as channel:
            start = getattr(channel, kind)(f"/test.v1.Kinds/{name}")
            request = iter([message, message]) if kind.startswith("stream") else message
            reply = start(request, metadata=metadata, timeout=10)
            if kind.endswith("stream"):
                list(reply)
        return STATUS.OK

    try:
        return await asyncio.to_thread(call)
    except grpc.RpcError as error:
        return error.code()


async def test_servicer_sees_who_calls_and_which_instance(channel: grpc.aio.Channel, setups: Setups) -> None:
    found = await AdminServiceStub(channel).GetMyInstance(
        admin_pb2.GetMyInstanceRequest(), metadata=bearer("member", "A.localhost:8080")
    )
    assert found.instance.id == "1"
    await SystemServiceStub(channel).AddInstance(system_pb2.AddInstanceRequest(), metadata=bearer())
    assert setups.creators == ["admin"]


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), STATUS.UNAUTHENTICATED),
        (bearer("other"), STATUS.UNAUTHENTICATED),
        (bearer(key="rsa"), STATUS.UNAUTHENTICATED),
        (bearer(aud="http://a.localhost:8080"), STATUS.UNAUTHENTICATED),
        (bearer("member"), STATUS.PERMISSION_DENIED),
        (bearer(), STATUS.OK),
    ],
)
async def test_status_on_an_rpc_about_no_instance(
    channel: grpc.aio.Channel, metadata: Any, code: grpc.StatusCode
) -> None:
    assert (
        await status(SystemServiceStub(channel).AddInstance(system_pb2.AddInstanceRequest(), metadata=metadata)) is code
    )


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), STATUS.UNAUTHENTICATED),
        (bearer("member", "b.localhost"), STATUS.PERMISSION_DENIED),
        (bearer("member", "x.localhost"), STATUS.PERMISSION_DENIED),
        (bearer("member", aud="http://b.localhost:8080"), STATUS.PERMISSION_DENIED),
        (bearer("member", aud="http://x.localhost:8080"), STATUS.PERMISSION_DENIED),
        (bearer("member"), STATUS.OK),
        (bearer("admin", "b.localhost", aud="http://a.localhost:8080"), STATUS.UNAUTHENTICATED),
        (bearer("admin", "x.localhost"), STATUS.NOT_FOUND),
        (bearer("admin"), STATUS.NOT_FOUND),
        (bearer("admin", ""), STATUS.NOT_FOUND),
        (bearer("admin", "b.localhost"), STATUS.OK),
    ],
)
async def test_status_on_an_rpc_about_an_instance(
    channel: grpc.aio.Channel, metadata: Any, code: grpc.StatusCode
) -> None:
    assert (
        await status(AdminServiceStub(channel).GetMyInstance(admin_pb2.GetMyInstanceRequest(), metadata=metadata))
        is code
    )


async def test_all_refused_tokens_read_alike(channel: grpc.aio.Channel) -> None:
    messages = set()
    for metadata in (
        (),
        bearer("other"),
        bearer(key="rsa"),
        bearer(exp=1),
        (("authorization", "Bearer " + "x" * 9000),),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await SystemServiceStub(channel).AddInstance(system_pb2.AddInstanceRequest(), metadata=metadata)
        messages.add((caught.value.code(), caught.value.details()))
    assert len(messages) == 1


@pytest.mark.parametrize("metadata", [(), bearer(key="rsa"), (("authorization", "x"),)])
async def test_public_rpc_needs_no_token(channel: grpc.aio.Channel, metadata: Any) -> None:
    assert await status(AdminServiceStub(channel).Healthz(admin_pb2.HealthzRequest(), metadata=metadata)) is STATUS.OK


@pytest.mark.parametrize("metadata", [(), bearer()])
async def test_unknown_method_is_unimplemented_with_and_without_a_token(target: str, metadata: Any) -> None:
    assert await status_of_kind(target, "Nothing", metadata) is STATUS.UNIMPLEMENTED


@pytest.mark.parametrize("name", [*KINDS, "written"])
async def test_every_kind_of_rpc_is_guarded_and_served(target: str, kinds: Kinds, name: str) -> None:
    assert await status_of_kind(target, name, ()) is STATUS.UNAUTHENTICATED
    assert await status_of_kind(target, name, bearer("member")) is STATUS.PERMISSION_DENIED
    assert kinds.ran == []
    assert await status_of_kind(target, name, bearer()) is STATUS.OK
    assert await status_of_kind(target, name, ()) is STATUS.UNAUTHENTICATED
    assert kinds.ran == ["admin"]


@pytest.mark.parametrize("name", KINDS)
async def test_message_of_a_refused_call_is_not_parsed(target: str, kinds: Kinds, name: str) -> None:
    assert await status_of_kind(target, name, (), b"\xff" * 100) is STATUS.UNAUTHENTICATED
    assert kinds.parsed == []


@pytest.mark.parametrize("name", KINDS)
async def test_nor_is_that_of_a_call_that_is_refused_after_a_look_up(target: str, kinds: Kinds, name: str) -> None:
    assert await status_of_kind(target, name, bearer("member"), b"\xff" * 100) is STATUS.PERMISSION_DENIED
    assert kinds.parsed == []


@pytest.mark.parametrize("name", ["unary_unary", "unary_stream", "stream_unary"])
async def test_a_message_that_does_not_parse_is_an_invalid_argument(target: str, name: str) -> None:
    assert await status_of_kind(target, name, bearer(), b"\xff" * 100) is STATUS.INVALID_ARGUMENT


async def test_rpc_whose_requirement_was_not_read_is_never_run(target: str, kinds: Kinds) -> None:
    for metadata in ((), bearer()):
        assert await status_of_kind(target, "unread", metadata) is STATUS.INTERNAL
    assert kinds.ran == []
    assert kinds.parsed == []


class TestWithABrokenLookUp:
    @pytest.fixture
    def instances(self) -> KnownInstances:
        return Failing()

    async def test_exception_is_internal_and_in_the_log(self, channel: grpc.aio.Channel) -> None:
        with structlog.testing.capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as caught:
            await AdminServiceStub(channel).GetMyInstance(
                admin_pb2.GetMyInstanceRequest(), metadata=bearer("admin", "a.localhost")
            )
        assert caught.value.code() is STATUS.INTERNAL
        assert "look-up" not in str(caught.value.details())
        bugs = [line for line in lines if line["log_level"] == "error"]
        assert [str(line["exc_info"]) for line in bugs] == ["a bug in the look-up of a.localhost"]


async def test_log_names_the_user_of_a_refused_call_and_the_reason(channel: grpc.aio.Channel) -> None:
    stub = SystemServiceStub(channel)
    with structlog.testing.capture_logs() as lines:
        assert (
            await status(stub.AddInstance(system_pb2.AddInstanceRequest(), metadata=bearer("member")))
            is STATUS.PERMISSION_DENIED
        )
        sent = bearer(exp=1)
        assert await status(stub.AddInstance(system_pb2.AddInstanceRequest(), metadata=sent)) is STATUS.UNAUTHENTICATED
    calls = [line for line in lines if line["event"] == "call"]
    assert [line["user_id"] for line in calls] == ["member", None]
    assert "not been valid" in calls[1]["reason"]
    assert sent[0][1].removeprefix("Bearer ") not in str(lines)


async def test_calls_at_once_keep_apart(channel: grpc.aio.Channel) -> None:
    stub = AdminServiceStub(channel)
    sent = [bearer("member", "a.localhost"), (), bearer("admin", "b.localhost"), bearer("member", "b.localhost")]
    found = await asyncio.gather(
        *(status(stub.GetMyInstance(admin_pb2.GetMyInstanceRequest(), metadata=each)) for each in sent * 25)
    )
    assert found == [STATUS.OK, STATUS.UNAUTHENTICATED, STATUS.OK, STATUS.PERMISSION_DENIED] * 25


def test_handlers_are_wrapped_once() -> None:
    handler = Kinds().handler()
    layers = Layers([Authentication(Authorizer({}, EXTERNAL_URL, KnownInstances()), Requirements({}, ()))])

    class Details:
        method = "/test.v1.Kinds/unary_unary"
        invocation_metadata: Any = ()

    found = handler.service(Details())
    assert found is not None
    assert layers.wrap(found) is layers.wrap(found)
