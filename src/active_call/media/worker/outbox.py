"""The queue of reports for the control process: bounded and in order. If something must be dropped, it is sound and never an event.

Framed messages go in; bytes for one non-blocking write come out. This module knows no socket.
"""

from __future__ import annotations

from collections import deque
from typing import Final

AUDIO_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""More than a second of the sound of 400 callers. If the control process is stopped for longer, the oldest sound is lost."""
WRITE_BYTES: Final = 256 * 1024
"""Maximum size of one write."""


class Outbox:
    """Pending link bytes. Sound beyond the limit evicts the oldest sound. Events are always kept."""

    def __init__(self, audio_limit_bytes: int = AUDIO_LIMIT_BYTES) -> None:
        self._limit = audio_limit_bytes
        self._parts: deque[tuple[bytes, bool]] = deque()
        self._audio_bytes = 0
        self._torn = b""
        self.dropped_audio = 0
        """Number of dropped CallerAudio messages."""

    def put(self, framed: bytes) -> None:
        """Append an event."""
        self._parts.append((framed, False))

    def put_audio(self, framed: bytes) -> None:
        """Append sound, which may be dropped if the other side does not read."""
        self._parts.append((framed, True))
        self._audio_bytes += len(framed)
        if self._audio_bytes > self._limit:
            self._drop_oldest_audio()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued."""
        return not (self._parts or self._torn)

    def peek(self) -> bytes:
        """The next bytes to write.

        Call `advance` next, and peek again if all of it was written. Unwritten sound may be dropped in between.
        """
        if not self._torn and self._parts:
            taken = []
            size = 0
            while self._parts and size < WRITE_BYTES:
                framed, is_audio = self._parts.popleft()
                taken.append(framed)
                size += len(framed)
                if is_audio:
                    self._audio_bytes -= len(framed)
            self._torn = b"".join(taken)
        return self._torn

    def advance(self, n_bytes: int) -> None:
        """The first `n_bytes` returned by `peek` were written."""
        self._torn = self._torn[n_bytes:]

    def _drop_oldest_audio(self) -> None:
        kept: deque[tuple[bytes, bool]] = deque()
        goal = self._limit - self._limit // 4
        for framed, is_audio in self._parts:
            if is_audio and self._audio_bytes > goal:
                self._audio_bytes -= len(framed)
                self.dropped_audio += 1
            else:
                kept.append((framed, is_audio))
        self._parts = kept
