"""HTTP headers to gRPC metadata and back.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Custom-Metadata".
"""

import binascii
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from gateway._status import Refused, invalid
from gateway._types import Header, Headers, Metadata

_KEY: Final = re.compile(r"[0-9a-z_.\-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")

# They belong to one connection, not to the call (RFC 9110, 7.6.1), or HTTP frames the body by them.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# The Connect protocol's own (https://connectrpc.com/docs/protocol/); a servicer sees none of them.
_CONNECT: Final = frozenset(
    {"connect-accept-encoding", "connect-content-encoding", "connect-protocol-version", "connect-timeout-ms"}
)

# What a reply states about itself; metadata of these names would contradict it.
_OWNED_BY_REPLY: Final = _HOP_BY_HOP | _CONNECT | {"cache-control", "date", "server", "status", "vary"}
_OWNED_PREFIXES: Final = ("access-control-", "content-", "grpc-")

_CACHED_NAME_LENGTH: Final = 64


def read_metadata(headers: Iterable[Header]) -> tuple[Metadata, Refused | None]:
    """Give the invocation metadata of a request, and what is wrong with its headers if anything is.

    The Host goes in as `:authority`; hop-by-hop, `content-*` and `grpc-*` headers stay out. Values are read as
    latin-1, so that no byte a peer may send is lost or fails; values of `-bin` keys are base64, padded or not,
    several joined by commas. What is wrong is returned and not raised: the call still goes through the interceptors
    before it is refused.
    """
    metadata: list[tuple[str, str | bytes]] = []
    problem: Refused | None = None
    authority: bytes | None = None
    for name, value in headers:
        key = _PLAIN.get(name)
        if key is not None:
            metadata.append((key, value.decode("latin-1")))
            continue
        key = _key(name) if len(name) <= _CACHED_NAME_LENGTH else _key.__wrapped__(name)
        if not key:
            continue
        if key == ":authority":
            if authority is not None and authority != value:
                problem = invalid("the request has more than one Host")
                continue
            authority = value
        if key[-4:] != "-bin":
            metadata.append((key, value.decode("latin-1")))
            continue
        try:
            metadata.extend((key, _decode_binary(part)) for part in value.split(b","))
        except binascii.Error:
            problem = invalid(f"the metadata {key} is not base64")
    return tuple(metadata), problem


# What nearly every request has, as hosts give it, by the shortest way: a quarter of the time of `_key`.
_PLAIN: Final = {
    name.encode(): name
    for name in (
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "forwarded",
        "origin",
        "referer",
        "traceparent",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-grpc-web",
        "x-request-id",
        "x-user-agent",
        "x-zitadel-instance-host",
    )
}


@lru_cache(maxsize=1024)
def _key(name: bytes) -> str:
    key = name.decode("latin-1").lower()
    if key == "host":
        return ":authority"
    if key in _HOP_BY_HOP or key in _CONNECT or key.startswith(("content-", "grpc-", ":")):
        return ""
    return key


def _decode_binary(value: bytes) -> bytes:
    value = value.strip(b" \t")
    return binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)


def encode_binary(value: bytes) -> bytes:
    """Give base64 without padding, as gRPC sends values of `-bin` keys."""
    return binascii.b2a_base64(value, newline=False).rstrip(b"=")


def checked_metadata(metadata: Iterable[Any] | None) -> Metadata:
    """Copy what a servicer or an interceptor sends, keys in lower case.

    Raises:
        ValueError: a key or value that HTTP cannot carry; line breaks, which would forge headers, are among them.
    """
    if not metadata:
        return ()
    result: list[tuple[str, str | bytes]] = []
    for raw_key, raw_value in metadata:
        key = _checked_key(raw_key)
        if key.endswith("-bin"):
            result.append((key, raw_value.encode() if isinstance(raw_value, str) else bytes(raw_value)))
            continue
        value = raw_value.decode("ascii") if isinstance(raw_value, bytes) else raw_value
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of metadata {key!r} is not printable ASCII")
        result.append((key, value))
    return tuple(result)


@lru_cache(maxsize=1024)
def _checked_key(raw: str | bytes) -> str:
    key = (raw.decode("ascii") if isinstance(raw, bytes) else raw).lower()
    if _KEY.fullmatch(key) is None:
        raise ValueError(f"metadata key {key!r} has characters other than a-z, 0-9, '_', '-' and '.'")
    return key


def wire_pairs(metadata: Metadata) -> Headers:
    """Encode metadata that `checked_metadata` gave, as it stands in headers and trailers."""
    return [
        (key.encode("ascii"), encode_binary(value) if isinstance(value, bytes) else value.encode("ascii"))
        for key, value in metadata
    ]


def reply_headers(metadata: Metadata, prefix: str = "") -> Headers:
    """Encode metadata as headers of a reply; names that HTTP or the protocol itself owns there are left out."""
    headers: Headers = []
    for key, value in metadata:
        name = _reply_name(key, prefix)
        if name is not None:
            headers.append((name, encode_binary(value) if isinstance(value, bytes) else value.encode("ascii")))
    return headers


@lru_cache(maxsize=1024)
def _reply_name(key: str, prefix: str) -> bytes | None:
    owned = key in _OWNED_BY_REPLY or key.startswith(_OWNED_PREFIXES)
    return None if owned else (prefix + key).encode("ascii")
