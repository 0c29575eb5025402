"""Opens the rings of a media process, where the kernel lets it."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from active_call.media.ring.reading import RingReader
from active_call.media.ring.sending import RingSender

logger = logging.getLogger(__name__)


def open_reader(rows: NDArray[np.uint8], max_bytes: int) -> RingReader | None:
    """What reads many sockets at once into these rows; None where each must be read by itself."""
    try:
        return RingReader(rows, max_bytes)
    except OSError as error:
        logger.info("sockets are read one by one", extra={"reason": str(error)})
        return None


def open_sender(rows: NDArray[np.uint8]) -> RingSender | None:
    """What sends these rows through many sockets at once; None where each must be sent by itself."""
    try:
        return RingSender(rows)
    except OSError as error:
        logger.info("packets are sent one by one", extra={"reason": str(error)})
        return None
