"""The writer of JSON gives, byte for byte, what google.protobuf.json_format gives."""

import json
from typing import Any

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import FieldDescriptor
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway._json_writer import field_to_json, to_json
from tests.unit.gateway.echo import EchoReply, EchoRequest

F = descriptor_pb2.FieldDescriptorProto
PACKAGE = "gateway.test.kinds.v1"
SCALARS = {name: number for name, number in F.Type.items() if name not in ("TYPE_MESSAGE", "TYPE_GROUP", "TYPE_ENUM")}
KEYS = [name for name in SCALARS if name not in ("TYPE_DOUBLE", "TYPE_FLOAT", "TYPE_BYTES")]


def _kinds() -> descriptor_pb2.FileDescriptorProto:
    """Every scalar: alone, optional, repeated, in a map; enums with aliases and with options; an extensible message."""
    file = descriptor_pb2.FileDescriptorProto(name="gateway/test/kinds.proto", package=PACKAGE, syntax="proto3")
    wkts = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
    file.dependency.extend(module.DESCRIPTOR.name for module in wkts)
    file.dependency.append("google/protobuf/descriptor.proto")
    file.extension.add(
        name="nick", number=50_001, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL,
        extendee=".google.protobuf.EnumValueOptions",
    )  # fmt: skip
    alias = file.enum_type.add(name="Alias")
    alias.options.allow_alias = True
    for name, number in (("NONE", 0), ("ONE", 1), ("EINS", 1), ("TWO", 2)):
        alias.value.add(name=name, number=number)
    alias.value[3].options.deprecated = True
    kinds = file.message_type.add(name="Kinds")
    number = 0

    def field(name: str, kind: Any, type_name: str = "", *, repeated: bool = False) -> Any:
        nonlocal number
        number += 1
        label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
        added = kinds.field.add(name=name, number=number, type=kind, label=label)
        if type_name:
            added.type_name = type_name
        return added

    for name, kind in SCALARS.items():
        short = name.removeprefix("TYPE_").lower()
        field(f"a_{short}", kind)
        field(f"some_{short}", kind, repeated=True)
        kinds.oneof_decl.add(name=f"_maybe_{short}")
        maybe = field(f"maybe_{short}", kind)
        maybe.proto3_optional = True
        maybe.oneof_index = len(kinds.oneof_decl) - 1
    for name in KEYS:
        entry = kinds.nested_type.add(name=f"By{name.removeprefix('TYPE_').title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=SCALARS[name], label=F.LABEL_OPTIONAL)
        entry.field.add(
            name="value", number=2, type=F.TYPE_MESSAGE, type_name=f".{PACKAGE}.Kinds", label=F.LABEL_OPTIONAL
        )
        field(
            f"by_{name.removeprefix('TYPE_').lower()}", F.TYPE_MESSAGE, f".{PACKAGE}.Kinds.{entry.name}", repeated=True
        )
    for short in ("any", "struct", "value", "list_value", "timestamp", "duration", "field_mask", "empty"):
        type_name = ".google.protobuf." + "".join(part.title() for part in short.split("_"))
        field(f"a_{short}", F.TYPE_MESSAGE, type_name)
        field(f"some_{short}", F.TYPE_MESSAGE, type_name, repeated=True)
    for short in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"):
        field(f"a_{short.lower()}_value", F.TYPE_MESSAGE, f".google.protobuf.{short}Value")
    field("alias", F.TYPE_ENUM, f".{PACKAGE}.Alias")
    field("aliases", F.TYPE_ENUM, f".{PACKAGE}.Alias", repeated=True)
    field("nothing", F.TYPE_ENUM, ".google.protobuf.NullValue")
    field("kinds", F.TYPE_MESSAGE, f".{PACKAGE}.Kinds")
    return file


def _odd() -> descriptor_pb2.FileDescriptorProto:
    """What the writer leaves to json_format: an enum whose values have options of their own, and extensions."""
    file = descriptor_pb2.FileDescriptorProto(name="gateway/test/odd.proto", package=f"{PACKAGE}.odd", syntax="proto2")
    file.dependency.append("gateway/test/kinds.proto")
    nicked = file.enum_type.add(name="Nicked")
    nicked.value.add(name="NONE", number=0)
    # The option as bytes: field 50001, "x".
    nicked.value[0].options.MergeFromString(b"\x8a\xb5\x18\x01x")
    odd = file.message_type.add(name="Odd")
    odd.field.add(name="nicked", number=1, type=F.TYPE_ENUM, type_name=f".{PACKAGE}.odd.Nicked", label=F.LABEL_OPTIONAL)
    odd.field.add(name="text", number=2, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
    odd.field.add(name="odds", number=3, type=F.TYPE_MESSAGE, type_name=f".{PACKAGE}.odd.Odd", label=F.LABEL_REPEATED)
    odd.extension_range.add(start=100, end=200)
    file.extension.add(
        name="more", number=100, type=F.TYPE_INT64, label=F.LABEL_OPTIONAL, extendee=f".{PACKAGE}.odd.Odd"
    )
    return file


POOL = descriptor_pool.Default()
for each in (_kinds(), _odd()):
    POOL.AddSerializedFile(each.SerializeToString())
Kinds: Any = message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.Kinds"))
Odd: Any = message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.odd.Odd"))


def by_json_format(message: Any) -> bytes:
    return json.dumps(json_format.MessageToDict(message), ensure_ascii=False, separators=(",", ":")).encode()


# Messages of any content.

text = st.text(max_size=6)
SCALAR_VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: text,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-3, 5),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)


