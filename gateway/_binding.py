"""Text from a path or a query string into the fields of a message.

google/api/http.proto, "Rules for HTTP mapping": a leaf is a scalar, an enum, or a message whose JSON is a string or a
scalar (wrappers, Timestamp, Duration, FieldMask); a query parameter may be repeated where its field is. Other messages
are given field by field (`inner.name=x`); repeated messages and maps are not, as the document says.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway._json import fields_by_json, type_of
from gateway._scalar import INTEGER_RANGES, bytes_of, float_of, integer_of
from gateway._status import Refused, invalid

MAX_PARAMETERS: Final = 1000

_BOOLEANS: Final = {"true": True, "false": False}

_FIELD_MASK: Final = field_mask_pb2.FieldMask.DESCRIPTOR.full_name
_TEXT_MESSAGES: Final = frozenset(
    {_FIELD_MASK, timestamp_pb2.Timestamp.DESCRIPTOR.full_name, duration_pb2.Duration.DESCRIPTOR.full_name}
)
_WRAPPERS: Final = "google/protobuf/wrappers.proto"

FieldPath = tuple[FieldDescriptor, ...]


def is_leaf(field: FieldDescriptor) -> bool:
    """Say whether one text can be a value of this field."""
    message = field.message_type
    if message is None:
        return True
    return message.full_name in _TEXT_MESSAGES or message.file.name == _WRAPPERS


@lru_cache(maxsize=4096)
def resolve(descriptor: Descriptor, dotted: str) -> FieldPath | None:
    """Find a field by names joined by dots, each in either spelling; None where there is no such leaf."""
    path: list[FieldDescriptor] = []
    current: Descriptor | None = descriptor
    for name in dotted.split("."):
        if current is None or (path and path[-1].is_repeated):
            return None
        field = fields_by_json(current).get(name)
        if field is None:
            return None
        path.append(field)
        current = field.message_type
    return tuple(path) if is_leaf(path[-1]) else None


def json_path(path: FieldPath) -> str:
    """Give the path of a field as errors name it."""
    return ".".join(field.json_name for field in path)


def assign(message: Message, path: FieldPath, text: str) -> None:
    """Set the field at `path`, or append to it where it is repeated.

    Raises:
        Refused: INVALID_ARGUMENT, naming the field.
    """
    for field in path[:-1]:
        _check_oneof(message, field, path)
        message = getattr(message, field.name)
        message.SetInParent()
    leaf = path[-1]
    _check_oneof(message, leaf, path)
    try:
        if leaf.message_type is not None:
            target = getattr(message, leaf.name)
            _fill(target.add() if leaf.is_repeated else target, text)
        elif leaf.is_repeated:
            getattr(message, leaf.name).append(_converter(leaf)(text))
        else:
            setattr(message, leaf.name, _converter(leaf)(text))
    except (ValueError, TypeError, OverflowError):
        raise invalid(f"the text does not fit a field of type {_type_name(leaf)}", field=json_path(path)) from None


def _check_oneof(message: Message, field: FieldDescriptor, path: FieldPath) -> None:
    oneof = field.containing_oneof
    if oneof is None:
        return
    other = message.WhichOneof(oneof.name)
    if other is not None and other != field.name:
        beside = oneof.containing_type.fields_by_name[other].json_name
        raise invalid(f"must not stand beside {beside}", field=json_path(path))


# Each raises ValueError for text that is no value of its field.


def _fill(message: Message, text: str) -> None:
    message.SetInParent()
    described = type_of(message)
    if described.file.name == _WRAPPERS:
        value = described.fields_by_name["value"]
        setattr(message, "value", _converter(value)(text))  # noqa: B010 - the type is known at run time only
    elif described.full_name == _FIELD_MASK:
        message.paths[:] = _mask_of(text)  # type: ignore[attr-defined]
    else:
        message.FromJsonString(text)  # type: ignore[attr-defined]


_MASK_PATH: Final = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", re.ASCII)
_UPPER: Final = re.compile("[A-Z]")


def _mask_of(text: str) -> list[str]:
    """Read field paths, each in either spelling: URLs have them as the .proto file spells them, JSON does not."""
    paths = text.split(",") if text else []
    if any(_MASK_PATH.fullmatch(path) is None for path in paths):
        raise ValueError("not a field path")
    return [_UPPER.sub(lambda letter: "_" + letter[0].lower(), path) for path in paths]


@lru_cache(maxsize=4096)
def _converter(field: FieldDescriptor) -> Callable[[str], Any]:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return str if field.type == FieldDescriptor.TYPE_STRING else bytes_of
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _boolean_of
    if kind in INTEGER_RANGES:
        bounds = INTEGER_RANGES[kind]
        names = {} if field.enum_type is None else {value.name: value.number for value in field.enum_type.values}
        return lambda text: names[text] if text in names else integer_of(text, bounds)
    single = kind == FieldDescriptor.CPPTYPE_FLOAT
    return lambda text: float_of(text, single=single)


def _boolean_of(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError("no boolean")
    return _BOOLEANS[text]


def _type_name(field: FieldDescriptor) -> str:
    described = field.message_type or field.enum_type
    if described is not None:
        return described.full_name
    return _SCALAR_NAMES[field.type]


_SCALAR_NAMES: Final = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


# Query strings.


def parse_query(query: bytes) -> Iterator[tuple[str, str]]:
    """Give the parameters of a query string, as HTML forms encode it.

    Raises:
        Refused: INVALID_ARGUMENT where it is not percent-encoded UTF-8, or has over a thousand parameters.
    """
    if query.count(b"&") >= MAX_PARAMETERS:
        raise invalid(f"the query string has more than {MAX_PARAMETERS} parameters")
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            yield _text(name), _text(value)


def _text(encoded: bytes) -> str:
    if b"%" in encoded or b"+" in encoded:
        encoded = unquote_to_bytes(encoded.replace(b"+", b" "))
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("the query string is not percent-encoded UTF-8") from None


def assign_query(message: Message, query: bytes, taken: frozenset[FieldPath], *, ignore_unknown: bool) -> None:
    """Set fields from a query string; `taken` are the fields that path or body give, which a parameter may not.

    Raises:
        Refused: INVALID_ARGUMENT, naming the parameter.
    """
    descriptor = type_of(message)
    seen: set[FieldPath] = set()
    for name, text in parse_query(query):
        path = resolve(descriptor, name)
        if path is None:
            refusal = _unfit(descriptor, name)
            if refusal is not None:
                raise refusal
            if ignore_unknown:
                continue
            raise invalid("no such query parameter", field=name[:200])
        if taken and any(path[: len(other)] == other for other in taken):
            if ignore_unknown:
                continue
            raise invalid("stands in the path or the body, and cannot be a query parameter", field=json_path(path))
        if path in seen and not path[-1].is_repeated:
            raise invalid("the parameter stands twice", field=json_path(path))
        seen.add(path)
        assign(message, path, text)


def _unfit(descriptor: Descriptor, dotted: str) -> Refused | None:
    """Say why a field that is there cannot be a parameter; None where no field is there."""
    current: Descriptor | None = descriptor
    for name in dotted.split("."):
        field = None if current is None else fields_by_json(current).get(name)
        if field is None:
            return None
        current = field.message_type
        if current is not None and field.is_repeated:
            what = "a map" if current.GetOptions().map_entry else "a repeated message"
            return invalid(f"{what} cannot be given by query parameters", field=dotted[:200])
    if current is None:
        return None
    return invalid(f"a {current.full_name} cannot be one query parameter, its fields can", field=dotted[:200])
