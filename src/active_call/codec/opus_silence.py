"""Digital silence is not encoded again and again as Opus.

The payloads of a silent stream repeat exactly in groups of `SILENCE_PERIOD` (SILK numbers its frames modulo 4), so after two equal groups
they are copied, and the encoder rests. It codes the next sound as well as if it had coded the silence.
"""

from __future__ import annotations

from typing import Final

from active_call.codec.opus import OpusEncoder

SILENCE_PERIOD: Final = 4


class SilentPayloads:
    """The last payloads of one stream while it is silent, and the next one once they repeat."""

    __slots__ = ("_at", "_noted", "encoder")

    def __init__(self, encoder: OpusEncoder) -> None:
        self.encoder = encoder
        self._noted: list[bytes] = []
        self._at = -1

    def end(self) -> None:
        """The stream is not silent any more."""
        if self._noted:
            self._noted.clear()
        self._at = -1

    def note(self, payload: bytes) -> None:
        """The encoder has given `payload` for a silent frame."""
        noted = self._noted
        noted.append(payload)
        del noted[: -2 * SILENCE_PERIOD]
        is_repeated = len(noted) == 2 * SILENCE_PERIOD and noted[:SILENCE_PERIOD] == noted[SILENCE_PERIOD:]
        if is_repeated and not self.encoder.has_dtx:
            self._at = 0

    def take(self) -> bytes | None:
        """The payload of the next silent frame, None if it must be encoded."""
        if self._at < 0:
            return None
        payload = self._noted[self._at]
        self._at = (self._at + 1) % SILENCE_PERIOD
        return payload
