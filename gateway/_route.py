"""The `google.api.http` rules of a method: which requests run it, and how its message is read from them.

What https://github.com/googleapis/googleapis/blob/master/google/api/http.proto leaves open is decided so: a variable
may also be a message whose JSON is a string or a scalar (a Timestamp, a wrapper); names may have either spelling; what
the path gives wins over the same field in a body `*`; a rule for GET or HEAD cannot have a body, one for DELETE can.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, cast

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from gateway._binding import FieldPath, assign, assign_query, json_path, resolve
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

    `body` is what of the message the request's body holds: `*` all of it, one field, or None of it. `variables` are
    the fields that the captures of the path go to, in their order; `taken` those that no query parameter may name.
    `raw_request` and `raw_response` say that body and reply are the bytes of a google.api.HttpBody, not JSON.
    """

    method: Method
    body: Body = WHOLE
    response_body: FieldDescriptor | None = None
    variables: tuple[FieldPath, ...] = ()
    taken: frozenset[FieldPath] = frozenset()
    raw_request: bool = False
    raw_response: bool = False

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
        self.read_target(message, captures, query, ignore_unknown=codec.ignore_unknown)

    def read_raw(self, message: Message, body: bytes, content_type: str) -> None:
        """Put a body and its type into the google.api.HttpBody that the message is or has."""
        holder: Any = message if self.body == WHOLE else getattr(message, cast("FieldDescriptor", self.body).name)
        holder.content_type = content_type
        holder.data = body
        holder.SetInParent()

    def read_target(self, message: Message, captures: tuple[str, ...], query: bytes, *, ignore_unknown: bool) -> None:
        """Fill a message from path and query alone.

        Raises:
            Refused: as `read`.
        """
        if query:
            assign_query(message, query, self._taken(message), ignore_unknown=ignore_unknown)
        if captures:
            self.assign_captures(message, captures)

    def assign_captures(self, message: Message, captures: tuple[str, ...]) -> None:
        """Set the fields that the path names.

        Raises:
            Refused: as `read`.
        """
        for path, text in zip(self.variables, captures, strict=True):
            assign(message, path, text)

    def _taken(self, message: Message) -> frozenset[FieldPath]:
        # With the whole message in the body no parameter has a field left (google/api/http.proto).
        return self.taken if self.body != WHOLE else _every_field(type_of(message))


@lru_cache(maxsize=1024)
def _every_field(descriptor: Descriptor) -> frozenset[FieldPath]:
    return frozenset((each,) for each in descriptor.fields)


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
    if _TOKEN.fullmatch(http_method) is None:
        raise BadTemplate(f"the custom rule's kind {http_method!r} is no HTTP method")
    variables = tuple(_variable(descriptor, variable.path) for variable in template.variables)
    body: Body = WHOLE if rule.body == WHOLE else _top_level(descriptor.input_type, rule.body, "body")
    response_body = _top_level(descriptor.output_type, rule.response_body, "response_body")
    _check_apart(variables, body)
    if body is not None and http_method in _WITHOUT_BODY:
        raise BadTemplate(f"a rule for {http_method} cannot have a body")
    taken = set(variables)
    if isinstance(body, FieldDescriptor):
        taken.add((body,))
    held = body.message_type if isinstance(body, FieldDescriptor) else descriptor.input_type
    raw_request = body is not None and _is_http_body(body, held)
    raw_response = _is_http_body(
        response_body, descriptor.output_type if response_body is None else response_body.message_type
    )
    route = Route(method, body, response_body, variables, frozenset(taken), raw_request, raw_response)
    return http_method, template, route


# RFC 9110, 5.6.2: a method is a token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD"})
_HTTP_BODY: Final = "google.api.HttpBody"


def _is_http_body(field: Body, held: Descriptor | None) -> bool:
    repeated = isinstance(field, FieldDescriptor) and field.is_repeated
    return held is not None and held.full_name == _HTTP_BODY and not repeated


def _check_apart(variables: tuple[FieldPath, ...], body: Body) -> None:
    """Check that no field would be filled from two places."""
    for at, path in enumerate(variables):
        name = ".".join(each.name for each in path)
        if any(path == other[: len(path)] or other == path[: len(other)] for other in variables[:at]):
            raise BadTemplate(f"the variable {name!r} stands twice")
        if path == (body,):
            raise BadTemplate(f"the field {name!r} is both a variable and the body")


def _variable(descriptor: MethodDescriptor, dotted: str) -> FieldPath:
    message = descriptor.input_type.full_name
    path = resolve(descriptor.input_type, dotted)
    if path is None or path[-1].is_repeated:
        raise BadTemplate(f"the variable {dotted!r} is not a single field of {message} with a scalar type")
    if dotted not in (".".join(each.name for each in path), json_path(path)):
        raise BadTemplate(f"the variable {dotted!r} mixes two spellings")
    return path


def _top_level(message: Descriptor, name: str, what: str) -> FieldDescriptor | None:
    if not name:
        return None
    field = message.fields_by_name.get(name)
    if field is None:
        raise BadTemplate(f"{what} names {name!r}, which is no field of {message.full_name}")
    return field
