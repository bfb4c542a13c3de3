"""Writes connectrpc's stubs from proto/, with the messages of protobuf-py, which connectrpc takes by default."""

import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Final

from google.api import annotations_pb2

from tests.bench.places import BUILD, ROOT
from tests.bench.unmeasured import Failed

# Their imports are relative to each other, so they need a package around them.
STUBS: Final = BUILD / "connectrpc_stubs"

_PROTO: Final = ROOT / "proto"
_SOURCES: Final = (
    *("zitadel/admin.proto", "zitadel/instance.proto", "zitadel/object.proto", "instanced/authorization.proto"),
    *("google/api/annotations.proto", "google/api/http.proto"),
)


def write() -> None:
    """Write them, unless they are newer than proto/.

    Raises:
        Failed: the compiler refuses.
    """
    stamp = STUBS / ".written"
    if stamp.exists() and stamp.stat().st_mtime > max(path.stat().st_mtime for path in _PROTO.rglob("*.proto")):
        return
    STUBS.mkdir(parents=True, exist_ok=True)
    includes = (_PROTO, Path(str(resources.files("grpc_tools"))) / "_proto", Path(annotations_pb2.__file__).parents[2])
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{folder}" for folder in includes)]
    for plugin in ("py", "connectrpc"):
        program = Path(sys.executable).parent / f"protoc-gen-{plugin}"
        command += [f"--plugin={program}", f"--{plugin}_out={STUBS}"]
    done = subprocess.run([*command, *_SOURCES], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Failed(f"protoc: {done.stderr[-1000:]}")
    stamp.touch()
