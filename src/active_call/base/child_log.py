"""The log of a child process: warnings and errors on standard error, written by a thread, in the form that the parent expects."""

from __future__ import annotations

import logging
import os

from active_call.base.log_lines import PlainFormatter, RecordFormatter
from active_call.base.log_writer import DescriptorSink, LogWriter, QueuedHandler

HANDS_OVER_RECORDS = "ACTIVE_CALL_LOG_RECORDS"
"""Environment variable. If it is set, the parent reads our standard error and writes the log, so whole records are sent."""

STDERR = 2
MAX_LINES = 1000


def log_as_child(level: int = logging.WARNING) -> None:
    """Set up the log of this process."""
    handler = QueuedHandler(LogWriter(DescriptorSink(STDERR), max_lines=MAX_LINES))
    handler.setFormatter(RecordFormatter() if os.environ.get(HANDS_OVER_RECORDS) else PlainFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False
