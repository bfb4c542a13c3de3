"""Proto3 JSON, strictly: https://protobuf.dev/programming-guides/json/.

google.protobuf.json_format does the conversion; this adds what it leaves open: RFC 8259 to the letter (no NaN, no byte
order mark, no duplicate keys), no input that ends in another exception than a refusal, and the JSON path of the first
field that does not fit.
"""

import json
from functools import lru_cache
from typing import Any, Final, NoReturn, cast

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway._status import Refused, invalid

# What json and json_format raise on input of a wrong shape, depth or size.
_UNFIT: Final = (
    json_format.ParseError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)

_WELL_KNOWN: Final = "google.protobuf."


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
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
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


def merge_json(value: object, message: Message, *, ignore_unknown: bool, prefix: str = "") -> None:
    """Put a JSON object into a message; `prefix` leads the JSON paths of what is refused.

    Raises:
        Refused: INVALID_ARGUMENT, naming the first field that does not fit.
    """
    try:
        json_format.ParseDict(value, message, ignore_unknown_fields=ignore_unknown)  # type: ignore[arg-type]
    except _UNFIT:
        # json_format's own words are not for the wire: they list types and Python names.
        raise _first_misfit(value, type_of(message), prefix, ignore_unknown=ignore_unknown) or invalid(
            f"the JSON does not fit the message {message.DESCRIPTOR.full_name}"
        ) from None


def to_json(message: Message) -> bytes:
    """Write a message: lowerCamelCase, 64-bit integers as strings, unpopulated fields left out.

    Raises:
        TypeError: an Any of a type that the descriptor pool does not know.
    """
    return dump_json(json_format.MessageToDict(message))


def dump_json(value: object) -> bytes:
    """Write a JSON value, compact, as UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def type_of(message: Message) -> Descriptor:
    """Give the descriptor of a message; its stubs leave open which of two equal classes it has."""
    return cast("Descriptor", message.DESCRIPTOR)


@lru_cache(maxsize=4096)
def fields_by_json(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Give the fields of a message by every name that JSON may call them."""
    fields = {field.name: field for field in descriptor.fields}
    fields.update({field.json_name: field for field in descriptor.fields})
    return fields


def fits(field: FieldDescriptor, value: object) -> bool:
    """Say whether a JSON value is one of this field's."""
    message = message_factory.GetMessageClass(cast("Descriptor", field.containing_type))()
    try:
        json_format.ParseDict({field.json_name: value}, message)
        message.SerializeToString()
    except _UNFIT:
        return False
    return True


def _first_misfit(value: object, descriptor: Descriptor, path: str, *, ignore_unknown: bool) -> Refused | None:
    if not isinstance(value, dict):
        return invalid("must be a JSON object", field=path) if path else invalid("the JSON must be an object")
    fields = fields_by_json(descriptor)
    taken: dict[str, str] = {}
    for key, item in value.items():
        here = f"{path}.{_printable(key)}" if path else _printable(key)
        field = fields.get(key)
        if field is None:
            if ignore_unknown:
                continue
            return invalid("no such field", field=here)
        other = _taken(taken, field, here) if item is not None else None
        if other is not None:
            return invalid(f"excludes {other}: only one of the two may be set", field=here)
        misfit = _misfit(field, item, here, ignore_unknown=ignore_unknown)
        if misfit is not None:
            return misfit
    return None


def _taken(taken: dict[str, str], field: FieldDescriptor, path: str) -> str | None:
    """Give the path of what already stands for this field: its other spelling, or another one of its oneof."""
    slot = field.name if field.containing_oneof is None else f"oneof {field.containing_oneof.name}"
    other = taken.setdefault(slot, path)
    return None if other == path else other


def _misfit(field: FieldDescriptor, item: object, path: str, *, ignore_unknown: bool) -> Refused | None:
    nested = field.message_type
    if nested is None or nested.full_name.startswith(_WELL_KNOWN) or nested.GetOptions().map_entry:
        if field.is_repeated and isinstance(item, list):
            for index, element in enumerate(item):
                if not fits(field, [element]):
                    return invalid(_expectation(field), field=f"{path}[{index}]")
            return None
        return None if fits(field, item) else invalid(_expectation(field), field=path)
    if item is None:
        return None
    if not field.is_repeated:
        return _first_misfit(item, nested, path, ignore_unknown=ignore_unknown)
    if not isinstance(item, list):
        return invalid("must be an array", field=path)
    for index, element in enumerate(item):
        misfit = _first_misfit(element, nested, f"{path}[{index}]", ignore_unknown=ignore_unknown)
        if misfit is not None:
            return misfit
    return None


_EXPECTED: Final = {
    FieldDescriptor.TYPE_BOOL: "must be true or false",
    FieldDescriptor.TYPE_STRING: "must be a string of Unicode characters",
    FieldDescriptor.TYPE_BYTES: "must be a string in base64",
    FieldDescriptor.TYPE_DOUBLE: "must be a number",
    FieldDescriptor.TYPE_FLOAT: "must be a number of single precision",
    FieldDescriptor.TYPE_INT32: "must be a 32-bit integer",
    FieldDescriptor.TYPE_SINT32: "must be a 32-bit integer",
    FieldDescriptor.TYPE_SFIXED32: "must be a 32-bit integer",
    FieldDescriptor.TYPE_UINT32: "must be an unsigned 32-bit integer",
    FieldDescriptor.TYPE_FIXED32: "must be an unsigned 32-bit integer",
    FieldDescriptor.TYPE_INT64: "must be a 64-bit integer",
    FieldDescriptor.TYPE_SINT64: "must be a 64-bit integer",
    FieldDescriptor.TYPE_SFIXED64: "must be a 64-bit integer",
    FieldDescriptor.TYPE_UINT64: "must be an unsigned 64-bit integer",
    FieldDescriptor.TYPE_FIXED64: "must be an unsigned 64-bit integer",
}


def _expectation(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return f"must be a value of {field.enum_type.full_name}"
    if field.message_type is not None:
        kind = "map" if field.message_type.GetOptions().map_entry else field.message_type.full_name
        return f"must be the JSON of a {kind}"
    return _EXPECTED.get(field.type, "does not fit")


def _printable(key: str) -> str:
    """Give a key as text that UTF-8 can carry, cut where it is long: it goes back to whoever sent it."""
    return key[:200].encode("utf-8", "replace").decode()
