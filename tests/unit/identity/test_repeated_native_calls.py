"""Calls that are repeated on grpc.aio: nothing that ended them in full lets them pass."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
import structlog
from structlog.testing import LogCapture
from zitadel import admin_pb2
from zitadel.admin_pb2_grpc import add_AdminServiceServicer_to_server

from server.application import DECISIVE
from server.domain.errors import StoreUnavailable
from server.domain.model import Instance
from server.identity.authorizer import Authorizer
from server.identity.requirements import read_requirements
from server.interceptors.access_log import REQUEST_ID, AccessLog
from server.interceptors.authentication import Authentication
from server.interceptors.errors import Errors
from server.interceptors.layers import Layers
from server.interceptors.native_methods import NativeMethods
from server.interceptors.native_repeats import Repeats, _key
from server.servicers.admin import AdminServicer
from tests.unit.identity.signing import EXTERNAL_URL, Clock, KnownInstances, claims, iam, instance, system, token, user

PATH = "/zitadel.admin.v1.AdminService/GetMyInstance"
CODE = grpc.StatusCode
Reply = admin_pb2.GetMyInstanceResponse


class Instances(KnownInstances):
    """Instances that are remembered, and a store that may fail."""

    remembers = True
    fails = False

    def known_by_domain(self, host: str) -> Instance | None:
        if self.fails:
            raise StoreUnavailable("the disk is gone")
        return super().known_by_domain(host)


class CountedServicer(AdminServicer):
    """Counts the calls that are made in full."""

    ran = 0

    async def GetMyInstance(self, request: Any, context: Any) -> Reply:  # noqa: N802 - the RPC's name
        self.ran += 1
        return await super().GetMyInstance(request, context)


class Served:
    """A grpc.aio server as the application builds it, with a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.instances = Instances(instance("1", "a.localhost"), instance("2", "b.localhost"))
        users = {
            "admin": user("admin", "ec", system("SYSTEM_OWNER", "IAM_OWNER")),
            "member": user("member", "ec", iam("1")),
        }
        authorizer = Authorizer(users, EXTERNAL_URL, self.instances, clock=self.clock)
        requirements = read_requirements(("zitadel.admin.v1.AdminService",))
        layers = Layers([AccessLog(), Errors(), Authentication(authorizer, requirements)])
        self.methods = NativeMethods(layers, repeat_by=DECISIVE, repeat_regardless_of=[REQUEST_ID])
        self.servicer = CountedServicer()
        add_AdminServiceServicer_to_server(self.servicer, cast("grpc.aio.Server", self.methods))
        self.tokens = {name: token(claims(name), "ec") for name in users}
        self.server = grpc.aio.server(handlers=[self.methods])
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}")

    def start(self, caller: str, host: str, message: bytes, more: Any, **options: Any) -> Any:
        sent = (("authorization", f"Bearer {self.tokens[caller]}"), ("x-zitadel-instance-host", host), *more)
        stub: Any = self.channel.unary_unary(PATH, None, Reply.FromString)
        return stub(message, metadata=sent, **options)

    async def call(
        self, caller: str = "admin", host: str = "a.localhost", message: bytes = b"", more: Any = (), **options: Any
    ) -> Reply:
        reply: Reply = await self.start(caller, host, message, more, **options)
        return reply

    async def code(self, *what: Any, **options: Any) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.call(*what, **options)
        return raised.value.code()

    @property
    def kept(self) -> int:
        return len(self.methods._repeats[PATH]._known)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """Give one that has answered the same call often enough to repeat it."""
    served = Served()
    await served.server.start()
    async with served.channel:
        for _ in range(3):
            assert (await served.call()).instance.id == "1"
        assert served.kept == 1
        assert served.servicer.ran == 2
        yield served
    await served.server.stop(None)


async def test_a_token_that_expires_meanwhile_is_refused(served: Served) -> None:
    served.clock.now += 3600 + 31
    assert await served.code() is CODE.UNAUTHENTICATED
    served.clock.now -= 2 * 3600
    assert await served.code() is CODE.UNAUTHENTICATED


