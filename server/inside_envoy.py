"""What Envoy loads when the host is pyvoy: the server, as `PyvoyHost` runs it. Importing this anywhere else fails."""

import functools
import sys
from pathlib import Path

from gateway.hosts.pyvoy import PyvoyHost
from server import logs
from server.application import serve
from server.envoy import inside_envoy
from server.identity.errors import ConfigurationError
from server.settings import SettingsError, load
from server.store.interface import StoreRefused


async def _main(host: PyvoyHost) -> int:
    config = host.handed_over["config"]
    try:
        loaded = load(None if config is None else Path(config), host.handed_over["flags"])
        logs.set_up(loaded.settings.log)
        await serve(loaded, functools.partial(inside_envoy, host), host.stopping)
    except (SettingsError, ConfigurationError, StoreRefused) as error:
        for line in str(error).splitlines():
            print(f"instanced: {line}", file=sys.stderr)  # noqa: T201 - as the command line does
        return 1
    return 0


host = PyvoyHost(_main)
