"""From an HTTP method and a path to what was registered for them.

A template with a verb that fits goes before all without; then a literal segment goes before `*`, `*` before `**`,
decided at the earliest segment where two templates differ; then a target of the request's own method before one for
any. Two templates of the same method and shape are a clash.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from urllib.parse import quote, unquote, unquote_to_bytes

from gateway._status import Refused, invalid
from gateway._template import Template, Wildcard

Target = TypeVar("Target")

ANY_METHOD: Final = "*"


class Clash(ValueError):
    """Two rules match the same requests; `first` and `second` are what was registered."""

    def __init__(self, shape: str, first: object, second: object) -> None:
        super().__init__(f"{first} and {second} both serve {shape}")
        self.first = first
        self.second = second


@dataclass(slots=True)
class _Node(Generic[Target]):
    literals: "dict[str, _Node[Target]]" = field(default_factory=dict)
    one: "_Node[Target] | None" = None
    rest: "_Node[Target] | None" = None
    ends: "dict[str, dict[str, _Entry[Target]]]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Target]):
    template: Template
    target: Target


@dataclass(frozen=True, slots=True)
class Match(Generic[Target]):
    """What a request found, and the text that each variable of its template took, percent-decoded.

    `refusal` says that a capture is not percent-encoded UTF-8; the call is refused with it, and not before it is one.
    """

    target: Target
    captures: tuple[str, ...] = ()
    refusal: Refused | None = None


class Router(Generic[Target]):
    """A tree of path segments; paths without a variable are found in one look-up."""

    def __init__(self) -> None:
        self._root: _Node[Target] = _Node()
        self._literal: dict[str, dict[str, Match[Target]]] = {}

    def add(self, method: str, template: Template, target: Target) -> None:
        """Register a target; the method `*` stands for all that have no target of their own.

        Raises:
            Clash: the method and the template's shape are taken.
        """
        node = self._root
        for segment in template.segments:
            if segment is Wildcard.REST:
                node.rest = node = node.rest or _Node()
            elif segment is Wildcard.ONE:
                node.one = node = node.one or _Node()
            else:
                node = node.literals.setdefault(str(segment), _Node())
        methods = node.ends.setdefault(template.verb, {})
        if method in methods:
            raise Clash(f"{method} {template.shape}", methods[method].target, target)
        methods[method] = _Entry(template, target)
        if not any(isinstance(segment, Wildcard) for segment in template.segments):
            path = "/" + "/".join(map(str, template.segments)) + (f":{template.verb}" if template.verb else "")
            # Variables of literal segments alone have one value each.
            segments = [quote(str(segment), safe="") for segment in template.segments]
            if template.verb:
                segments[-1] += f":{template.verb}"
            self._literal.setdefault(path, {})[method] = Match(target, _captures(template, segments))

    def find(self, method: str, path: str, raw_path: bytes) -> Match[Target] | None:
        """Give the target of a request: `path` is percent-decoded, `raw_path` is not.

        HEAD finds the target of GET where it has none of its own.
        """
        if b"%" not in raw_path:
            methods = self._literal.get(path)
            if methods is not None and (match := _of_method(methods, method)) is not None:
                return match
        segments = raw_path.decode("latin-1")[1:].split("/")
        for entries in self._ends(segments):
            entry = _of_method(entries, method)
            if entry is not None:
                try:
                    return Match(entry.target, _captures(entry.template, segments))
                except Refused as refusal:
                    return Match(entry.target, (), refusal)
        return None

    def allowed(self, raw_path: bytes) -> frozenset[str]:
        """Give the methods that the path has targets for; none where it has no target at all."""
        segments = raw_path.decode("latin-1")[1:].split("/")
        return frozenset(method for entries in self._ends(segments) for method in entries)

    def _ends(self, segments: list[str]) -> Iterator[dict[str, _Entry[Target]]]:
        decoded = [unquote(segment) if "%" in segment else segment for segment in segments]
        stem, colon, verb = segments[-1].rpartition(":")
        if colon and stem and verb:
            yield from _walk(self._root, [*decoded[:-1], unquote(stem)], 0, unquote(verb))
        yield from _walk(self._root, decoded, 0, "")


def _walk(node: _Node[Target], segments: list[str], at: int, verb: str) -> Iterator[dict[str, _Entry[Target]]]:
    if at == len(segments):
        if verb in node.ends:
            yield node.ends[verb]
        if node.rest is not None and verb in node.rest.ends:
            yield node.rest.ends[verb]
        return
    segment = segments[at]
    child = node.literals.get(segment)
    if child is not None:
        yield from _walk(child, segments, at + 1, verb)
    if node.one is not None and segment:
        yield from _walk(node.one, segments, at + 1, verb)
    if node.rest is not None and verb in node.rest.ends:
        yield node.rest.ends[verb]


Value = TypeVar("Value")


def _of_method(methods: dict[str, Value], method: str) -> Value | None:
    found = methods.get(method)
    if found is None and method == "HEAD":
        found = methods.get("GET")
    return found if found is not None else methods.get(ANY_METHOD)


_SLASH: Final = re.compile("(%2[Ff])")


def _captures(template: Template, segments: list[str]) -> tuple[str, ...]:
    if not template.variables:
        return ()
    if template.verb:
        segments = [*segments[:-1], segments[-1].rpartition(":")[0]]
    captures = []
    for variable in template.variables:
        end = len(segments) if template.segments[variable.end - 1] is Wildcard.REST else variable.end
        captures.append(_decoded("/".join(segments[variable.start : end]), keep_slashes=variable.multi))
    return tuple(captures)


def _decoded(text: str, *, keep_slashes: bool) -> str:
    """Undo percent-encoding; a capture of several segments keeps an encoded slash, as google/api/http.proto says."""
    if "%" not in text and text.isascii():
        return text
    try:
        if keep_slashes:
            parts = _SLASH.split(text)
            return "".join(part if _SLASH.fullmatch(part) else _utf8(part) for part in parts)
        return _utf8(text)
    except UnicodeDecodeError:
        raise invalid("the path is not percent-encoded UTF-8") from None


def _utf8(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8")
