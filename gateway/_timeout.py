"""The headers that say how long a caller waits.

`grpc-timeout`: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, at most eight digits and a unit.
`connect-timeout-ms`: https://connectrpc.com/docs/protocol/, at most ten digits.
"""

import re
from typing import Final

from gateway._status import invalid

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_MILLISECONDS: Final = re.compile(rb"[0-9]{1,10}")
_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def parse_timeout(value: bytes) -> float:
    """Give the seconds that a `grpc-timeout` allows.

    Raises:
        Refused: INVALID_ARGUMENT, the header is malformed.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise invalid("grpc-timeout must be one to eight digits and one of H, M, S, m, u, n")
    count, unit = match.groups()
    return int(count) * _SECONDS[unit]


def parse_timeout_ms(value: bytes) -> float:
    """Give the seconds that a `connect-timeout-ms` allows.

    Raises:
        Refused: INVALID_ARGUMENT, the header is malformed.
    """
    if _MILLISECONDS.fullmatch(value) is None:
        raise invalid("connect-timeout-ms must be one to ten digits")
    return int(value) / 1000
