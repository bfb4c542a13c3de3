"""Header blocks of HTTP/2: what they hold (HPACK, RFC 7541), and what a request may say in them (RFC 9113, 8).

The decoder is hpack's. A client that calls the same method again sends the same block again, once its encoder has put
what it can into the table; such a block is given from memory. `HeaderReader` says when that is right.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from gateway._types import Address, Header, Headers
from gateway.hosts.http2_frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionBroken

# What is kept of a connection's blocks.
_REMEMBERED: Final = 32
_REMEMBERED_BLOCK_BYTES: Final = 4 * 1024
_REMEMBERED_LIST_BYTES: Final = 8 * 1024
# A list so much longer than the limit is still read, so that it can be refused by an answer; one that is longer yet
# ends the connection, for the table is lost with the rest of it.
_READ_BEYOND: Final = 64 * 1024
# What a field counts beside its bytes (RFC 9113, 10.5.1).
_FIELD_BYTES: Final = 32

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_UNWANTED_IN_VALUE: Final = re.compile(rb"[\0\r\n]")
_TARGET: Final = re.compile(rb"/[!\"$-~]*")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Whoever reads these otherwise would take another host for the one that is meant.
_AUTHORITY: Final = re.compile(rb"[^\x00-\x20\x7f-\xff/?#@\\]+")
_BLANK: Final = b" \t"

_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_ONCE: Final = frozenset({b"host", b"te", b"content-length", b"expect"})
# They speak of the connection, and HTTP/2 has frames for that (8.2.2).
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)


class KnownAnswer(NamedTuple):
    """A reply as it is written, but for the headers of one call, which `again` gives while it may be given again."""

    block: bytes
    body: bytes
    trailers: bytes | None
    again: Callable[[Address | None], Headers | None]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What the header block of a request says; of one that is malformed, only that."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: Headers
    # As `content-length` has it.
    length: int | None
    # By the count of SETTINGS_MAX_HEADER_LIST_SIZE.
    list_bytes: int
    awaits_continue: bool
    malformed: bool = False
    # What requests with this head were answered at once, by their bodies; for who answers them.
    answers: dict[bytes, KnownAnswer] = field(default_factory=dict)


_MALFORMED: Final = RequestHead("", "", b"", b"", [], None, 0, awaits_continue=False, malformed=True)


class HeaderReader:
    """Reads the header blocks of one connection, which have a table in common.

    What a block means depends on the table, and a block may change the table. So a block is remembered only where
    reading it has left the table as it was, and all is forgotten as soon as reading one has not: what is remembered was
    read with the very table that stands now. Whether the table has changed shows in its size limit, the number of its
    entries and the identity of the newest: an entry is added at the front, as an object of its own, and goes at the
    back, which without one added makes them fewer. A wrong hit would give one caller the credentials of another.

    Args:
        max_list_bytes: of the lists that are served; what is somewhat longer is read nevertheless.
    """

    __slots__ = ("_decoder", "_heads")

    def __init__(self, max_list_bytes: int) -> None:
        self._decoder = Decoder(max_list_bytes + _READ_BEYOND)
        self._heads: dict[bytes, RequestHead] = {}

    def request(self, block: bytes) -> RequestHead:
        """Read the headers of a request.

        Raises:
            ConnectionBroken: the block cannot be read, and no later one.
        """
        head = self._heads.get(block)
        if head is not None:
            return head
        fields, changed = self._read(block)
        head = _read_request(fields)
        if not changed and len(block) <= _REMEMBERED_BLOCK_BYTES and head.list_bytes <= _REMEMBERED_LIST_BYTES:
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            self._heads[block] = head
        return head

    def fields(self, block: bytes) -> Headers:
        """Read any header block.

        Raises:
            ConnectionBroken: the block cannot be read, and no later one.
        """
        return self._read(block)[0]

    def _read(self, block: bytes) -> tuple[Headers, bool]:
        """Give the fields of a block, and whether it has changed the table."""
        table = self._decoder.header_table
        entries = table.dynamic_entries
        limit, count, newest = table.maxsize, len(entries), entries[0] if entries else None
        try:
            fields: Headers = list(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, "the headers are too large") from None
        except (HPACKError, IndexError) as error:
            raise ConnectionBroken(COMPRESSION_ERROR, f"the header block cannot be read: {error}") from None
        changed = table.maxsize != limit or len(entries) != count or (entries[0] if entries else None) is not newest
        if changed:
            self._heads.clear()
        return fields, changed


def are_trailers(fields: Headers) -> bool:
    """Say whether fields may follow a body."""
    return all(_NAME.fullmatch(name) and not _UNWANTED_IN_VALUE.search(value) for name, value in fields)


def _read_request(fields: Headers) -> RequestHead:
    """Check the headers of a request, RFC 9113, 8.2 and 8.3."""
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    size = 0
    for name, value in fields:
        size += len(name) + len(value) + _FIELD_BYTES
        if _UNWANTED_IN_VALUE.search(value):
            return _MALFORMED
        if name[:1] == b":":
            if headers or name not in _PSEUDO or name in pseudo:
                return _MALFORMED
            pseudo[name] = value
        elif _NAME.fullmatch(name) and name not in _OF_CONNECTIONS:
            # Clients of gRPC may send blanks around a value, as HTTP/1.1 allows.
            headers.append((name, value.strip(_BLANK)))
        else:
            return _MALFORMED
    single = _single(headers)
    if single is None or not _is_in_order(pseudo, single):
        return _MALFORMED
    target, length = pseudo[b":path"], single.get(b"content-length")
    raw_path, _, query = target.partition(b"?")
    path = raw_path.decode("ascii")
    return RequestHead(
        pseudo[b":method"].decode("ascii"),
        unquote(path) if "%" in path else path,
        raw_path,
        query,
        _as_http1_has_them(headers, pseudo.get(b":authority", single.get(b"host"))),
        None if length is None else int(length),
        size,
        awaits_continue=single.get(b"expect", b"").lower() == b"100-continue",
    )


def _is_in_order(pseudo: dict[bytes, bytes], single: dict[bytes, bytes]) -> bool:
    """Say whether a request may have these pseudo-headers, and these of the headers that are there once."""
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not (_METHOD.fullmatch(method) and method != b"CONNECT" and pseudo.get(b":scheme")):
        return False
    if not (_TARGET.fullmatch(target) or (target == b"*" and method == b"OPTIONS")):
        return False
    host = single.get(b"host")
    authority = pseudo.get(b":authority", host)
    if (host is not None and host != authority) or (authority and not _AUTHORITY.fullmatch(authority)):
        return False
    length = single.get(b"content-length", b"0")
    return length.isdigit() and len(length) <= _DIGITS and single.get(b"te", b"trailers").lower() == b"trailers"


def _single(headers: Headers) -> dict[bytes, bytes] | None:
    """Give those of the headers that a request has once; None where it has one of them twice."""
    single: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ONCE:
            if name in single:
                return None
            single[name] = value
    return single


def _as_http1_has_them(headers: Headers, authority: bytes | None) -> Headers:
    """Put the authority in as `host`, and together what HTTP/2 lets a client send in pieces (8.2.3)."""
    cookies = [value for name, value in headers if name == b"cookie"]
    whole = headers
    if authority is not None:
        whole = [(b"host", authority), *(header for header in whole if header[0] != b"host")]
    if len(cookies) > 1:
        whole = [*(header for header in whole if header[0] != b"cookie"), (b"cookie", b"; ".join(cookies))]
    return whole


# No body is longer.
_DIGITS: Final = 18


# What is written. No block adds to the table of the peer: what is remembered is the bytes of each field, and no reply
# waits for the one before it.

# https://www.rfc-editor.org/rfc/rfc7541#appendix-A
_STATUSES: Final = {200: b"\x88", 204: b"\x89", 206: b"\x8a", 304: b"\x8b", 400: b"\x8c", 404: b"\x8d", 500: b"\x8e"}
_STATUS_BY_NAME: Final = b"\x08\x03%d"
CONTINUE: Final = _STATUS_BY_NAME % 100

_fields: Final[dict[Header, bytes]] = {}
_MAX_FIELDS: Final = 1000
_LONGEST_REMEMBERED: Final = 256
_NONE: Final = b""
_REPLY_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def status_field(status: int) -> bytes:
    """Write the field that begins the header block of a reply.

    Raises:
        KeyError: a status that no final reply has.
    """
    known = _STATUSES.get(status)
    if known is None:
        if not 200 <= status < 600:  # noqa: PLR2004 - those of final replies
            raise KeyError(status)
        known = _STATUS_BY_NAME % status
    return known


def write_fields(headers: Iterable[Header]) -> bytes:
    """Write the fields of a reply, or of its trailers.

    Raises:
        ValueError: a name that is none, or a value that holds a line break or a NUL.
    """
    return b"".join([_fields.get(header) or _learn(header) for header in map(tuple, headers)])  # type: ignore[arg-type]


def _learn(header: Header) -> bytes:
    name, value = header
    if _REPLY_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header")
    # Whoever gets a line break into a header forges headers, where a proxy writes them to HTTP/1.1.
    if _UNWANTED_IN_VALUE.search(value):
        raise ValueError("a header's value has a line break or a NUL")
    lower = name.lower()
    written = _NONE if lower in _OF_CONNECTIONS else b"\0" + _string(lower) + _string(value)
    if len(written) <= _LONGEST_REMEMBERED:
        if len(_fields) >= _MAX_FIELDS:
            # Most are of one reply alone, as a request's id is.
            _fields.clear()
        _fields[header] = written
    return written


def _string(value: bytes) -> bytes:
    """Write a string as it is (RFC 7541, 5.2)."""
    size = len(value)
    if size < _PREFIX:
        return bytes((size,)) + value
    rest, written = size - _PREFIX, bytearray((_PREFIX,))
    while rest >= _MORE:
        written.append(rest % _MORE | _MORE)
        rest //= _MORE
    written.append(rest)
    return bytes(written) + value


# The largest number of a prefix of seven bits, and what says that another byte follows (RFC 7541, 5.1).
_PREFIX: Final = 0x7F
_MORE: Final = 0x80
