"""Log lines on stderr: text for people on a terminal, one JSON object a line elsewhere."""

import logging
import sys

import structlog

from server.settings import Log


def set_up(settings: Log) -> None:
    """Send what the server logs, and what its libraries log by `logging`, to stderr in one form."""
    text = settings.formatter.format == "text" or (settings.formatter.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if text:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    # What asyncio says at debug level, and what aiosqlite says of every statement, is for their own developers.
    for library in ("asyncio", "aiosqlite", "uvicorn"):
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
