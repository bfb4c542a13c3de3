"""The command line: serve, token, rebuild."""

import asyncio
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, NoReturn

import durationpy
import typer

from server.identity.errors import ConfigurationError
from server.settings import Loaded, SettingsError, load, split_address
from server.store.interface import StoreRefused

app = typer.Typer(
    help="ZITADEL's instance API over gRPC, gRPC-Web, Connect and JSON, on SQLite.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# What stops a command, with a message for whoever runs it.
REFUSALS = (SettingsError, ConfigurationError, StoreRefused)

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
    """ZITADEL's instance API over gRPC, gRPC-Web, Connect and JSON, on SQLite."""


@app.command()
def serve(
    config: Config = None,
    data: Data = None,
    grpc: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC alone.", show_default="127.0.0.1:50051")
    ] = None,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="All of it, on one port.", show_default="127.0.0.1:8080")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="How many processes serve.", show_default="1")
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT; prints a line for each listener once it takes calls."""
    loaded = _load(config, _flags(data, grpc, http, workers))
    # grpc core logs lines of its own, which are neither of our form nor news: what fails there fails here as well.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        if loaded.settings.workers > 1:
            from server.workers import run_workers  # noqa: PLC0415 - the other commands need none of it

            run_workers(loaded)
            return
        from server.application import run  # noqa: PLC0415 - as above

        run(loaded)
    except REFUSALS as error:
        _refuse(error)


@app.command()
def token(  # noqa: PLR0917 - typer reads the options off the parameters
    data: Data = None,
    config: Config = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="A configured system user.")] = None,
    key: Annotated[Path | None, typer.Option(help="That user's private key, PEM.")] = None,
    audience: Annotated[
        str | None, typer.Option(metavar="URL", help="Whom the token is for.", show_default="this server")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is good for, an hour at the most.")] = "1h",
) -> None:
    """Print a bearer token, and nothing else."""
    from server.external import external_url, published_url  # noqa: PLC0415 - as above
    from server.identity.local_user import LOCAL_USER_ID, load_local_user  # noqa: PLC0415
    from server.identity.minting import mint  # noqa: PLC0415

    if (user is None) != (key is None):
        _refuse(SettingsError("--user and --key go together: a configured user's name, and its private key"))
    settings = _load(config, _flags(data)).settings
    try:
        if audience is None:
            # A server that is not running listens, once it is started, where its settings say.
            audience = published_url(settings.data) or external_url(settings, split_address(settings.http.address)[1])
        pem = load_local_user(settings.data).private_key_pem if key is None else _read(key)
        made = mint(user or LOCAL_USER_ID, pem, audience, _seconds(ttl))
    except REFUSALS as error:
        _refuse(error)
    typer.echo(made)


@app.command()
def rebuild(data: Data = None, config: Config = None) -> None:
    """Build the projections anew from the event log; the server must not be running."""
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from server.store.folder import DataFolder  # noqa: PLC0415
    from server.store.sqlite import rebuild as rebuild_projections  # noqa: PLC0415

    settings = _load(config, _flags(data)).settings
    console = Console(stderr=True)
    columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeRemainingColumn())
    try:
        with (
            DataFolder.open(settings.data) as folder,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task("rebuilding", total=None)
            events = asyncio.run(
                rebuild_projections(folder, lambda done, total: progress.update(task, completed=done, total=total))
            )
    except REFUSALS as error:
        _refuse(error)
    typer.echo(f"the projections are built anew from {events} events", err=True)


def _flags(
    data: Path | None,
    grpc: str | None = None,
    http: str | None = None,
    workers: int | None = None,
) -> dict[str, object]:
    flags: dict[str, object] = {}
    if data is not None:
        flags["data"] = str(data)
    if grpc is not None:
        flags["grpc"] = {"address": grpc}
    if http is not None:
        flags["http"] = {"address": http}
    if workers is not None:
        flags["workers"] = workers
    return flags


def _load(config: Path | None, flags: Mapping[str, object]) -> Loaded:
    try:
        return load(config, flags)
    except SettingsError as error:
        _refuse(error)


def _read(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise SettingsError(f"--key: cannot read {key}: {error.strerror}") from error


def _seconds(ttl: str) -> float:
    try:
        return durationpy.from_str(ttl).total_seconds()
    except durationpy.DurationError as error:
        raise SettingsError(f"--ttl: {ttl} is not a duration such as 1h or 10m") from error


def _refuse(error: Exception) -> NoReturn:
    for line in str(error).splitlines():
        typer.echo(f"instanced: {line}", err=True)
    raise typer.Exit(1)
