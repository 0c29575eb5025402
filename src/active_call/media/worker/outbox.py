"""What waits to go to the control process: bounded, in order, and if something must go, it is sound and never an event.

Framed messages enter; bytes for one non-blocking write leave. Knows no socket.
"""

from __future__ import annotations

from collections import deque
from typing import Final

AUDIO_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""More than a second of the sound of 400 callers. A control process that is stopped for longer has lost the oldest of it."""
WRITE_BYTES: Final = 256 * 1024
"""How much is taken for one write."""


class Outbox:
    """Pending link bytes. Sound beyond the limit pushes out the oldest sound; events are kept whatever happens."""

    def __init__(self, audio_limit_bytes: int = AUDIO_LIMIT_BYTES) -> None:
        self._limit = audio_limit_bytes
        self._parts: deque[tuple[bytes, bool]] = deque()
        self._audio_bytes = 0
        self._torn = b""
        self.dropped_audio = 0
        """How many CallerAudio messages were given up."""

    def put(self, framed: bytes) -> None:
        """Append an event."""
        self._parts.append((framed, False))

    def put_audio(self, framed: bytes) -> None:
        """Append sound, which may be given up when the other side does not read."""
        self._parts.append((framed, True))
        self._audio_bytes += len(framed)
        if self._audio_bytes > self._limit:
            self._drop_oldest_audio()

    @property
    def is_empty(self) -> bool:
        """Nothing waits to be written."""
        return not (self._parts or self._torn)

    def peek(self) -> bytes:
        """What to write next; follow with `advance`, and peek again if all of it was taken. The rest can still be dropped meanwhile."""
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
        """The first `n_bytes` of what `peek` gave are written."""
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
