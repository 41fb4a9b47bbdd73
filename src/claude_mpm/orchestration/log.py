"""Each orchestrator's own log."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from claude_mpm.errors import UsageError
from claude_mpm.folders import make_private
from claude_mpm.printable import LineFormatter
from claude_mpm.redaction import Redactor, secrets_of

_OFF = logging.CRITICAL + 10
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def make_logger(name: str, level: str, log_dir: str | os.PathLike[str] | None) -> logging.Logger:
    """Return a logger of one's own, below "claude_mpm", so that levels do not mix.

    Args:
        name: whose it is.
        level: "OFF" or one of the standard levels.
        log_dir: the folder of its file; None for standard error.

    Raises:
        UsageError: the level is none, or the folder cannot be written.
    """
    known = logging.getLevelNamesMapping()
    wanted = str(level).upper()
    if wanted != "OFF" and wanted not in known:
        raise UsageError(f"log level {level!r} is none: use OFF, DEBUG, INFO, WARNING or ERROR")
    logger = logging.Logger(f"claude_mpm.{name}", _OFF if wanted == "OFF" else known[wanted])
    logger.parent = logging.getLogger("claude_mpm")
    if wanted != "OFF":
        logger.addHandler(_handler(log_dir))
        logger.addFilter(_without_secrets)
    return logger


def _without_secrets(record: logging.LogRecord) -> bool:
    """Take the secrets of this process's environment out of what is logged."""
    redactor = Redactor(secrets=secrets_of(os.environ))
    record.msg, record.args = redactor.text(record.getMessage()), ()
    return True


def close_logger(logger: logging.Logger) -> None:
    """Close the log's file."""
    for handler in logger.handlers:
        handler.close()


def _handler(log_dir: str | os.PathLike[str] | None) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler()
    if log_dir is not None:
        folder = Path(log_dir).expanduser()
        try:
            make_private(folder)
        except OSError as error:
            raise UsageError(f"log folder {folder}: {error.strerror}; name another") from error
        handler = logging.FileHandler(folder / "claude-mpm.log", delay=True)
    handler.setFormatter(LineFormatter(_FORMAT))
    return handler
