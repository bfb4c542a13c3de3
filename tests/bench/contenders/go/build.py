"""Builds the contenders in Go, with stubs made from proto/ by the plugins that go.mod pins."""

import functools
import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import Final

from google.api import annotations_pb2

from tests.bench import go_programs
from tests.bench.go_programs import BIN
from tests.bench.places import ROOT

HERE: Final = Path(__file__).parent

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
    go_programs.check()
    stamp = BIN / ".contenders"
    files = (path for root in (HERE, _PROTO) for path in root.rglob("*") if path.is_file())
    if go_programs.is_newer(stamp, (path for path in files if "gen" not in path.parts)):
        return
    print("building the contenders in Go ...", file=sys.stderr)
    # All that `tool` names in go.mod.
    go_programs.build(HERE, "tool")
    shutil.rmtree(HERE / "gen", ignore_errors=True)
    (HERE / "gen").mkdir()
    includes = (_PROTO, Path(str(resources.files("grpc_tools"))) / "_proto", Path(annotations_pb2.__file__).parents[2])
    names = ",".join(f"M{source}={package}" for source, package in _SOURCES.items())
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{folder}" for folder in includes)]
    for plugin in _PLUGINS:
        command.append(f"--plugin={BIN}/protoc-gen-{plugin}")
        command += [f"--{plugin}_out={HERE}", f"--{plugin}_opt=module=bench,{names}"]
    go_programs.run([*command, *_SOURCES], HERE)
    go_programs.build(HERE, "./...")
    stamp.touch()
