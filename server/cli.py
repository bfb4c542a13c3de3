"""The command line: serve, token, rebuild."""

import sys
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from server.settings import Loaded, SettingsError, duration, load, split_address

app = typer.Typer(
    help="ZITADEL's instance API over gRPC, gRPC-Web and JSON, on SQLite.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[Path | None, typer.Option(help="YAML file of settings; one in use at ZITADEL will do.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the database.", show_default="./data")]


def main() -> None:
    """Run the command line."""
    app()


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("instanced"))
        raise typer.Exit


@app.callback()
def _options(
    *, version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False
) -> None:
    """ZITADEL's instance API over gRPC, gRPC-Web and JSON, on SQLite."""


@app.command()
def serve(
    config: Config = None,
    data: Data = None,
    grpc: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="gRPC.", show_default="127.0.0.1:50051")] = None,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC-Web and JSON.", show_default="127.0.0.1:8080")
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT; prints a line for each listener once it takes calls."""
    loaded = _load(config, data, grpc, http)
    from server.application import run  # noqa: PLC0415 - the other commands need none of it

    try:
        run(loaded)
    except REFUSALS as error:
        _refuse(error)


@app.command()
def token(
    data: Data = None,
    config: Config = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="A configured system user.")] = None,
    key: Annotated[Path | None, typer.Option(help="That user's private key, PEM.")] = None,
    audience: Annotated[str | None, typer.Option(metavar="URL", help="Whom the token is for; this server by default.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it is good for, an hour at the most.")] = "1h",
) -> None:
    """Print a bearer token, and nothing else."""


@app.command()
def rebuild(data: Data = None, config: Config = None) -> None:
    """Build the projections anew from the event log; the server must not be running."""


def _load(config: Path | None, data: Path | None, grpc: str | None = None, http: str | None = None) -> Loaded:
    flags: dict[str, object] = {}
    if data is not None:
        flags["data"] = data
    if grpc is not None:
        flags["grpc"] = {"address": grpc}
    if http is not None:
        flags["http"] = {"address": http}
    try:
        return load(config, flags)
    except SettingsError as error:
        _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    for line in str(error).splitlines():
        typer.echo(f"instanced: {line}", err=True)
    raise typer.Exit(1)
