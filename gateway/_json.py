"""Reading proto3 JSON, strictly: https://protobuf.dev/programming-guides/json/.

The well-known types are google.protobuf.json_format's. The rest is not: json_format takes an array for an empty object,
`1_000` for a number, stray characters in base64 and a field in both spellings at once, fails with SystemError on some
keys, and does not tell the path of what it refuses. Here each field is named by its JSON path, and input of any
kind ends in a message or in a refusal.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway._json_plain import read_plain
from gateway._scalar import INTEGER_RANGES, bounded, bytes_of, finite, float_of, integer_of
from gateway._status import Refused, invalid

_MAX_DEPTH: Final = 100


def parse_json(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read one JSON value and nothing else.

    Raises:
        Refused: INVALID_ARGUMENT.
    """
    if not data.strip(b" \t\r\n"):
        raise invalid("the body is empty, where JSON is expected")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("the body is not UTF-8") from None
    try:
        return _decode(text)
    except Refused:
        raise
    except json.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise invalid("the JSON is nested too deeply") from None
    except ValueError:
        raise invalid("the JSON has a number of too many digits") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise invalid("the key stands twice in one object", field=_printable(key))
            seen.add(key)
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise invalid(f"the body is not JSON: {name} is no JSON value")


# With hooks json.loads makes a decoder each time.
_decode: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant).decode


def merge_json(value: object, message: Message, *, ignore_unknown: bool) -> None:
    """Put a JSON object into a message.

    Raises:
        Refused: INVALID_ARGUMENT, naming the first field that does not fit.
    """
    if not read_plain(value, message):
        _read_object(value, message, _At("", 0, ignore_unknown=ignore_unknown))


def type_of(message: Message) -> Descriptor:
    """Give the descriptor of a message; its stubs leave open which of two equal classes it has."""
    return cast("Descriptor", message.DESCRIPTOR)


