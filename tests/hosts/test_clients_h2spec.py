"""h2spec (RFC 9113 and 7541): the one port passes all of its cases, but for one by design."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import tools
from tests.servers import Server

pytestmark = tools.BUILDS_FIRST

MODULE = Path(__file__).parent / "h2spec"
CASES = 145
# Each part is a process of its own; they run side by side.
PARTS = (
    *(
        f"generic/{part}"
        for part in ("1", "2", "3.1", "3.2", "3.3", "3.4", "3.5", "3.7", "3.8", "3.9", "3.10", "4", "5")
    ),
    *("http2/3.5", "http2/4.1", "http2/4.2", "http2/4.3"),
    *(f"http2/5.1/{case}" for case in range(1, 14)),
    *("http2/5.1.1", "http2/5.1.2", "http2/5.3", "http2/5.4", "http2/5.5"),
    *(
        "http2/6.1",
        "http2/6.2",
        "http2/6.3",
        "http2/6.4",
        "http2/6.5",
        "http2/6.7",
        "http2/6.8",
        "http2/6.9",
        "http2/6.10",
    ),
    *("http2/7", "http2/8.1/1", "http2/8.1.2/1", "http2/8.1.2.1", "http2/8.1.2.2"),
    *(f"http2/8.1.2.3/{case}" for case in range(1, 8)),
    *("http2/8.1.2.6", "http2/8.2", "hpack"),
)
# What is no preface is HTTP/1.1 here, and is answered in it, with 400, before the connection is closed.
BY_DESIGN = {("http2/3.5", "Sends invalid connection preface")}
# A case waits for a second, in which a busy machine may not get to it.
TRIES = 3

Case = tuple[str, str]


@pytest.fixture(scope="module")
def program() -> Path:
    return tools.go_program(MODULE, "github.com/summerwind/h2spec/cmd/h2spec", MODULE / "bin/h2spec")


def run(program: Path, address: str, part: str, report: Path) -> dict[Case, bool]:
    """Return which cases of a part passed."""
    host, _, port = address.rpartition(":")
    command: list[str | Path] = [
        program,
        part,
        "--host",
        host,
        "--port",
        port,
        "--timeout",
        "1",
        "--junit-report",
        report,
    ]
    subprocess.run(command, capture_output=True, timeout=60, check=False)
    return dict(_cases(report))


def _cases(report: Path) -> Iterator[tuple[Case, bool]]:
    for case in ET.parse(report).iter("testcase"):
        failed = any(case.find(what) is not None for what in ("failure", "error"))
        yield (case.get("package", ""), case.get("classname", "")), not failed


def test_the_one_port_passes_all(
    program: Path, server: Server, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    def passed(job: tuple[int, str]) -> tuple[str, dict[Case, bool]]:
        number, part = job
        return part, run(program, server.http, part, tmp_path / f"{number}.xml")

    results: dict[Case, bool] = {}
    parts: dict[Case, str] = {}
    with ThreadPoolExecutor(8) as pool:
        for part, cases in pool.map(passed, enumerate(PARTS)):
            results.update(cases)
            parts.update(dict.fromkeys(cases, part))
    assert len(results) == CASES
    failed = {case for case, ok in results.items() if not ok}
    record_testsuite_property("h2spec failures", f"{len(failed)} of {CASES}")
    again = [case for case in failed - BY_DESIGN if not any(_again(program, server, parts[case], case, tmp_path))]
    assert again == []


def _again(program: Path, server: Server, part: str, case: Case, folder: Path) -> Iterator[bool]:
    """Try a case again, and tell each time whether it passed."""
    for number in range(TRIES):
        yield run(program, server.http, part, folder / f"again-{number}.xml")[case]
