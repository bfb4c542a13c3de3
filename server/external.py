"""The URL that clients reach the server at, and the file that tells it to `instanced token`."""

import contextlib
import json
import os
from pathlib import Path

from server.settings import Settings
from server.store.folder import DataFolder

_FILE = "server.json"


def external_url(settings: Settings, http_port: int) -> str:
    """Return scheme and host, and the port unless it is the scheme's own."""
    secure = settings.external_secure
    if secure is None:
        secure = settings.tls.configured
    port = settings.external_port or http_port
    scheme, own_port = ("https", 443) if secure else ("http", 80)
    return f"{scheme}://{settings.external_domain}" + ("" if port == own_port else f":{port}")


def publish(folder: DataFolder, url: str, grpc: str, http: str) -> None:
    """Say in the data folder where this server is reached. Raises StoreRefused."""
    folder.write(_FILE, json.dumps({"pid": os.getpid(), "external_url": url, "grpc": grpc, "http": http}).encode())


def withdraw(folder: DataFolder) -> None:
    """Take back what `publish` said."""
    (folder.path / _FILE).unlink(missing_ok=True)


def published_url(folder: Path) -> str | None:
    """Return the URL of the server that runs on the folder; None where there is none."""
    try:
        content = json.loads((folder / _FILE).read_bytes())
        pid, url = int(content["pid"]), str(content["external_url"])
        with contextlib.suppress(PermissionError):
            # A server that was killed could not withdraw what it said. (Permission denied: it runs, as another user.)
            os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url
