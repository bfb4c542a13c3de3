"""Writes the JavaScript stubs of the pages, or tells which of them lag the .proto files.

protoc-gen-es is a plugin of protoc: it reads descriptors on stdin. The Python stubs carry those, so that no protoc is
needed: `make proto` first, then `.venv/bin/python -m tests.browser.javascript_stubs`.
"""

import subprocess
import sys
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2, status_pb2
from zitadel import admin_pb2, system_pb2

ROOT = Path(__file__).resolve().parents[2]
# Each folder and the files that its page imports; what those import themselves is written beside them.
PAGES = {
    ROOT / "examples/web/generated": (system_pb2, admin_pb2, error_details_pb2),
    ROOT / "tests/browser/generated": (status_pb2,),
}
PLUGIN = Path(__file__).parent / "node_modules/.bin/protoc-gen-es"


def with_imports(files: list[FileDescriptor]) -> list[FileDescriptor]:
    """Return the files and all that they import, each after its own imports."""
    ordered: dict[str, FileDescriptor] = {}
    for file in files:
        ordered |= {imported.name: imported for imported in with_imports(list(file.dependencies))}
        ordered[file.name] = file
    return list(ordered.values())


def stubs() -> dict[Path, str]:
    """Return every stub by its path."""
    written: dict[Path, str] = {}
    for folder, modules in PAGES.items():
        files = with_imports([module.DESCRIPTOR for module in modules])
        request = plugin_pb2.CodeGeneratorRequest(parameter="target=js,import_extension=js")
        for file in files:
            file.CopyToProto(request.proto_file.add())
            # The runtime brings the well-known types.
            if not file.name.startswith("google/protobuf/"):
                request.file_to_generate.append(file.name)
        done = subprocess.run(
            [PLUGIN], input=request.SerializeToString(deterministic=True), capture_output=True, check=True
        )
        response = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
        if response.error:
            raise RuntimeError(response.error)
        written |= {folder / file.name: file.content for file in response.file}
    return written


def lagging() -> list[str]:
    """Return the stubs that are not as they would be written now, the missing and the superfluous included."""
    fresh = stubs()
    present = {path: path.read_text() for folder in PAGES for path in folder.rglob("*.js")}
    paths = fresh.keys() | present.keys()
    return sorted(str(path.relative_to(ROOT)) for path in paths if fresh.get(path) != present.get(path))


def main() -> int:
    """Write all stubs."""
    for path, content in stubs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
