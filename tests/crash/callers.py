"""AddInstance and GetMyInstance over each front, as a caller sees them: every call has an outcome, none raises."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import grpc
import requests
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from zitadel import admin_pb2, instance_pb2, object_pb2, system_pb2
from zitadel.admin_pb2_grpc import AdminServiceStub
from zitadel.system_pb2_grpc import SystemServiceStub

from server.external import published_url
from server.identity.local_user import LOCAL_USER_ID, load_local_user
from server.identity.minting import mint
from tests.servers import Server

PATIENCE = 60.0
TOKEN_LIFETIME = 3600
# The connection ended, or was refused, before there was a reply; only the server's own UNAVAILABLE has a RetryInfo.
LOST = "LOST"
HOST = "x-zitadel-instance-host"
HTTP_STATUS = {"OK": 200, "ALREADY_EXISTS": 409, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; no two calls of a test share a name, so that what is stored can be told by it."""

    name: str
    custom_domain: str = ""

    @property
    def email(self) -> str:
        return f"owner@{self.name}.example"

    def request(self) -> system_pb2.AddInstanceRequest:
        return system_pb2.AddInstanceRequest(
            instance_name=self.name,
            custom_domain=self.custom_domain,
            owner_email=system_pb2.AddInstanceRequest.Email(email=self.email),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call: the name of its status, and what an OK one brought."""

    wanted: Wanted
    code: str
    instance_id: str = ""
    details: object_pb2.ObjectDetails | None = None
    said: str = ""

    @property
    def ok(self) -> bool:
        return self.code == "OK"


class Front(Protocol):
    """One way to reach a server; may be used by many threads at once."""

    def add(self, wanted: Wanted, deadline: float = PATIENCE) -> Outcome: ...

    def my_instance(self, host: str) -> instance_pb2.InstanceDetail: ...

    def close(self) -> None: ...


class Native:
    """Native gRPC, all calls on one connection: to the listener of its own, or to the one port."""

    def __init__(self, server: Server, *, one_port: bool = False) -> None:
        self._metadata = tuple(server.bearer().items())
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        self.channel = grpc.insecure_channel(server.http if one_port else server.grpc, options=options)
        self._system, self._admin = SystemServiceStub(self.channel), AdminServiceStub(self.channel)

    def add(self, wanted: Wanted, deadline: float = PATIENCE) -> Outcome:
        try:
            reply = self._system.AddInstance(wanted.request(), metadata=self._metadata, timeout=deadline)
        except grpc.RpcError as error:
            return _refused(wanted, cast("grpc.Call", error))
        return Outcome(wanted, "OK", reply.instance_id, reply.details)

    def my_instance(self, host: str) -> instance_pb2.InstanceDetail:
        asked = (*self._metadata, (HOST, host))
        return self._admin.GetMyInstance(admin_pb2.GetMyInstanceRequest(), metadata=asked, timeout=PATIENCE).instance

    def close(self) -> None:
        self.channel.close()


class JSON:
    """JSON over HTTP; each call in flight has a connection of its own."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update(server.bearer())
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=256))

    def add(self, wanted: Wanted, deadline: float = PATIENCE) -> Outcome:
        body = json_format.MessageToDict(wanted.request())
        headers = {"grpc-timeout": f"{round(deadline * 1000)}m"}
        try:
            reply = self._session.post(
                f"{self._url}/system/v1/instances", json=body, headers=headers, timeout=2 * PATIENCE
            )
        except requests.RequestException as error:
            return Outcome(wanted, LOST, said=str(error))
        if len(reply.content) < int(reply.headers["content-length"]):
            # The server was killed between head and body; requests lets that pass.
            return Outcome(wanted, LOST, said="the reply is cut short")
        if reply.status_code == 200:
            added = json_format.Parse(reply.text, system_pb2.AddInstanceResponse())
            return Outcome(wanted, "OK", added.instance_id, added.details)
        status = json.loads(reply.text)
        code = next(known.name for known in grpc.StatusCode if known.value[0] == status["code"])
        assert HTTP_STATUS.get(code) == reply.status_code, (reply.status_code, status)
        if code == "UNAVAILABLE":
            assert [detail["@type"] for detail in status["details"]] == ["type.googleapis.com/google.rpc.RetryInfo"]
        return Outcome(wanted, code, said=status["message"])

    def my_instance(self, host: str) -> instance_pb2.InstanceDetail:
        reply = self._session.get(f"{self._url}/admin/v1/instances/me", headers={HOST: host}, timeout=PATIENCE)
        assert reply.status_code == 200, reply.text
        return json_format.Parse(reply.text, admin_pb2.GetMyInstanceResponse()).instance

    def close(self) -> None:
        self._session.close()


