"""uvicorn as it is fastest in one process: uvloop, httptools and no access log."""

from typing import Any

import uvicorn


def run(application: Any, port: int) -> None:
    """Serve an ASGI application until the process is ended."""
    uvicorn.run(application, port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")
