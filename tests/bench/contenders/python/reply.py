"""What every contender answers: the reply that ours gave, handed over as a file so that all send the same message."""

import os
import sys
from pathlib import Path
from typing import Final

from zitadel import admin_pb2

_IN_ENVIRONMENT: Final = "BENCH_REPLY"


def arguments() -> tuple[int, admin_pb2.GetMyInstanceResponse]:
    """Return the port to listen on and the reply, from the command line `PORT REPLY`."""
    port, reply = sys.argv[1:]
    return int(port), admin_pb2.GetMyInstanceResponse.FromString(Path(reply).read_bytes())


def hand_on() -> int:
    """Return the port, and leave the reply to a process that imports its application, see `handed_on`."""
    port, os.environ[_IN_ENVIRONMENT] = sys.argv[1:]
    return int(port)


def handed_on() -> bytes:
    """Return the bytes of the reply in a process that was started by one that called `hand_on`."""
    return Path(os.environ[_IN_ENVIRONMENT]).read_bytes()
