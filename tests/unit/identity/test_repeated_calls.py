"""Calls that are repeated through the gateway: nothing that ended them in full lets them pass."""

import json
from typing import Any, cast

import pytest
import structlog
from structlog.testing import LogCapture
from zitadel.admin_pb2_grpc import add_AdminServiceServicer_to_server

from gateway import Gateway
from server.application import DECISIVE
from server.domain.errors import StoreUnavailable
from server.domain.model import Instance
from server.identity.authorizer import Authorizer
from server.identity.requirements import read_requirements
from server.interceptors.access_log import REQUEST_ID, AccessLog
from server.interceptors.authentication import Authentication
from server.interceptors.errors import Errors
from server.interceptors.layers import Layers
from server.servicers.admin import AdminServicer
from tests.unit.gateway.client import JSON, Response, request
from tests.unit.identity.signing import EXTERNAL_URL, Clock, KnownInstances, claims, iam, instance, system, token, user

PATH = "/zitadel.admin.v1.AdminService/GetMyInstance"


class Instances(KnownInstances):
    """Instances that are remembered, and a store that may fail."""

    remembers = True
    fails = False

    def known_by_domain(self, host: str) -> Instance | None:
        if self.fails:
            raise StoreUnavailable("the disk is gone")
        return super().known_by_domain(host)


class Served:
    """A gateway as the server builds it, with a clock."""

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
        self.gateway = Gateway(interceptors=[layers], repeat_by=DECISIVE, repeat_regardless_of=[REQUEST_ID])
        add_AdminServiceServicer_to_server(AdminServicer(), cast("Any", self.gateway))
        self.tokens = {name: token(claims(name), "ec") for name in users}

    async def call(self, caller: str = "admin", host: str = "a.localhost", **headers: str) -> Response:
        sent = {"authorization": f"Bearer {self.tokens[caller]}", "x-zitadel-instance-host": host, **headers}
        return await request(self.gateway, "POST", PATH, b"{}", content_type=JSON, headers=sent)

    @property
    def kept(self) -> int:
        return len(self.gateway._repeats.known)


@pytest.fixture
async def served() -> Served:
    """Give one that has answered the same call often enough to repeat it."""
    served = Served()
    for _ in range(3):
        assert json.loads((await served.call()).body)["instance"]["id"] == "1"
    assert served.kept == 1
    return served


async def test_a_token_that_expires_meanwhile_is_refused(served: Served) -> None:
    served.clock.now += 3600 + 31
    assert (await served.call()).status == 401
    served.clock.now -= 2 * 3600
    assert (await served.call()).status == 401


async def test_an_instance_that_changes_meanwhile_is_shown_as_it_is(served: Served) -> None:
    changed = instance("1", "a.localhost", "new.localhost")
    served.instances.instances = (changed,)
    for _ in range(3):
        domains = json.loads((await served.call()).body)["instance"]["domains"]
        assert [each["domain"] for each in domains] == ["a.localhost", "new.localhost"]


async def test_one_that_is_gone_is_not_found(served: Served) -> None:
    served.instances.instances = ()
    assert (await served.call()).status == 404


async def test_a_store_that_fails_says_so(served: Served) -> None:
    served.instances.fails = True
    assert (await served.call()).status == 503


async def test_another_token_or_host_is_judged_by_itself(served: Served) -> None:
    assert (await served.call("member")).status == 200
    assert (await served.call("member", "b.localhost")).status == 403
    assert json.loads((await served.call(host="b.localhost")).body)["instance"]["id"] == "2"
    served.tokens["admin"] = token(claims("admin"), "rsa")
    assert (await served.call()).status == 401


async def test_a_caller_with_roles_on_one_instance_is_never_repeated(served: Served) -> None:
    for _ in range(4):
        assert (await served.call("member")).status == 200
    assert served.kept == 1


@pytest.mark.parametrize("header", ["user-agent", "traceparent", "cf-ray", "x-forwarded-for", "cookie"])
async def test_what_proxies_and_browsers_add_is_no_other_call(served: Served, header: str) -> None:
    capture = LogCapture()
    structlog.configure(processors=[capture])
    assert (await served.call(**{header: "new"})).status == 200
    structlog.reset_defaults()
    assert served.kept == 1


async def test_each_repetition_is_logged_with_a_request_id_of_its_own() -> None:
    capture = LogCapture()
    structlog.configure(processors=[capture])
    served = Served()
    sent_back = [(await served.call()).header("x-request-id") for _ in range(6)]
    named = [(await served.call(**{"x-request-id": f"mine-{n}"})).header("x-request-id") for n in range(4)]
    assert (await served.call(**{"x-request-id": "not acceptable"})).header("x-request-id") != "not acceptable"
    capture.entries.pop()
    structlog.reset_defaults()
    assert served.kept == 1
    assert len(set(sent_back)) == 6
    assert named == [f"mine-{n}" for n in range(4)]
    assert [entry["request_id"] for entry in capture.entries] == sent_back + named
    for entry in capture.entries:
        assert (entry["code"], entry["protocol"], entry["user_id"], entry["instance_id"], entry["peer"]) == (
            "OK", "json", "admin", "1", "ipv4:127.0.0.1:5000"
        )  # fmt: skip
        assert entry["duration_ms"] >= 0


async def test_a_call_that_waited_for_its_instance_is_repeated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Instances, "remembers", False)
    served = Served()
    by_domain = served.instances.by_domain

    async def remembered_then(host: str) -> Instance | None:
        found = await by_domain(host)
        monkeypatch.setattr(Instances, "remembers", True)
        return found

    monkeypatch.setattr(served.instances, "by_domain", remembered_then)
    assert (await served.call()).status == 200
    assert served.kept == 1


async def test_a_call_whose_instance_is_not_remembered_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Instances, "remembers", False)
    served = Served()
    for _ in range(3):
        assert (await served.call()).status == 200
        assert (await served.call("member")).status == 200
    assert served.kept == 0