async def test_an_instance_that_changes_meanwhile_is_shown_as_it_is(served: Served) -> None:
    changed = instance("1", "a.localhost", "new.localhost")
    served.instances.instances = (changed,)
    for _ in range(3):
        domains = (await served.call()).instance.domains
        assert [each.domain for each in domains] == ["a.localhost", "new.localhost"]
    assert served.servicer.ran == 3


async def test_one_that_is_gone_is_not_found(served: Served) -> None:
    served.instances.instances = ()
    assert await served.code() is CODE.NOT_FOUND


async def test_a_store_that_fails_says_so(served: Served) -> None:
    served.instances.fails = True
    assert await served.code() is CODE.UNAVAILABLE


async def test_another_token_or_host_is_judged_by_itself(served: Served) -> None:
    assert (await served.call("member")).instance.id == "1"
    assert await served.code("member", "b.localhost") is CODE.PERMISSION_DENIED
    assert (await served.call(host="b.localhost")).instance.id == "2"
    served.tokens["admin"] = token(claims("admin"), "rsa")
    assert await served.code() is CODE.UNAUTHENTICATED


async def test_a_caller_with_roles_on_one_instance_is_never_repeated(served: Served) -> None:
    for _ in range(4):
        await served.call("member")
    assert served.kept == 1
    assert served.servicer.ran == 2 + 4


async def test_another_message_is_read(served: Served) -> None:
    assert await served.code(message=b"\xff\xff") is CODE.INVALID_ARGUMENT
    # A field that nobody knows.
    assert (await served.call(message=b"\x78\x01")).instance.id == "1"
    assert served.servicer.ran == 3


async def test_a_deadline_does_not_make_another_call(served: Served) -> None:
    for seconds in range(5, 9):
        await served.call(timeout=seconds)
    assert served.servicer.ran == 2


async def test_each_repetition_is_logged_with_a_request_id_of_its_own(served: Served) -> None:
    capture = LogCapture()
    structlog.configure(processors=[capture])

    async def request_id(*more: tuple[str, str]) -> object:
        call = served.start("admin", "a.localhost", b"", more)
        await call
        return dict(await call.trailing_metadata())["x-request-id"]

    sent_back = [await request_id() for _ in range(6)]
    named = [await request_id(("x-request-id", f"mine-{n}"), ("traceparent", f"{n}")) for n in range(4)]
    assert await request_id(("x-request-id", "not acceptable")) != "not acceptable"
    # At once: what one call has of its own must not come back in another.
    together = [f"at-once-{n}" for n in range(50)]
    assert await asyncio.gather(*(request_id(("x-request-id", each)) for each in together)) == together
    structlog.reset_defaults()
    assert served.kept == 1
    assert served.servicer.ran == 2
    assert len(set(sent_back)) == 6
    assert named == [f"mine-{n}" for n in range(4)]
    assert [entry["request_id"] for entry in capture.entries[:10]] == sent_back + named
    for entry in capture.entries:
        assert (entry["code"], entry["protocol"], entry["user_id"], entry["instance_id"]) == (
            "OK",
            "grpc",
            "admin",
            "1",
        )
        assert entry["peer"].startswith("ipv4:127.0.0.1:")
        assert entry["duration_ms"] >= 0


@pytest.mark.parametrize("name", ["user-agent", "traceparent", "cf-ray", "trace-bin"])
async def test_what_nobody_reads_is_no_other_call(served: Served, name: str) -> None:
    value = b"\xff\n" if name.endswith("-bin") else "new"
    assert (await served.call(more=((name, value),))).instance.id == "1"
    assert (served.kept, served.servicer.ran) == (1, 2)


class Details:
    """Two calls with these metadata look the same where they are written one after the other."""

    method = PATH

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self.invocation_metadata: Any = metadata


def test_metadata_with_line_breaks_are_never_taken_for_others() -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(AdminServicer().GetMyInstance)
    asked = Repeats(PATH, handler, Layers([]), frozenset("ac"), frozenset())
    asked._repeatable = True
    whole, broken = Details(("a", "b"), ("c", "d")), Details(("a", "b\nc\nd"))
    for details in (broken, whole):
        _key.set(None)
        assert asked.find(details) is None
        if details is broken:
            assert _key.get() is None
    key = _key.get()
    assert key is not None
    asked._known.put(key, asked.handler)
    assert asked.find(whole) is asked.handler
    assert asked.find(broken) is None
