"""`make conformance`: what the runner of connectrpc.com/conformance finds, per protocol and version of HTTP.

A set-up is a configuration of the runner, NAME.yaml, and what server.py serves under its name. Where somebody else's
faults stand in its way, FAULTS.known-failing.txt lists the cases that fail, each with its report, and FAULTS.apart.txt
those that must not share a connection with others; races.txt has those that the runner itself makes fail now and then.
The runner says itself how many cases a configuration makes; fewer than are written down here fail the run.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

import pytest

from tests import tools

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
STUBS: Final = ROOT / "build/conformance"
RUNNER: Final = HERE / "runner"
MODULE: Final = "connectrpc.com/conformance"

# Of both the servers and the calls that run at a time; many more, and calls with a deadline wait for a processor.
SERVERS: Final = 2
CALLS: Final = 4
# Those apart run all at once: some never end, and would keep the others waiting. They are cut after so many seconds.
CALLS_APART: Final = 32
SECONDS_APART: Final = 5
# More of the cases in races.txt do not fail by chance.
RACES_AT_MOST: Final = 2
WITHIN: Final = 600


@dataclass(frozen=True, slots=True)
class SetUp:
    """`cases` is how many the configuration made when it was written, `by` says what serves a version of HTTP."""

    name: str
    cases: int
    by: Mapping[str, str]
    faults: str | None = None


SET_UPS: Final = (
    SetUp("default", 3820, dict.fromkeys(("HTTP/1.1", "HTTP/2"), "the gateway, on the one port")),
    SetUp("grpc-aio", 876, {"HTTP/2": "grpc.aio, on the gRPC listener"}, "grpc-core"),
)

Group = tuple[str, str]
HTTP: Final = {"1": "HTTP/1.1", "2": "HTTP/2"}
PROTOCOLS: Final = {"CONNECT": "Connect", "GRPC": "gRPC", "GRPC_WEB": "gRPC-Web"}

COMPUTED: Final = re.compile(r"Computed (\d+) test case permutation")
RUNNING: Final = re.compile(r"Running (\d+) tests with \S+ for server config \S+ \{HTTP_VERSION_(\d), PROTOCOL_(\w+), ")
FAILED: Final = re.compile(r"FAILED: (\S.*?)(?::| was expected to fail but did not)$")
KNOWN: Final = re.compile(r"INFO: (\S.*?) failed \(as expected\):$")
RACE: Final = re.compile(r"Timeouts/.*/Protocol:PROTOCOL_CONNECT/.*/unary$")
RESULT: Final = re.compile(r"(\d+) passed, (\d+) failed$")


@dataclass(slots=True)
class Outcome:
    """What the runs of one set-up have said so far, `passed` by their own count."""

    computed: int = 0
    passed: int = 0
    ran: Counter[Group] = field(default_factory=Counter)
    failed: Counter[Group] = field(default_factory=Counter)
    known: Counter[Group] = field(default_factory=Counter)
    races: int = 0

    def read(self, output: str) -> None:
        """Add what one run has printed."""
        for line in output.splitlines():
            if match := COMPUTED.match(line):
                self.computed = int(match[1])
            elif match := RUNNING.match(line):
                self.ran[PROTOCOLS[match[3]], HTTP[match[2]]] += int(match[1])
            elif match := FAILED.match(line):
                self.failed[group_of(match[1])] += 1
            elif match := KNOWN.match(line):
                self.known[group_of(match[1])] += 1
                self.races += RACE.match(match[1]) is not None
            elif match := RESULT.match(line):
                self.passed += int(match[1])

    def problem(self, at_least: int, *, whole: bool) -> str | None:
        """Say what is wrong, None if nothing is; `whole` where all cases had to run."""
        ran, failed = self.ran.total(), self.failed.total()
        if self.computed < at_least:
            return f"the runner computed {self.computed} cases, fewer than the {at_least} that are written down"
        if whole and ran != self.computed:
            return f"{ran} of {self.computed} cases were run"
        if self.passed + failed + self.known.total() != ran:
            return f"not every case of {ran} came to an end"
        if self.races > RACES_AT_MOST:
            return f"{self.races} cases of races.txt failed, which is no chance"
        return f"{failed} cases failed" if failed else None


def group_of(case: str) -> Group:
    """Return the protocol and the HTTP version of a case; suites of one protocol alone begin with its name."""
    version = re.search(r"/HTTPVersion:(\d)/", case)
    protocol = re.search(r"/Protocol:PROTOCOL_(\w+)/", case)
    if version is None:
        raise ValueError(f"{case} names no version of HTTP")
    name = PROTOCOLS[protocol[1]] if protocol is not None else case.split(" ", 1)[0]
    if name not in PROTOCOLS.values():
        raise ValueError(f"{case} names no protocol")
    return name, HTTP[version[1]]


def without_known(output: str) -> str:
    """Leave out what the runner says of failures that are known."""
    return re.sub(r"^INFO: .*\n(?:[\t ].*\n|\n)*", "", output, flags=re.MULTILINE)


def runner() -> Path:
    """Return the runner, built from the module that go.mod pins unless it is there."""
    return tools.go_program(RUNNER, f"{MODULE}/cmd/connectconformance", RUNNER / "bin/connectconformance")


def compile_stubs() -> None:
    """Write Python stubs of the runner's own .proto files, which come with the module's source."""
    downloaded = tools.run_json(["go", "-C", RUNNER, "mod", "download", "-json", MODULE], within=300)
    proto = Path(downloaded["Dir"]) / "proto"
    STUBS.mkdir(parents=True, exist_ok=True)
    well_known = Path(str(resources.files("grpc_tools"))) / "_proto"
    options = (f"-I{proto}", f"-I{well_known}", f"--python_out={STUBS}", f"--grpc_python_out={STUBS}")
    sources = sorted(proto.glob("connectrpc/conformance/v1/*.proto"))
    tools.run([sys.executable, "-m", "grpc_tools.protoc", *options, *sources])


def commands(set_up: SetUp, program: Path, patterns: Sequence[str]) -> Iterator[list[str]]:
    """Give the runs of a set-up: all cases but those apart, then these; or the cases that match, all alike."""
    common = [str(program), "-v", "--mode", "server", "--conf", str(HERE / f"{set_up.name}.yaml")]
    common += ["--max-servers", str(SERVERS)]
    server = ["--", sys.executable, "-m", "tests.conformance.server", set_up.name]
    selected = [option for pattern in patterns for option in ("--run", pattern)]
    if set_up.faults is None:
        races = ["--known-flaky", f"@{HERE / 'races.txt'}"]
        yield [*common, *races, "--parallel", str(CALLS), *selected, *server]
        return
    common += ["--known-failing", f"@{HERE / set_up.faults}.known-failing.txt"]
    server += ["--cut-after", str(SECONDS_APART)]
    if patterns:
        yield [*common, "--parallel", str(CALLS_APART), *selected, *server]
        return
    apart = f"@{HERE / set_up.faults}.apart.txt"
    yield [*common, "--parallel", str(CALLS), "--skip", apart, *server[:-2]]
    yield [*common, "--parallel", str(CALLS_APART), "--run", apart, *server]


def run(set_up: SetUp, program: Path, patterns: Sequence[str]) -> bool:
    """Run one set-up and say what came of it; False where not all is well."""
    started = time.monotonic()
    outcome = Outcome()
    python_path = os.pathsep.join(filter(None, (str(STUBS), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": python_path, "GRPC_VERBOSITY": "NONE"}
    well = True
    for command in commands(set_up, program, patterns):
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        outcome.read(done.stdout)
        if done.returncode:
            well = False
            print(without_known(done.stdout))
    print(f"{set_up.name}: {outcome.ran.total()} of {outcome.computed} cases in {time.monotonic() - started:.0f} s")
    for group, ran in sorted(outcome.ran.items()):
        failed, known = outcome.failed[group], outcome.known[group]
        protocol, http = group
        print(
            f"  {protocol} over {http} by {set_up.by[http]}: {ran - failed - known} passed, {failed} failed"
            f"{f', {known} failed as is known' if known else ''}, of {ran}"
        )
    if problem := outcome.problem(set_up.cases, whole=not patterns):
        print(f"{set_up.name}: {problem}", file=sys.stderr)
    return well and problem is None


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--set-up", choices=[each.name for each in SET_UPS], help="one instead of all")
    parser.add_argument("patterns", nargs="*", help="run the cases that match one of these alone")
    arguments = parser.parse_args()
    try:
        program = runner()
        compile_stubs()
    except (pytest.fail.Exception, pytest.skip.Exception) as unavailable:
        sys.exit(str(unavailable))
    chosen = [each for each in SET_UPS if arguments.set_up in (None, each.name)]
    well = [run(each, program, arguments.patterns) for each in chosen]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
