"""Log lines on stderr: text for people on a terminal, one JSON object a line elsewhere."""

import io
import logging
import os
import sys
from typing import TextIO, cast

import structlog

from server.settings import Log


class _Stderr(io.TextIOBase):
    """Standard error, a line at a time; what cannot be written is lost.

    A log whose disk is full or whose reader is gone must not fail the calls that it is about, nor the start.
    """

    def write(self, text: str) -> int:
        """Write one line with one system call, so that lines never mix."""
        try:
            os.write(2, text.encode(errors="backslashreplace"))
        except OSError:
            return 0
        return len(text)


def set_up(settings: Log) -> None:
    """Send what the server logs, and what its libraries log by `logging`, to stderr in one form."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    text = settings.formatter.format == "text" or (settings.formatter.format == "auto" and terminal)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("%H:%M:%S" if text else "iso", utc=not text),
    ]
    renderer: structlog.typing.Processor
    if text:
        renderer = structlog.dev.ConsoleRenderer(
            colors=terminal,
            sort_keys=False,
            pad_event_to=0,
            pad_level=False,
            # The default one shows the values of local variables, and passwords and tokens are among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    stderr = cast("TextIO", _Stderr())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    # What asyncio says at debug level, and what aiosqlite says of every statement, is for their own developers.
    for library in ("asyncio", "aiosqlite", "uvicorn"):
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
