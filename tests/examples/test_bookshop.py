"""The example of docs/gateway.md: servicers that know nothing of the gateway, served by it on a host of the user's."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

EXAMPLE = Path(__file__).parents[2] / "examples" / "bookshop"
DUNE = {"title": "Dune", "authors": ["Frank Herbert"], "isbn": "978-0", "priceCents": "1299"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "uvicorn",
        "--app-dir",
        EXAMPLE,
        "serve:gateway",
        "--port",
        "0",
        "--no-access-log",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    while not (found := re.search(r"running on (http://\S+)", told)):
        line = process.stderr.readline()
        assert line, told
        told += line
    yield found[1]
    process.terminate()
    process.stderr.close()
    assert process.wait(10) in {0, -15}


def test_a_book_is_created_below_its_shelf_and_found_by_both_paths(url: str) -> None:
    made = requests.post(f"{url}/v1/shelves/found/books", params={"bookId": "dune"}, json=DUNE, timeout=5)
    assert made.json() == {"name": "shelves/found/books/dune", **DUNE}
    assert requests.get(f"{url}/v1/shelves/found/books/dune", timeout=5).json() == made.json()
    assert requests.get(f"{url}/v1/isbn/978-0", timeout=5).json()["title"] == "Dune"
    again = requests.post(f"{url}/v1/shelves/found/books?book_id=dune", json=DUNE, timeout=5)
    assert (again.status_code, again.json()["code"]) == (409, 6)
    missing = requests.get(f"{url}/v1/shelves/found/books/none", timeout=5)
    assert (missing.status_code, missing.json()["message"]) == (404, "there is no book shelves/found/books/none")


def test_a_list_is_filtered_by_nested_and_repeated_query_parameters(url: str) -> None:
    for number, author in enumerate(("A", "B", "C")):
        book = {"title": author, "authors": [author], "priceCents": number * 100}
        assert requests.post(f"{url}/v1/shelves/list/books?bookId={author}", json=book, timeout=5).ok

    def titles(query: str) -> list[str]:
        listed = requests.get(f"{url}/v1/shelves/list/books?{query}", timeout=5).json()
        return [book["title"] for book in listed.get("books", [])]

    assert titles("") == ["A", "B", "C"]
    assert titles("filter.authors=A&filter.authors=C") == ["A", "C"]
    assert titles("filter.at_most_cents=100&limit=5") == ["A", "B"]
    assert titles("filter.atMostCents=100&limit=1") == ["A"]


def test_a_field_of_the_body_is_named_by_the_path(url: str) -> None:
    assert requests.post(f"{url}/v1/shelves/patch/books?bookId=dune", json=DUNE, timeout=5).ok
    changed = requests.patch(
        f"{url}/v1/shelves/patch/books/dune?updateMask=title,priceCents",
        json={"title": "Dune Messiah", "priceCents": 5, "isbn": "not in the mask"},
        timeout=5,
    )
    assert changed.json() == {"name": "shelves/patch/books/dune", **DUNE, "title": "Dune Messiah", "priceCents": "5"}


def test_a_stream_of_books_comes_a_line_each(url: str) -> None:
    for number in range(2):
        book = {"title": f"Book {number}"}
        assert requests.post(f"{url}/v1/shelves/watch/books?bookId={number}", json=book, timeout=5).ok
    with requests.get(f"{url}/v1/shelves/watch/books:watch?limit=3", stream=True, timeout=5) as got:
        lines = got.iter_lines()
        first = [json.loads(next(lines))["result"]["title"] for _ in range(2)]
        assert requests.post(f"{url}/v1/shelves/watch/books?bookId=late", json={"title": "Late"}, timeout=5).ok
        assert [*first, json.loads(next(lines))["result"]["title"]] == ["Book 0", "Book 1", "Late"]
        assert not [line for line in lines if line]


def test_a_bad_request_names_what_is_wrong(url: str) -> None:
    got = requests.get(f"{url}/v1/shelves/x/books?limit=many", timeout=5)
    assert (got.status_code, got.json()["code"]) == (400, 3)
    assert "limit" in got.json()["message"]
