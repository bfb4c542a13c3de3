"""Kills a process while it writes to a file: as soon as the file has changed, once a time has passed.

    python killer.py PROCESS FILE SECONDS

A process of its own, because among a test's threads a look at the file would come too late.
"""

import os
import signal
import sys
import time
from pathlib import Path

process, file, delay = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
time.sleep(delay)
ends = time.monotonic() + 30
before = file.stat().st_mtime_ns
while file.stat().st_mtime_ns == before and time.monotonic() < ends:
    pass
os.kill(process, signal.SIGKILL)
