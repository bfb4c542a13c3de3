"""The compiled descriptors against `interface.md`, the facts that clients of the real service have compiled in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, FileDescriptor
from instanced import authorization_pb2
from zitadel import admin_pb2, instance_pb2, object_pb2, system_pb2

FACTS = Path(__file__).with_name("interface.md").read_text()
FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR for module in (admin_pb2, instance_pb2, object_pb2, system_pb2)
)
PREFIXES = {"zitadel.system.v1.SystemService": "/system/v1", "zitadel.admin.v1.AdminService": "/admin/v1"}

# Ours alone: an addition, and its messages.
ADDED_RPCS = {"zitadel.system.v1.SystemService/GetMyInstance"}
ADDED_MESSAGES = {"zitadel.system.v1.GetMyInstanceRequest", "zitadel.system.v1.GetMyInstanceResponse"}
# Of the real service, and not there yet.
MISSING_RPCS = {
    f"zitadel.system.v1.SystemService/{name}"
    for name in [
        "ListInstances",
        "GetInstance",
        "UpdateInstance",
        "CreateInstance",
        "RemoveInstance",
        "ListIAMMembers",
        "ExistsDomain",
        "ListDomains",
        "AddDomain",
        "RemoveDomain",
        "SetPrimaryDomain",
        "ListViews",
        "ClearView",
        "ListFailedEvents",
        "RemoveFailedEvent",
        "AddQuota",
        "SetQuota",
        "RemoveQuota",
        "SetInstanceFeature",
        "SetLimits",
        "BulkSetLimits",
        "ResetLimits",
    ]
} | {"zitadel.admin.v1.AdminService/ListInstanceDomains"}


@dataclass(frozen=True)
class Rpc:
    http_method: str
    path: str
    body: str
    request: str
    response: str


def published_rpcs() -> dict[str, Rpc]:
    """Read the tables: | RPC | HTTP | body | request | response |."""
    rpcs, service = {}, ""
    for line in FACTS.splitlines():
        if heading := re.fullmatch(r"### (\S+)", line):
            service = heading[1]
        elif row := re.fullmatch(r"\| (\w+) \| (\w+) `(\S+)` \| (\S+) \| (\w+) \| (\w+) \|", line):
            name, verb, path, body, request, response = row.groups()
            body = "" if body == "—" else body
            rpcs[f"{service}/{name}"] = Rpc(verb, PREFIXES[service] + path, body, request, response)
    return rpcs


def published_messages() -> Iterator[tuple[str, dict[int, str]]]:
    """Read the bullets: - **Message**: 1 `name` `type`[] (oneof x); ..."""
    package = ""
    for line in FACTS.splitlines():
        if heading := re.match(r"## package (\S+)", line):
            package = heading[1]
        elif bullet := re.fullmatch(r"- \*\*([\w.]+)\*\*: (.*)", line):
            name, fields = bullet.groups()
            yield f"{package}.{name}", {} if fields == "empty" else dict(map(published_field, fields.split("; ")))


def published_field(fact: str) -> tuple[int, str]:
    number, _, rest = fact.partition(" ")
    return int(number), rest


def published_enums() -> Iterator[tuple[str, dict[str, int]]]:
    package = ""
    for line in FACTS.splitlines():
        if heading := re.match(r"## package (\S+)", line):
            package = heading[1]
        elif bullet := re.fullmatch(r"- enum \*\*(\w+)\*\*: (.*)", line):
            name, values = bullet.groups()
            yield f"{package}.{name}", {value.split()[1]: int(value.split()[0]) for value in values.split(", ")}


RPCS = published_rpcs()
MESSAGES = dict(published_messages())
ENUMS = dict(published_enums())

TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def described_field(field: FieldDescriptor) -> str:
    """Write a compiled field as the facts write it."""
    of = field.message_type or field.enum_type
    fact = f"`{field.name}` `{of.full_name if of else TYPES[field.type]}`"
    if field.is_repeated:
        fact += "[]"
    if field.containing_oneof:
        fact += (
            " (optional)"
            if field.containing_oneof.name == f"_{field.name}"
            else f" (oneof {field.containing_oneof.name})"
        )
    return fact


def served_services() -> list[str]:
    return [service.full_name for file in FILES for service in file.services_by_name.values()]


def served_rpcs() -> dict[str, Rpc]:
    rpcs = {}
    for name in served_services():
        for method in descriptor_pool.Default().FindServiceByName(name).methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]  # type: ignore[var-annotated, index]  # typed loosely
            pattern = rule.WhichOneof("pattern")
            rpcs[f"{name}/{method.name}"] = Rpc(
                pattern.upper(), getattr(rule, pattern), rule.body, method.input_type.name, method.output_type.name
            )
    return rpcs


def served_messages() -> dict[str, dict[int, str]]:
    messages = {}
    waiting = [message for file in FILES for message in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        messages[message.full_name] = {field.number: described_field(field) for field in message.fields}
        waiting += message.nested_types
    return messages


def test_the_facts_are_read_whole() -> None:
    assert len(RPCS) == len(re.findall(r"^\| \w+ \| (?:GET|POST|PUT|DELETE) `", FACTS, re.MULTILINE)) == 27
    assert len(MESSAGES) == len(re.findall(r"^- \*\*", FACTS, re.MULTILINE))
    assert len(ENUMS) == len(re.findall(r"^- enum \*\*", FACTS, re.MULTILINE))


def test_the_rpcs_served_are_the_published_ones_but_for_the_listed_exceptions() -> None:
    assert set(served_rpcs()) - set(RPCS) == ADDED_RPCS
    assert set(RPCS) - set(served_rpcs()) == MISSING_RPCS


@pytest.mark.parametrize("name", sorted(set(served_rpcs()) & set(RPCS)))
def test_an_rpc_has_the_published_rule_and_messages(name: str) -> None:
    assert served_rpcs()[name] == RPCS[name]


def test_the_added_rpc_is_the_published_one_of_the_admin_service_below_the_system_prefix() -> None:
    added, admin = (
        served_rpcs()[f"zitadel.{service}/GetMyInstance"]
        for service in ("system.v1.SystemService", "admin.v1.AdminService")
    )
    assert added == Rpc("GET", "/system/v1/instances/me", "", "GetMyInstanceRequest", "GetMyInstanceResponse")
    assert admin.path == "/admin/v1/instances/me"
    replies = (module.GetMyInstanceResponse.DESCRIPTOR.fields for module in (system_pb2, admin_pb2))
    first, second = ([described_field(field) for field in fields] for fields in replies)
    assert first == second


def test_all_messages_are_published_but_those_of_the_addition() -> None:
    assert set(served_messages()) - set(MESSAGES) == ADDED_MESSAGES


@pytest.mark.parametrize("name", sorted(set(served_messages()) & set(MESSAGES)))
def test_a_message_has_the_published_fields(name: str) -> None:
    assert served_messages()[name] == MESSAGES[name]


def served_enums() -> list[EnumDescriptor]:
    return [enum for file in FILES for enum in file.enum_types_by_name.values()]


@pytest.mark.parametrize("enum", served_enums(), ids=lambda enum: enum.full_name)
def test_an_enum_has_the_published_values(enum: EnumDescriptor) -> None:
    assert {value.name: value.number for value in enum.values} == ENUMS[enum.full_name]


def test_add_instance_is_deprecated_as_the_reference_page_says() -> None:
    deprecated = {
        f"{name}/{method.name}"
        for name in served_services()
        for method in descriptor_pool.Default().FindServiceByName(name).methods
        if method.GetOptions().deprecated
    }
    assert deprecated == {"zitadel.system.v1.SystemService/AddInstance"}


@pytest.mark.parametrize(
    ("rpc", "permission", "asked_instance"),
    [
        ("zitadel.system.v1.SystemService/Healthz", None, False),
        ("zitadel.system.v1.SystemService/AddInstance", "system.instance.write", False),
        ("zitadel.system.v1.SystemService/GetMyInstance", "system.instance.read", True),
        ("zitadel.admin.v1.AdminService/Healthz", None, False),
        ("zitadel.admin.v1.AdminService/GetMyInstance", "iam.read", True),
    ],
)
def test_an_rpc_asks_for_its_permission(rpc: str, permission: str | None, asked_instance: bool) -> None:
    service, _, name = rpc.partition("/")
    method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    authorization = method.GetOptions().Extensions[authorization_pb2.authorization]
    assert (authorization.permission or None, authorization.asked_instance) == (permission, asked_instance)
    assert authorization.public == (permission is None)
