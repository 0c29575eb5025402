"""Opens the rings of a media process, if the kernel supports io_uring."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from active_call.media.ring.reading import RingReader
from active_call.media.ring.sending import RingSender

logger = logging.getLogger(__name__)


def open_reader(rows: NDArray[np.uint8], max_bytes: int) -> RingReader | None:
    """A reader of many sockets into `rows`. None without io_uring: each socket needs its own system call."""
    try:
        return RingReader(rows, max_bytes)
    except OSError as error:
        logger.info("sockets are read one by one", extra={"reason": str(error)})
        return None


def open_sender(rows: NDArray[np.uint8]) -> RingSender | None:
    """A sender of `rows` through many sockets. None without io_uring: each packet needs its own system call."""
    try:
        return RingSender(rows)
    except OSError as error:
        logger.info("packets are sent one by one", extra={"reason": str(error)})
        return None
