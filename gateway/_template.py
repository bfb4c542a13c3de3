"""Path templates of google.api.http.

The grammar, as https://github.com/googleapis/googleapis/blob/master/google/api/http.proto has it:

    Template = "/" Segments [ Verb ] ;
    Segments = Segment { "/" Segment } ;
    Segment  = "*" | "**" | LITERAL | Variable ;
    Variable = "{" FieldPath [ "=" Segments ] "}" ;
    FieldPath = IDENT { "." IDENT } ;
    Verb     = ":" LITERAL ;

`**` matches the rest of the path and stands last.
"""

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias
from urllib.parse import quote, unquote


class Wildcard(Enum):
    """A segment that is not literal."""

    ONE = "*"
    REST = "**"


Segment: TypeAlias = str | Wildcard
"""A literal segment, percent-decoded, or a wildcard."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A field that takes the segments from `start` to before `end`; `multi` where they may be other than one."""

    path: str
    start: int
    end: int
    multi: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template; `verb` is empty where it has none."""

    segments: tuple[Segment, ...]
    variables: tuple[Variable, ...] = ()
    verb: str = ""

    @property
    def shape(self) -> str:
        """What the template matches, without the names of its variables."""
        segments = (s.value if isinstance(s, Wildcard) else quote(s, safe="") for s in self.segments)
        return "/" + "/".join(segments) + (f":{self.verb}" if self.verb else "")


class BadTemplate(ValueError):
    """A path template that is not of the grammar."""


_IDENT: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN: Final = re.compile(
    rf"""
    (?P<open>\{{(?P<path>{_IDENT}(?:\.{_IDENT})*)(?P<given>=)?)   # a variable begins
    | (?P<close>\}})
    | (?P<rest>\*\*)
    | (?P<one>\*)
    | (?P<slash>/)
    | (?P<colon>:)
    | (?P<literal>(?:[A-Za-z0-9\-._~!$&'()+,;=@]|%[0-9A-Fa-f]{{2}})+)
    """,
    re.VERBOSE,
)


def parse_template(text: str) -> Template:
    """Parse a template.

    Raises:
        BadTemplate: with what is wrong and at which character, from 0.
    """
    if not text.startswith("/"):
        raise BadTemplate(f"the path template {text!r} does not begin with '/'")
    return _Parser(text).template()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 1
        self.segments: list[Segment] = []
        self.variables: list[Variable] = []

    def template(self) -> Template:
        self.take_segments(within_variable=False)
        verb = ""
        if self.next("colon"):
            literal = self.next("literal")
            if not literal:
                raise self.error("a verb is missing")
            verb = unquote(literal)
        if self.at != len(self.text):
            raise self.error("unexpected text")
        paths = [variable.path for variable in self.variables]
        if len(set(paths)) != len(paths):
            raise self.error("a variable stands twice")
        return Template(tuple(self.segments), tuple(self.variables), verb)

    def take_segments(self, *, within_variable: bool) -> None:
        while True:
            self.take_segment(within_variable=within_variable)
            if self.peek("slash") is None:
                return
            if self.segments[-1] is Wildcard.REST:
                raise self.error("'**' must be the last segment")
            self.next("slash")

    def take_segment(self, *, within_variable: bool) -> None:
        if self.next("rest"):
            self.segments.append(Wildcard.REST)
        elif self.next("one"):
            self.segments.append(Wildcard.ONE)
        elif literal := self.next("literal"):
            self.segments.append(unquote(literal))
        elif self.peek("open") is not None and not within_variable:
            self.take_variable()
        else:
            raise self.error("a segment is missing")

    def take_variable(self) -> None:
        match = _TOKEN.match(self.text, self.at)
        assert match is not None  # noqa: S101 - the caller has seen the token
        self.at = match.end()
        variable = Variable(match["path"], len(self.segments), len(self.segments) + 1)
        if match["given"]:
            self.take_segments(within_variable=True)
            end = len(self.segments)
            multi = end - variable.start > 1 or self.segments[-1] is Wildcard.REST
            variable = replace(variable, end=end, multi=multi)
        else:
            self.segments.append(Wildcard.ONE)
        if not self.next("close"):
            raise self.error("'}' is missing")
        self.variables.append(variable)

    def peek(self, kind: str) -> str | None:
        match = _TOKEN.match(self.text, self.at)
        return match[kind] if match else None

    def next(self, kind: str) -> str | None:
        token = self.peek(kind)
        if token is not None:
            self.at += len(token)
        return token

    def error(self, what: str) -> BadTemplate:
        return BadTemplate(f"the path template {self.text!r} is wrong at character {self.at}: {what}")