def parsed(message_class: Any) -> Any:
    return lambda value: json_format.ParseDict(value, message_class())


def packed(message: Any) -> Any:
    detail = any_pb2.Any()
    detail.Pack(message)
    return detail


nanos = st.sampled_from([0, 1, 1000, 1_000_000, 500_000_000, 999_999_999]) | st.integers(0, 999_999_999)
WELL_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "google.protobuf.Timestamp": st.builds(
        timestamp_pb2.Timestamp, seconds=st.integers(-62135596800, 253402300799), nanos=nanos
    ),
    "google.protobuf.Duration": st.builds(duration_pb2.Duration, seconds=st.integers(0, 315576000000), nanos=nanos),
    "google.protobuf.FieldMask": st.builds(
        field_mask_pb2.FieldMask, paths=st.lists(st.sampled_from(["a", "a_b.c_d", "x.y"]), max_size=3)
    ),
    "google.protobuf.Value": json_values.map(parsed(struct_pb2.Value)),
    "google.protobuf.Struct": st.dictionaries(text, json_values, max_size=2).map(parsed(struct_pb2.Struct)),
    "google.protobuf.ListValue": st.lists(json_values, max_size=2).map(parsed(struct_pb2.ListValue)),
    "google.protobuf.Any": st.sampled_from(
        [
            any_pb2.Any(),
            packed(RetryInfo(retry_delay={"seconds": 1})),
            packed(BadRequest(field_violations=[{"field": "é"}])),
            packed(wrappers_pb2.Int64Value(value=5)),
            packed(duration_pb2.Duration(seconds=1)),
        ]
    ),
}


@st.composite
def messages(draw: st.DrawFn, message_class: Any, depth: int = 2) -> Any:
    message = message_class()
    fields = [f for f in message_class.DESCRIPTOR.fields if depth or f.message_type is None]
    chosen = draw(st.lists(st.sampled_from(fields), max_size=5, unique_by=lambda f: f.number)) if fields else []
    for field in chosen:
        fill(draw, message, field, depth - 1)
    return message


def value_of(draw: st.DrawFn, field: FieldDescriptor, depth: int) -> Any:
    nested = field.message_type
    if nested is None:
        return draw(st.binary(max_size=5) if field.type == field.TYPE_BYTES else SCALAR_VALUES[field.cpp_type])
    if nested.full_name in WELL_KNOWN:
        return draw(WELL_KNOWN[nested.full_name])
    return draw(messages(message_factory.GetMessageClass(nested), max(depth, 0)))


def fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        key_field, value_field = nested.fields_by_name["key"], nested.fields_by_name["value"]
        for key in draw(st.lists(SCALAR_VALUES[key_field.cpp_type], max_size=3)):
            value = value_of(draw, value_field, depth)
            if value_field.message_type is not None:
                getattr(message, field.name)[key].CopyFrom(value)
            else:
                getattr(message, field.name)[key] = value
    elif field.is_repeated:
        getattr(message, field.name).extend([value_of(draw, field, depth) for _ in range(draw(st.integers(0, 3)))])
    elif nested is not None:
        getattr(message, field.name).CopyFrom(value_of(draw, field, depth))
    else:
        setattr(message, field.name, value_of(draw, field, depth))


@settings(deadline=None)
@given(messages(EchoReply, depth=3) | messages(EchoRequest) | messages(Kinds))
def test_any_message_is_written_as_json_format_writes_it(message: Any) -> None:
    assert to_json(message) == by_json_format(message)


@given(st.floats(width=32))
def test_any_number_of_single_precision_is_as_short_as_json_format_has_it(value: float) -> None:
    message = EchoRequest(single=value)
    assert to_json(message) == by_json_format(message)


@given(st.integers(-62135596800, 253402300799) | st.sampled_from([-62135596800, 253402300799, 0]), nanos)
def test_any_time_is_written_as_json_format_has_it(seconds: int, nanos: int) -> None:
    message = EchoRequest(at={"seconds": seconds, "nanos": nanos})
    assert to_json(message) == by_json_format(message)


@given(messages(EchoRequest) | messages(Kinds))
def test_one_field_is_written_as_it_stands_in_the_message(message: Any) -> None:
    whole = json_format.MessageToDict(message)
    for field, _ in message.ListFields():
        expected = json.dumps(whole[field.json_name], ensure_ascii=False, separators=(",", ":"))
        assert field_to_json(message, field).decode() == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("text", b'""'), ("count", b"0"), ("big", b'"0"'), ("is_set", b"false"), ("ratio", b"0.0"), ("data", b'""'),
        ("color", b'"COLOR_UNSPECIFIED"'), ("tags", b"[]"), ("labels", b"{}"), ("inner", b"{}"), ("inners", b"[]"),
        ("at", b"null"), ("maybe", b"null"), ("extra", b"null"), ("left", b'""'),
    ],
)  # fmt: skip
def test_field_that_is_not_set_is_its_default(field: str, expected: bytes) -> None:
    assert field_to_json(EchoRequest(), EchoRequest.DESCRIPTOR.fields_by_name[field]) == expected


def test_extension_and_enum_values_with_options_are_left_to_json_format() -> None:
    odd = Odd(nicked=0, text="a", odds=[{"text": "b"}, {"nicked": 0}])
    odd.Extensions[POOL.FindExtensionByName(f"{PACKAGE}.odd.more")] = 5
    assert to_json(odd) == by_json_format(odd)
    assert b'"[gateway.test.kinds.v1.odd.more]":"5"' in to_json(odd)
    assert to_json(Odd(odds=[odd])) == by_json_format(Odd(odds=[odd]))
    assert field_to_json(odd, Odd.DESCRIPTOR.fields_by_name["nicked"]) == b'"NONE"'


def test_first_of_two_names_is_written() -> None:
    assert to_json(Kinds(alias=1)) == by_json_format(Kinds(alias=1)) == b'{"alias":"ONE"}'


@pytest.mark.parametrize(
    "message",
    [
        EchoRequest(at={"seconds": 2**62}),
        EchoRequest(at={"nanos": -1}),
        EchoRequest(at={"nanos": 1_000_000_000}),
        EchoRequest(at={"seconds": 253402300800}),
        EchoRequest(lasts={"nanos": -(2**31)}),
        EchoRequest(mask={"paths": ["aB"]}),
        Kinds(a_value=struct_pb2.Value(number_value=float("nan"))),
        EchoRequest(detail={"type_url": "type.googleapis.com/no.such.Type", "value": b"x"}),
    ],
)
def test_what_json_cannot_carry_is_an_error_of_the_same_kinds(message: Any) -> None:
    kinds = (ValueError, TypeError, json_format.SerializeToJsonError)
    with pytest.raises(kinds):
        by_json_format(message)
    with pytest.raises(kinds):
        to_json(message)
