"""The rules that hold the rooms apart, on the imports as they stand."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imports(folder: str) -> Iterator[tuple[str, str]]:
    """Yield each file and what it imports, by full name."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    yield from ((str(path.relative_to(ROOT)), alias.name) for alias in names)
                case ast.ImportFrom(module=str(module), names=names):
                    yield from ((str(path.relative_to(ROOT)), f"{module}.{alias.name}") for alias in names)


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_imports_are_found() -> None:
    assert ("server/application.py", "gateway.Gateway") in set(imports("server"))


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("gateway", ("server", "zitadel", "instanced")),
        ("server/domain", ("grpc", "google", "zitadel", "gateway", "sqlite3", "aiosqlite", "server.store")),
        ("server/identity", ("server.store", "server.servicers", "server.interceptors", "gateway", "sqlite3")),
        ("server/servicers", ("server.store", "sqlite3", "aiosqlite", "gateway")),
        ("server/interceptors", ("server.store", "sqlite3", "aiosqlite", "gateway")),
        ("server/store", ("grpc", "google", "zitadel", "gateway", "server.identity")),
    ],
)
def test_a_room_imports_nothing_of_those_above_it(room: str, forbidden: tuple[str, ...]) -> None:
    # Kinds of responses that servicers and interceptors may give, and a memory: they know nothing of who serves them.
    neutral = {f"gateway.{name}" for name in ("EncodedOnce", "Repeatable", "Again", "Metadata", "Recurring")}
    found = [(path, name) for path, name in imports(room) if name not in neutral]
    assert [(path, name) for path, name in found if below(name, *forbidden)] == []


def test_only_the_stores_own_folder_knows_sqlite() -> None:
    known = {path for path, name in imports("server") if below(name, "sqlite3", "aiosqlite")}
    assert known
    assert all(path.startswith("server/store/sqlite/") for path in known)


def test_only_the_composition_root_and_the_command_line_load_settings() -> None:
    readers = {path for path, name in imports("server") if name in {"server.settings.load", "server.settings.Settings"}}
    assert readers == {
        "server/application.py",
        "server/cli.py",
        "server/external.py",
        "server/http_front.py",
        "server/workers.py",
    }
