"""How gRPC and gRPC-Web write the end of a call: status, message, trailing metadata.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Responses".
"""

from typing import Final
from urllib.parse import quote

import grpc

from gateway._metadata import wire_pairs
from gateway._protocol import End
from gateway._status import NUMBER
from gateway._types import Header, Headers

_SUCCESS: Final[Header] = (b"grpc-status", b"0")

# What grpc-message carries as it stands: printable ASCII without the percent sign.
_PLAIN_MESSAGE: Final = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
_STATUS_KEYS: Final = (b"grpc-status", b"grpc-message")


def grpc_trailers(end: End) -> Headers:
    """Give the trailers in their order, keys in lower case, the message percent-encoded UTF-8."""
    if end.code is grpc.StatusCode.OK and not end.details and not end.trailing:
        return [_SUCCESS]
    trailers = [(b"grpc-status", b"%d" % NUMBER[end.code])]
    if end.details:
        message = quote(end.details, safe=_PLAIN_MESSAGE, errors="replace")
        trailers.append((b"grpc-message", message.encode("ascii")))
    trailers += [pair for pair in wire_pairs(end.trailing) if pair[0] not in _STATUS_KEYS]
    return trailers
