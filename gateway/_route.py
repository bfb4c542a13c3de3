"""The `google.api.http` rules of a method: which requests run it, and how its message is read from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from gateway._binding import FieldPath, assign, assign_query, is_leaf, json_path, resolve
from gateway._codec import JSONCodec
from gateway._json import type_of
from gateway._method import Method
from gateway._template import BadTemplate, Template, parse_template

WHOLE: Final = "*"
Body: TypeAlias = Literal["*"] | FieldDescriptor | None


# Typed as a plain field by its stubs.
_HTTP: Final = cast("Any", annotations_pb2).http


class BadRule(ValueError):
    """A `google.api.http` rule that cannot be served; the message names its RPC."""


@dataclass(frozen=True, slots=True)
class Route:
    """One way to call a method.

    `body` is what of the message a JSON body holds: `*` all of it, one field, or None of it. `variables` are the
    fields that the captures of the path go to, in their order.
    """

    method: Method
    body: Body = WHOLE
    response_body: FieldDescriptor | None = None
    variables: tuple[FieldPath, ...] = ()
    taken: frozenset[FieldPath] = field(default=frozenset())

    def __str__(self) -> str:
        return str(self.method)

    def read(self, message: Message, body: bytes, captures: tuple[str, ...], query: bytes, codec: JSONCodec) -> None:
        """Fill a message from body, query and path of a request; the path wins over the body.

        Raises:
            Refused: INVALID_ARGUMENT, naming the first field that does not fit.
        """
        if self.body == WHOLE:
            codec.decode(body, message)
        elif self.body is not None:
            codec.decode_field(body, message, self.body)
        if query:
            self._assign_query(message, query, ignore_unknown=codec.ignore_unknown)
        self.assign_captures(message, captures)

    def read_target(self, message: Message, captures: tuple[str, ...], query: bytes, *, ignore_unknown: bool) -> None:
        """Fill a message from path and query alone.

        Raises:
            Refused: as `read`.
        """
        if query:
            self._assign_query(message, query, ignore_unknown=ignore_unknown)
        self.assign_captures(message, captures)

    def assign_captures(self, message: Message, captures: tuple[str, ...]) -> None:
        """Set the fields that the path names.

        Raises:
            Refused: as `read`.
        """
        for path, text in zip(self.variables, captures, strict=True):
            assign(message, path, text)

    def _assign_query(self, message: Message, query: bytes, *, ignore_unknown: bool) -> None:
        taken = self.taken
        if self.body == WHOLE:
            # With the whole message in the body no parameter has a field left (google/api/http.proto).
            taken = frozenset((each,) for each in type_of(message).fields)
        assign_query(message, query, taken, ignore_unknown=ignore_unknown)


def routes_of(method: Method, descriptor: MethodDescriptor) -> Iterator[tuple[str, Template, Route]]:
    """Give HTTP method, template and route of each rule that a method's options hold, additional bindings included.

    Raises:
        BadRule: a rule is not of the grammar, or names a field that is not there or cannot be where it stands.
    """
    options = descriptor.GetOptions()
    if not options.HasExtension(_HTTP):
        return
    rule: http_pb2.HttpRule = options.Extensions[_HTTP]
    for each in (rule, *rule.additional_bindings):
        if each is not rule and each.additional_bindings:
            raise BadRule(f"{method}: an additional binding has additional bindings of its own")
        try:
            yield _route(method, descriptor, each)
        except BadTemplate as error:
            raise BadRule(f"{method}: {error}") from None


def _route(method: Method, descriptor: MethodDescriptor, rule: http_pb2.HttpRule) -> tuple[str, Template, Route]:
    kind = rule.WhichOneof("pattern")
    if kind is None:
        raise BadTemplate("the google.api.http rule has no path")
    http_method = rule.custom.kind if kind == "custom" else kind.upper()
    template = parse_template(rule.custom.path if kind == "custom" else getattr(rule, kind))
    if not http_method:
        raise BadTemplate("the custom rule has no HTTP method")
    variables = tuple(_variable(descriptor, variable.path) for variable in template.variables)
    body: Body = WHOLE if rule.body == WHOLE else _top_level(descriptor.input_type.fields_by_name, rule.body, "body")
    response_body = _top_level(descriptor.output_type.fields_by_name, rule.response_body, "response_body")
    taken = set(variables)
    if isinstance(body, FieldDescriptor):
        taken.add((body,))
    return http_method, template, Route(method, body, response_body, variables, frozenset(taken))


def _variable(descriptor: MethodDescriptor, dotted: str) -> FieldPath:
    path = resolve(descriptor.input_type, dotted)
    if path is None or path[-1].is_repeated or not is_leaf(path[-1]):
        raise BadTemplate(
            f"the variable {dotted!r} is not a single field of {descriptor.input_type.full_name} with a scalar type"
        )
    if dotted not in (".".join(each.name for each in path), json_path(path)):
        raise BadTemplate(f"the variable {dotted!r} mixes two spellings")
    return path


def _top_level(fields: Mapping[str, FieldDescriptor], name: str, what: str) -> FieldDescriptor | None:
    if not name:
        return None
    if name not in fields:
        raise BadTemplate(f"{what} names {name!r}, which is no field of the message")
    return fields[name]
