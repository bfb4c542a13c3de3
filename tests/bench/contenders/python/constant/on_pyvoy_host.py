"""Constant bytes on the host that `instanced serve --host pyvoy` has, with its configuration of Envoy."""

import sys
import tempfile
from pathlib import Path

from gateway.hosts.pyvoy import Limits, become_envoy
from tests.bench.contenders.python.reply import hand_on

if __name__ == "__main__":
    become_envoy(
        f"{__package__}.inside_envoy:host",
        ("127.0.0.1", hand_on()),
        Limits(max_header_bytes=32 * 1024, header_timeout=30),
        Path(tempfile.mkdtemp(dir=Path(sys.argv[2]).parent)),
        handed_over={},
    )
