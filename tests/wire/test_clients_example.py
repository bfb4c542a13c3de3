"""The Python client under examples/, run as README says."""

import subprocess
import sys
from pathlib import Path

from tests.servers import Server

EXAMPLE = Path(__file__).parents[2] / "examples/python_client.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_example_client_adds_an_instance_and_reads_it_back(server: Server) -> None:
    done = run(server.token(), server.grpc)
    assert done.returncode == 0, done.stderr
    first, _, read = done.stdout.partition("\n")
    _, instance_id, *_ = first.split()
    assert f'id: "{instance_id}"' in read
    assert "state: STATE_RUNNING" in read
    assert 'domain: "acme-' in read


def test_the_example_client_says_why_it_was_refused(server: Server) -> None:
    done = run("wrong", server.grpc)
    assert done.returncode == 1
    assert done.stderr.startswith("UNAUTHENTICATED: ")