@lru_cache(maxsize=4096)
def fields_by_json(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Give the fields of a message by every name that JSON may call them."""
    fields = {field.name: field for field in descriptor.fields}
    fields.update({field.json_name: field for field in descriptor.fields})
    return fields


@dataclass(slots=True)  # not frozen: one is made for each field, and freezing takes most of its time
class _At:
    """Where in the JSON a value stands."""

    path: str
    depth: int
    ignore_unknown: bool

    def key(self, key: str) -> "_At":
        return _At(f"{self.path}.{key}" if self.path else key, self.depth + 1, self.ignore_unknown)

    def index(self, index: int) -> "_At":
        return _At(f"{self.path}[{index}]", self.depth, self.ignore_unknown)

    def misfit(self, expected: str) -> Refused:
        return invalid(expected, field=_printable(self.path)) if self.path else invalid(f"the JSON {expected}")


class _UnknownName(ValueError):
    """An enum has no value of this name."""


Convert = Callable[[Any], Any]
"""Gives a field's value for a JSON value; ValueError where it is none."""

_MISSING: Final = object()


def _read_object(value: object, message: Message, at: _At) -> None:
    if type(value) is not dict:
        raise at.misfit("must be an object")
    if at.depth > _MAX_DEPTH:
        raise at.misfit(f"must not nest deeper than {_MAX_DEPTH} levels")
    fields = fields_by_json(type_of(message))
    taken: dict[str, str] = {}
    for key, item in value.items():
        field = fields.get(key)
        if field is None:
            if at.ignore_unknown:
                continue
            raise at.key(key).misfit("is no field that is known here")
        if item is None and not _takes_null(field):
            continue
        oneof = field.containing_oneof
        other = taken.setdefault(field.name if oneof is None else f"oneof {oneof.name}", key)
        if other != key:
            raise at.key(key).misfit(f"must not stand beside {other}")
        _read_field(item, message, field, at.key(key))


def _read_field(item: object, message: Message, field: FieldDescriptor, at: _At) -> None:
    nested = field.message_type
    if field.is_repeated:
        if nested is not None and nested.GetOptions().map_entry:
            _read_map(item, getattr(message, field.name), nested, at)
        else:
            _read_array(item, getattr(message, field.name), field, at)
    elif nested is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        _read_message(item, target, at)
    else:
        converted = _converted(item, field, at)
        if converted is not _MISSING:
            setattr(message, field.name, converted)


def _read_array(item: object, target: Any, field: FieldDescriptor, at: _At) -> None:  # noqa: ANN401 - a repeated field
    if type(item) is not list:
        raise at.misfit("must be an array")
    if field.message_type is None:
        values = (_converted(element, field, at.index(index)) for index, element in enumerate(item))
        target.extend([value for value in values if value is not _MISSING])
        return
    for index, element in enumerate(item):
        if element is None and not _takes_null(field):
            raise at.index(index).misfit("must not be null")
        _read_message(element, target.add(), at.index(index))


def _read_map(item: object, target: Any, entry: Descriptor, at: _At) -> None:  # noqa: ANN401 - a map field
    if type(item) is not dict:
        raise at.misfit("must be an object")
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for text, element in item.items():
        here = at.key(text)
        try:
            key = _map_key(key_field)(text)
        except ValueError:
            raise here.misfit(f"must have a key that {_expectation(key_field)}") from None
        if element is None and not _takes_null(value_field):
            raise here.misfit("must not be null")
        if value_field.message_type is not None:
            _read_message(element, target[key], here)
        else:
            converted = _converted(element, value_field, here)
            if converted is not _MISSING:
                target[key] = converted


def _read_message(item: object, message: Message, at: _At) -> None:
    described = type_of(message)
    special = _SPECIAL.get(described.full_name)
    if special is None:
        _read_object(item, message, at)
    elif special is _WRAPPER:
        _read_field(item, message, described.fields_by_name["value"], at)
    else:
        shape, expected = special
        if not isinstance(item, shape):
            raise at.misfit(f"must be {expected}")
        if at.depth > _MAX_DEPTH:
            raise at.misfit(f"must not nest deeper than {_MAX_DEPTH} levels")
        try:
            json_format.ParseDict(cast("Any", item), message, ignore_unknown_fields=at.ignore_unknown)
        except _UNFIT:
            raise at.misfit(f"must be {expected}") from None


# What json_format raises on a value of a wrong form, depth or size; SystemError comes from keys with lone surrogates.
_UNFIT: Final = (
    json_format.ParseError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    SystemError,
)

_WRAPPER: Final = ((), "")
_ANY_JSON: Final = (dict, list, str, int, float, bool, type(None))
_SPECIAL: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "google.protobuf.Timestamp": ((str,), "a time as RFC 3339 writes it"),
    "google.protobuf.Duration": ((str,), "seconds followed by s"),
    "google.protobuf.FieldMask": ((str,), "field paths separated by commas"),
    "google.protobuf.Struct": ((dict,), "an object of JSON values"),
    "google.protobuf.ListValue": ((list,), "an array of JSON values"),
    "google.protobuf.Value": (_ANY_JSON, "a JSON value"),
    "google.protobuf.Any": ((dict,), "an object with @type, the URL of a type known here, and its fields"),
    **{
        f"google.protobuf.{name}Value": _WRAPPER
        for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}


def _takes_null(field: FieldDescriptor) -> bool:
    described = field.message_type or field.enum_type
    return described is not None and described.full_name in ("google.protobuf.Value", "google.protobuf.NullValue")


# Scalars.


def _converted(item: object, field: FieldDescriptor, at: _At) -> Any:  # noqa: ANN401 - a value of the field
    try:
        return _converter(field)(item)
    except _UnknownName:
        if at.ignore_unknown:
            return _MISSING
        raise at.misfit(_expectation(field)) from None
    except (ValueError, OverflowError):
        raise at.misfit(_expectation(field)) from None


@lru_cache(maxsize=4096)
def _converter(field: FieldDescriptor) -> Convert:
    if field.enum_type is not None:
        return _enum_converter(field.enum_type)
    kind = field.cpp_type
    if kind in INTEGER_RANGES:
        return _integer_converter(INTEGER_RANGES[kind])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _bool
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string
    return _float_converter(single=kind == FieldDescriptor.CPPTYPE_FLOAT)


def _string(item: object) -> str:
    if type(item) is not str:
        raise ValueError("no string")
    if not item.isascii():
        item.encode()  # a lone surrogate is a ValueError
    return item


def _bytes(item: object) -> bytes:
    return bytes_of(_string(item))


def _bool(item: object) -> bool:
    if type(item) is not bool:
        raise ValueError("no boolean")
    return item


def _integer_converter(bounds: tuple[int, int]) -> Convert:
    def convert(item: object) -> int:
        if type(item) is int or type(item) is float:
            return bounded(item, bounds)
        return integer_of(_string(item), bounds)

    return convert


def _float_converter(*, single: bool) -> Convert:
    def convert(item: object) -> float:
        if type(item) is int or type(item) is float:
            return finite(float(item), single=single)
        return float_of(_string(item), single=single)

    return convert


def _enum_converter(enum: EnumDescriptor) -> Convert:
    names = {value.name: value.number for value in enum.values}
    bounds = INTEGER_RANGES[FieldDescriptor.CPPTYPE_ENUM]
    is_null = enum.full_name == "google.protobuf.NullValue"

    def convert(item: object) -> int:
        if type(item) is int or type(item) is float:
            number = bounded(item, bounds)
            if enum.is_closed and number not in enum.values_by_number:
                raise _UnknownName
            return number
        if item is None and is_null:
            return 0
        name = _string(item)
        if name not in names:
            raise _UnknownName
        return names[name]

    return convert


@lru_cache(maxsize=4096)
def _map_key(field: FieldDescriptor) -> Convert:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _bool_key
    return _converter(field)


def _bool_key(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("no boolean")
    return text == "true"


_EXPECTED: Final = {
    FieldDescriptor.CPPTYPE_BOOL: "must be true or false",
    FieldDescriptor.CPPTYPE_STRING: "must be a string of Unicode characters",
    FieldDescriptor.CPPTYPE_DOUBLE: "must be a number",
    FieldDescriptor.CPPTYPE_FLOAT: "must be a number of single precision",
    FieldDescriptor.CPPTYPE_INT32: "must be a 32-bit integer",
    FieldDescriptor.CPPTYPE_UINT32: "must be an unsigned 32-bit integer",
    FieldDescriptor.CPPTYPE_INT64: "must be a 64-bit integer",
    FieldDescriptor.CPPTYPE_UINT64: "must be an unsigned 64-bit integer",
}


def _expectation(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return f"must be a value of {field.enum_type.full_name}"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return "must be a string in base64"
    return _EXPECTED[field.cpp_type]


def _printable(key: str) -> str:
    """Give a key as text that UTF-8 can carry, cut where it is long: it goes back to whoever sent it."""
    return key[:200].encode("utf-8", "replace").decode()
