"""Text from a path or a query string into the fields of a message.

google/api/http.proto, "Rules for HTTP mapping": a leaf is a scalar, an enum, or a message whose JSON is a string or a
scalar; a query parameter may be repeated where its field is.
"""

from collections.abc import Iterator
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

_TEXT_MESSAGES: Final = frozenset(
    m.DESCRIPTOR.full_name for m in (timestamp_pb2.Timestamp, duration_pb2.Duration, field_mask_pb2.FieldMask)
)
_WRAPPERS: Final = "google/protobuf/wrappers.proto"

FieldPath = tuple[FieldDescriptor, ...]


def is_leaf(field: FieldDescriptor) -> bool:
    """Say whether one text can be a value of this field."""
    message = field.message_type
    if message is None:
        return True
    return message.full_name in _TEXT_MESSAGES or message.file.name == _WRAPPERS


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
        message = getattr(message, field.name)
        message.SetInParent()
    leaf = path[-1]
    try:
        if leaf.message_type is not None:
            target = getattr(message, leaf.name)
            _fill(target.add() if leaf.is_repeated else target, text)
        elif leaf.is_repeated:
            getattr(message, leaf.name).append(_scalar(leaf, text))
        else:
            setattr(message, leaf.name, _scalar(leaf, text))
    except (ValueError, TypeError, OverflowError):
        raise invalid(f"the text does not fit a field of type {_type_name(leaf)}", field=json_path(path)) from None


def _fill(message: Message, text: str) -> None:
    message.SetInParent()
    described = type_of(message)
    value = described.fields_by_name.get("value")
    if value is not None and described.file.name == _WRAPPERS:
        setattr(message, "value", _scalar(value, text))  # noqa: B010 - the type is known at run time only
    else:
        message.FromJsonString(text)  # type: ignore[attr-defined]


def _scalar(field: FieldDescriptor, text: str) -> Any:  # noqa: ANN401 - what the field's type says
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return text if field.type == FieldDescriptor.TYPE_STRING else bytes_of(text)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if text not in _BOOLEANS:
            raise ValueError("no boolean")
        return _BOOLEANS[text]
    if field.enum_type is not None and text in field.enum_type.values_by_name:
        return field.enum_type.values_by_name[text].number
    if kind in INTEGER_RANGES:
        return integer_of(text, INTEGER_RANGES[kind])
    return float_of(text, single=kind == FieldDescriptor.CPPTYPE_FLOAT)


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
    try:
        return unquote_to_bytes(encoded.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("the query string is not percent-encoded UTF-8") from None


def assign_query(message: Message, query: bytes, taken: frozenset[FieldPath], *, ignore_unknown: bool) -> None:
    """Set fields from a query string; `taken` are the fields that path or body give, which a parameter may not.

    Raises:
        Refused: INVALID_ARGUMENT, naming the parameter.
    """
    seen: set[FieldPath] = set()
    for name, text in parse_query(query):
        path = resolve(type_of(message), name)
        if path is None or any(path[: len(other)] == other for other in taken):
            if ignore_unknown:
                continue
            raise _unknown(name)
        if path in seen and not path[-1].is_repeated:
            raise invalid("the parameter stands twice", field=json_path(path))
        seen.add(path)
        assign(message, path, text)


def _unknown(name: str) -> Refused:
    return invalid("no such query parameter", field=name[:200])
