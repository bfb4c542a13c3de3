"""Writes generated/ from proto/, or with --check proves that nothing lags.

--check also runs `buf lint`, and `buf breaking` against published.binpb, the
descriptors of what clients have compiled in. After a release that adds to the
API, --publish makes the present descriptors the published ones.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.api import annotations_pb2

PROTO = Path(__file__).resolve().parent
GENERATED = PROTO.parent / "generated"
PUBLISHED = PROTO / "published.binpb"
# An example's stubs stand beside its .proto file.
EXAMPLE = PROTO.parent / "examples" / "bookshop"


def compile_to(out: Path, root: Path = PROTO) -> Path:
    """Write stubs and their types below `out`; return the descriptor set, which holds the imports too."""
    descriptors = out.parent / f"{out.name}.binpb"
    sources = sorted(str(path.relative_to(root)) for path in root.rglob("*.proto"))
    # The well-known types ship with grpcio-tools, google/api beside the stubs of googleapis-common-protos.
    well_known = Path(str(resources.files("grpc_tools"))) / "_proto"
    annotations = Path(annotations_pb2.__file__).parents[2]
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{folder}" for folder in (root, well_known, annotations)),
        *(f"--{plugin}={out}" for plugin in ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")),
        *("--include_imports", "--include_source_info", f"--descriptor_set_out={descriptors}"),
        *sources,
    ]
    subprocess.run(command, check=True, env={"PATH": str(Path(sys.executable).parent)})
    return descriptors


def differences(left: Path, right: Path) -> list[str]:
    """List the files below two folders that are not the same, by their relative names."""
    names = {
        path.relative_to(root) for root in (left, right) for path in root.rglob("*_pb2*.py*") if path.suffix != ".pyc"
    }
    _, mismatch, errors = filecmp.cmpfiles(left, right, [str(name) for name in names], shallow=False)
    return sorted(mismatch + errors)


def check(descriptors: Path, fresh: Path, example: Path) -> int:
    """Return how many of the checks failed; each says on stderr what is wrong."""
    failures = 0
    for made, committed in ((fresh, GENERATED), (example, EXAMPLE)):
        if lagging := differences(made, committed):
            print(f"{committed.name}/ lags its .proto files in {', '.join(lagging)}: run make proto", file=sys.stderr)
            failures += 1
    buf = Path(sys.executable).parent / "buf"
    config = ("--config", PROTO / "buf.yaml")
    for rule in (["lint", descriptors, *config], ["breaking", descriptors, "--against", PUBLISHED, *config]):
        failures += subprocess.run([buf, *rule], check=False).returncode != 0
    return failures


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on what lags or breaks")
    parser.add_argument("--publish", action="store_true", help="make the present descriptors the published ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh, example = Path(folder) / "generated", Path(folder) / "example"
        fresh.mkdir()
        example.mkdir()
        descriptors = compile_to(fresh)
        compile_to(example, EXAMPLE)
        if arguments.check:
            return check(descriptors, fresh, example)
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(fresh, GENERATED)
        shutil.copytree(example, EXAMPLE, dirs_exist_ok=True)
        if arguments.publish:
            shutil.copy(descriptors, PUBLISHED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
