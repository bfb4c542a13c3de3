"""connectrpc on pyvoy, which has the trailers that gRPC needs: by pyvoy's own command, with uvloop as its default."""

import os
import sys
from pathlib import Path

from tests.bench.contenders.python.reply import hand_on

if __name__ == "__main__":
    pyvoy = str(Path(sys.executable).parent / "pyvoy")
    os.execv(pyvoy, [pyvoy, f"{__package__}.handed_on:application", "--port", str(hand_on())])
