"""Builds the contenders in Go, with stubs made from proto/ by the plugins that go.mod pins."""

import functools
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Final

from google.api import annotations_pb2

from tests.bench.contender import ROOT, Absent, Failed

HERE: Final = Path(__file__).parent
BIN: Final = ROOT / "build/bench/bin"
MISSING: Final = "Go is not on the PATH"

_PROTO: Final = ROOT / "proto"
_SOURCES: Final = {
    "zitadel/admin.proto": "bench/gen/admin",
    "zitadel/instance.proto": "bench/gen/instance",
    "zitadel/object.proto": "bench/gen/object",
    "instanced/authorization.proto": "bench/gen/authorization",
}
_PLUGINS: Final = ("go", "go-grpc", "grpc-gateway", "connect-go")


def program(name: str) -> Path:
    """Return the program of a folder here, built.

    Raises:
        Absent: there is no Go.
        Failed: it does not build.
    """
    _build()
    return BIN / name


@functools.cache
def _build() -> None:
    if shutil.which("go") is None:
        raise Absent(MISSING)
    BIN.mkdir(parents=True, exist_ok=True)
    stamp = BIN / ".built"
    sources = [
        path for root in (HERE, _PROTO) for path in root.rglob("*") if path.is_file() and "gen" not in path.parts
    ]
    if stamp.exists() and stamp.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return
    print("building the contenders in Go ...", file=sys.stderr)
    # All that `tool` names in go.mod.
    _run(["go", "build", "-buildvcs=false", "-o", f"{BIN}/", "tool"])
    shutil.rmtree(HERE / "gen", ignore_errors=True)
    (HERE / "gen").mkdir()
    includes = (_PROTO, Path(str(resources.files("grpc_tools"))) / "_proto", Path(annotations_pb2.__file__).parents[2])
    names = ",".join(f"M{source}={package}" for source, package in _SOURCES.items())
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{folder}" for folder in includes)]
    for plugin in _PLUGINS:
        command += [
            f"--plugin={BIN}/protoc-gen-{plugin}",
            f"--{plugin}_out={HERE}",
            f"--{plugin}_opt=module=bench,{names}",
        ]
    _run([*command, *_SOURCES])
    _run(["go", "build", "-buildvcs=false", "-o", f"{BIN}/", "./..."])
    stamp.touch()


def _run(command: list[str]) -> None:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:3])} failed: {done.stderr[-2000:]}")
