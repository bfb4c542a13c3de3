"""Text to scalars, as proto3 JSON spells them: https://protobuf.dev/programming-guides/json/#field-representation.

Each function raises ValueError for text that is no such value. Python's own conversions take more: underscores,
digits of other scripts, white space, base64 with stray characters.
"""

import binascii
import math
import re
from decimal import Decimal
from typing import Final

from google.protobuf.descriptor import FieldDescriptor

_INT32: Final = (-(2**31), 2**31 - 1)
_INT64: Final = (-(2**63), 2**63 - 1)
_UINT32: Final = (0, 2**32 - 1)
_UINT64: Final = (0, 2**64 - 1)

INTEGER_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT32: _UINT32,
    FieldDescriptor.CPPTYPE_UINT64: _UINT64,
    FieldDescriptor.CPPTYPE_ENUM: _INT32,
}

# Half a step above the largest number of single precision: what is below it rounds down to that number.
_SINGLE_LIMIT: Final = 3.4028235677973366e38
_FLOAT_NAMES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?", re.ASCII)


def bounded(value: float | Decimal, bounds: tuple[int, int]) -> int:
    """Give a number as an integer, where it is one within the bounds."""
    low, high = bounds
    if not low <= value <= high or value != int(value):
        raise ValueError("not an integer of this size")
    return int(value)


def integer_of(text: str, bounds: tuple[int, int]) -> int:
    """Read an integer, with a fraction of zeros or an exponent where there is one."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("not a number")
    return bounded(Decimal(text), bounds)


def float_of(text: str, *, single: bool) -> float:
    """Read a number, or `NaN`, `Infinity`, `-Infinity`; too large a number is none."""
    if text in _FLOAT_NAMES:
        return _FLOAT_NAMES[text]
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("not a number")
    return finite(float(text), single=single)


def finite(value: float, *, single: bool) -> float:
    """Give the number, where its precision can hold it."""
    if math.isinf(value) or math.isnan(value) or (single and abs(value) >= _SINGLE_LIMIT):
        raise ValueError("too large a number")
    return value


def bytes_of(text: str) -> bytes:
    """Read base64 of either alphabet, padded or not."""
    standard = text.replace("-", "+").replace("_", "/").rstrip("=").encode("ascii")
    # binascii's error is a ValueError.
    return binascii.a2b_base64(standard + b"=" * (-len(standard) % 4), strict_mode=True) if standard else b""