@contextmanager
def both_fronts(server: Server) -> Iterator[tuple[Front, Front]]:
    """Reach the server over both fronts, with a token of its own user, minted here: the command takes half a second."""
    with _opened(server, Native, JSON) as (native, json_):
        yield native, json_


@contextmanager
def one_port(server: Server) -> Iterator[tuple[Front, Front]]:
    """Reach the server over the HTTP address alone, by native gRPC and by JSON."""
    with _opened(server, partial(Native, one_port=True), JSON) as (native, json_):
        yield native, json_


@contextmanager
def _opened(server: Server, *makers: Callable[[Server], Front]) -> Iterator[list[Front]]:
    if None not in server.tokens:
        key = load_local_user(server.data).private_key_pem
        server.tokens[None] = mint(LOCAL_USER_ID, key, published_url(server.data) or "", TOKEN_LIFETIME)
    fronts = [make(server) for make in makers]
    try:
        yield fronts
    finally:
        for front in fronts:
            front.close()


class AtOnce:
    """Calls that run at the same time, each on a thread of its own, in turn over the fronts."""

    def __init__(self, fronts: Sequence[Front], wanted: Iterable[Wanted]) -> None:
        orders = list(wanted)
        start = threading.Barrier(len(orders))
        self._pool = ThreadPoolExecutor(len(orders))

        def call(front: Front, order: Wanted) -> Outcome:
            start.wait()
            return front.add(order)

        self._calls: list[Future[Outcome]] = [
            self._pool.submit(call, fronts[number % len(fronts)], order) for number, order in enumerate(orders)
        ]

    def outcomes(self) -> list[Outcome]:
        """Wait for all of them, in the order in which they were asked for."""
        with self._pool:
            return [call.result() for call in self._calls]


class Load:
    """Callers that add one instance after the other until they are told that the server ends, or lose it after that.

    Every second instance has a custom domain.
    """

    def __init__(self, fronts: Sequence[Front], callers: int, prefix: str) -> None:
        self.outcomes: list[Outcome] = []
        self._prefix = prefix
        self._ending = threading.Event()
        self._acknowledged = threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self._callers = [
            self._pool.submit(self._call, fronts[number % len(fronts)], number) for number in range(callers)
        ]

    def wait_for_first(self) -> None:
        """Wait until a call is acknowledged."""
        assert self._acknowledged.wait(PATIENCE), "no call was acknowledged"

    def end(self, how: Callable[[], None]) -> list[Outcome]:
        """End the server by `how`; return the outcome of every call made."""
        with self._pool:
            self._ending.set()
            how()
            for caller in self._callers:
                caller.result()
        return self.outcomes

    def _call(self, front: Front, caller: int) -> None:
        number = 0
        while True:
            name = f"{self._prefix}-{caller}-{number}"
            outcome = front.add(Wanted(name, f"{name}.example" if number % 2 else ""))
            self.outcomes.append(outcome)
            number += 1
            if not outcome.ok:
                assert self._ending.is_set(), f"failed before the server was to end: {outcome}"
                return
            self._acknowledged.set()


def codes(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Count the statuses."""
    counted: dict[str, int] = {}
    for outcome in outcomes:
        counted[outcome.code] = counted.get(outcome.code, 0) + 1
    return counted


def names(outcomes: Iterable[Outcome], *, ok: bool) -> set[str]:
    """Return the names of the instances whose calls were acknowledged, or were not."""
    return {outcome.wanted.name for outcome in outcomes if outcome.ok is ok}


def some(count: int, prefix: str) -> list[Wanted]:
    """Return wishes for `count` instances, half of them with a custom domain; over both fronts in turn both kinds."""
    return [
        Wanted(f"{prefix}-{number}", f"{prefix}-{number}.example" if number % 4 < 2 else "") for number in range(count)
    ]


def _refused(wanted: Wanted, call: grpc.Call) -> Outcome:
    code, said = call.code().name, call.details() or ""
    status = rpc_status.from_call(call)
    details = status.details if status is not None else ()
    own = any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
    return Outcome(wanted, LOST if code == "UNAVAILABLE" and not own else code, said=said)
