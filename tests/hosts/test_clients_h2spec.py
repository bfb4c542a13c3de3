"""h2spec (RFC 9113 and 7541): the one port fails none of its cases that grpc.aio itself passes, but for one by design.

What grpc core fails it fails on both addresses, most of it because it resets any request that is not a POST.
"""

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
# Each part is a process of its own: they run side by side, as most cases that fail do so by waiting for a second.
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
# Some cases depend on which of two frames is sent first.
TRIES = 4

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


def test_the_one_port_is_no_worse_than_grpc_aio(
    program: Path, server: Server, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    def passed(job: tuple[int, str, str]) -> tuple[str, str, dict[Case, bool]]:
        number, address, part = job
        return address, part, run(program, address, part, tmp_path / f"{number}.xml")

    results: dict[str, dict[Case, bool]] = {server.http: {}, server.grpc: {}}
    parts: dict[Case, str] = {}
    jobs = [(address, part) for part in PARTS for address in results]
    with ThreadPoolExecutor(40) as pool:
        for address, part, cases in pool.map(passed, [(number, *job) for number, job in enumerate(jobs)]):
            results[address].update(cases)
            parts.update(dict.fromkeys(cases, part))
    assert {address: len(cases) for address, cases in results.items()} == {server.http: CASES, server.grpc: CASES}
    failed = {address: sum(not ok for ok in cases.values()) for address, cases in results.items()}
    record_testsuite_property(
        "h2spec failures", f"one port {failed[server.http]}, grpc.aio {failed[server.grpc]}, of {CASES}"
    )
    worse = {case for case, ok in results[server.http].items() if not ok and results[server.grpc][case]} - BY_DESIGN
    again = [case for case in worse if not any(_again(program, server, parts[case], case, tmp_path))]
    assert again == []


def _again(program: Path, server: Server, part: str, case: Case, folder: Path) -> Iterator[bool]:
    """Try a case again, and tell each time whether the one port did as well as grpc.aio."""
    for number in range(TRIES):
        report = folder / f"again-{number}.xml"
        yield run(program, server.http, part, report)[case] or not run(program, server.grpc, part, report)[case]
