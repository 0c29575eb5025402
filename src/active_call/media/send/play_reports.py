"""Reports about plays: marks of the frames read, and whether each frame was voiced, become reports with the time the packet was sent.

Pure; the caller passes `at`. PlayStarted waits for the first voiced packet, because it contains its time. A play that ends without one has
a `voiced_at` of -1.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.base.pcm import duration_ms
from active_call.media.link.messages import PlayEnded, PlayLow, PlayStarted, PlayStarved
from active_call.media.send.play_queue import Began, Finished, Mark, RanDry, RunsLow

PlayReport = PlayStarted | PlayEnded | PlayStarved | PlayLow


class PlayReports:
    """For all streams: the plays that have begun but had no voiced packet yet."""

    def __init__(self, emit: Callable[[PlayReport], None]) -> None:
        self._emit = emit
        self._unvoiced: dict[int, tuple[str, float]] = {}

    @property
    def awaiting_voice(self) -> dict[int, tuple[str, float]]:
        """By stream: the play that waits for its first voiced packet, and when its first packet was sent. Read only."""
        return self._unvoiced

    def take(self, stream: int, marks: list[Mark], at: float, *, voiced: bool, rate_hz: int) -> None:
        """Report on one frame of `stream`, sent at `at`. Its plays count samples at `rate_hz`."""
        if voiced and stream in self._unvoiced:
            play, began_at = self._unvoiced.pop(stream)
            self._emit(PlayStarted(stream, play, began_at, at))
        for mark in marks:
            match mark:
                case Began(play=play):
                    self._settle(stream)
                    if voiced:
                        self._emit(PlayStarted(stream, play, at, at))
                    else:
                        self._unvoiced[stream] = (play, at)
                case RanDry(play=play):
                    self._emit(PlayStarved(stream, play, at))
                case RunsLow(play=play):
                    self._emit(PlayLow(stream, play, duration_ms(mark.left, rate_hz)))
                case Finished():
                    if stream in self._unvoiced and self._unvoiced[stream][0] == mark.play:
                        self._settle(stream)
                    heard_ms, queued_ms = duration_ms(mark.heard, rate_hz), duration_ms(mark.queued, rate_hz)
                    self._emit(PlayEnded(stream, mark.play, mark.completed, heard_ms, queued_ms, at))

    def forget(self, stream: int) -> None:
        """Drop the state of a closed stream."""
        self._unvoiced.pop(stream, None)

    def _settle(self, stream: int) -> None:
        if stream in self._unvoiced:
            play, began_at = self._unvoiced.pop(stream)
            self._emit(PlayStarted(stream, play, began_at, -1.0))
