"""The `grpc-timeout` header.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: at most eight digits and a unit.
"""

import re
from typing import Final

from gateway._status import invalid

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
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
