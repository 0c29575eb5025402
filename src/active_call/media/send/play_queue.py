"""The plays of a stream: named plays in a queue, each a queue of sound, with sample-exact positions.

Sound and orders go in. `read` fills one frame after another, and `take_marks` returns what began and ended in these frames. The reader
stamps the marks with the time the packet was sent. This module knows no packets and no clock.

A play is *waiting* (behind others, or without sound yet), *current* (the head of the queue, the only one that is read), then removed. It is
removed when it is closed and its last sample was read, or when it is stopped: then its next sound fades out and is mixed into the following
frames, under whatever plays next. A current play that runs out of sound before it is closed is *dry*: silence, reported once, until more
arrives. Before that it *runs low*, also reported once, so that the sender of a long file need not send it all at once.

Plays may be *paused*: the current one stops at its sample. The sound after that sample fades out and is not counted as heard. The play
resumes at that sample, or up to half a second before it. After a fade it rises for 5 ms to avoid a click.

A play may be ordered to *finish* at the next of several boundaries (ends of sentences or commands) that it has not passed yet. Its owner
learns of that later; what it still appends to the play is dropped, up to and including the order that closes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from active_call.media.send.mixer import Samples, add_saturated, faded_in, faded_out

LOW_WATER_MS: Final = 2000
REWIND_MS: Final = 500
"""Amount of played sound that is kept, in order to resume at the start of a word."""
RISE_MS: Final = 5
"""Duration of the fade-in after a pause."""


class Began(Struct, frozen=True):
    """The frame just read contains the first sample of `play`."""

    play: str


class Finished(Struct, frozen=True):
    """The last sample of `play` was read: `heard` of `queued` samples. `completed` is false if it was stopped."""

    play: str
    completed: bool
    heard: int
    queued: int


class RanDry(Struct, frozen=True):
    """`play` is not closed and had too little sound for the frame just read."""

    play: str


class RunsLow(Struct, frozen=True):
    """`play` is not closed and has `left` samples: two seconds or less. Checked at its start and at the end of each piece."""

    play: str
    left: int


Mark = Began | Finished | RanDry | RunsLow


class _Play:
    """The unread sound of one play."""

    __slots__ = ("_chunks", "_n_past", "_offset", "_past", "began", "closed", "cut", "dry", "heard", "low", "name", "queued")

    def __init__(self, name: str) -> None:
        self.name = name
        self.queued = 0
        self.heard = 0
        self.began = False
        self.closed = False
        self.cut = False
        """It ends before the end of what was or will be appended."""
        self.dry = False
        self.low = False
        self._chunks: deque[Samples] = deque()
        self._offset = 0
        self._past: deque[Samples] = deque()
        """Pieces that were read completely, most recent last."""
        self._n_past = 0

    def append(self, sound: Samples) -> None:
        if len(sound):
            self.queued += len(sound)
            if not self.cut:
                self._chunks.append(sound)
                self.dry = self.low = False

    @property
    def left(self) -> int:
        """Number of unread samples."""
        if self.cut:
            return sum(map(len, self._chunks)) - self._offset
        return self.queued - self.heard

    def cut_at(self, end: int) -> None:
        """Make sample `end` (counted from the start of the play, not yet read) the first one that is not played."""
        left = end - self.heard + self._offset
        kept: deque[Samples] = deque()
        for chunk in self._chunks:
            if left > 0:
                kept.append(chunk[:left])
            left -= len(chunk)
        if left < 0 or not self.closed:
            self.cut = True
        self._chunks = kept

    def read_within_chunk(self, out: Samples) -> bool:
        """Fill `out` if nothing begins or ends in it, as in nearly every frame. False: nothing was read."""
        if not (self.began and self._chunks):
            return False
        chunk, start = self._chunks[0], self._offset
        end = start + len(out)
        if end >= len(chunk):
            return False
        out[:] = chunk[start:end]
        self.heard += end - start
        self._offset = end
        return True

    def read_ahead(self, frames: Samples) -> int:
        """Fill as many of `frames` (n, samples) as have no begin or end in them, also of a piece. Returns how many."""
        if not (self.began and self._chunks):
            return 0
        chunk, start = self._chunks[0], self._offset
        size = int(frames.shape[1])
        n_frames: int = min(len(frames), (len(chunk) - start - 1) // size)
        end = start + n_frames * size
        frames[:n_frames] = chunk[start:end].reshape(n_frames, size)
        self.heard += end - start
        self._offset = end
        return n_frames

    def take_back(self, n_samples: int) -> None:
        """Undo the last `n_samples` of `read_ahead`. Nothing may have happened in between."""
        self.heard -= n_samples
        self._offset -= n_samples

    def read(self, out: Samples) -> int:
        """Move samples into `out` until it is full or the play is empty. Returns how many."""
        filled = 0
        wanted = len(out)
        while filled < wanted and self._chunks:
            chunk = self._chunks[0]
            n = min(wanted - filled, len(chunk) - self._offset)
            out[filled : filled + n] = chunk[self._offset : self._offset + n]
            filled += n
            self._offset += n
            if self._offset == len(chunk):
                self._past.append(self._chunks.popleft())
                self._n_past += len(chunk)
                self._offset = 0
        self.heard += filled
        return filled

    def forget_past(self, kept: int) -> None:
        """Drop read pieces, except those that contain the last `kept` samples."""
        while self._past and self._n_past - len(self._past[0]) >= kept:
            self._n_past -= len(self._past.popleft())

    def peek(self, n_samples: int) -> Samples:
        """A copy of the next samples, at most `n_samples`, without reading them."""
        parts: list[Samples] = []
        skipped, left = self._offset, n_samples
        for chunk in self._chunks:
            if left <= 0:
                break
            parts.append(chunk[skipped : skipped + left])
            left -= len(parts[-1])
            skipped = 0
        return np.concatenate(parts) if parts else np.empty(0, np.int16)

    def go_back(self, n_samples: int) -> None:
        """Rewind by `n_samples`, as far as they are kept."""
        while n_samples > self._offset and self._past:
            chunk = self._past.pop()
            self._n_past -= len(chunk)
            self._chunks.appendleft(chunk)
            self.heard -= self._offset
            n_samples -= self._offset
            self._offset = len(chunk)
        n_samples = min(n_samples, self._offset)
        self._offset -= n_samples
        self.heard -= n_samples
        if self._chunks and self._offset == len(self._chunks[0]):
            self._past.append(self._chunks.popleft())
            self._n_past += self._offset
            self._offset = 0

    def finished(self, *, completed: bool) -> Finished:
        return Finished(self.name, completed, self.heard, self.queued)


class _Tail:
    """The fade-out of a stopped or paused play that is still to be mixed in. The mark of a stopped play follows with its last sample."""

    __slots__ = ("mark", "offset", "sound")

    def __init__(self, sound: Samples, mark: Finished | None) -> None:
        self.sound = sound
        self.mark = mark
        self.offset = 0


class PlayQueue:
    """All plays of one stream. Rates are the owner's; all counts are in samples."""

    __slots__ = (
        "_dismissed", "_has_faded", "_low_water", "_marks", "_plays", "_rewind", "_rise", "_rising", "_tails", "paused",
    )  # fmt: skip

    def __init__(self, rate_hz: int = 8000) -> None:
        self.paused = False
        self._low_water = rate_hz * LOW_WATER_MS // 1000
        self._rewind = rate_hz * REWIND_MS // 1000
        self._rise = rate_hz * RISE_MS // 1000
        self._has_faded = False
        """The pause began with a fade-out, so it ends with a fade-in."""
        self._rising = False
        """The next frame is the first one after a pause."""
        self._plays: deque[_Play] = deque()
        self._tails: list[_Tail] = []
        self._marks: list[Mark] = []
        self._dismissed: set[str] = set()
        """Plays that have finished before their owner closed them."""

    @property
    def is_idle(self) -> bool:
        """Nothing is queued, fading or to be reported. Reading would yield silence."""
        return not (self._plays or self._tails or self._marks)

    @property
    def stands_still(self) -> bool:
        """It is paused, and nothing is fading or to be reported. Reading would yield silence until the plays are changed."""
        return self.paused and not (self._tails or self._marks)

    @property
    def n_plays(self) -> int:
        """Number of current and waiting plays."""
        return len(self._plays)

    def holds(self, name: str) -> bool:
        """Whether the play `name` is current or waiting."""
        return any(play.name == name for play in self._plays)

    @property
    def n_waiting(self) -> int:
        """Unread samples of all plays."""
        return sum(play.left for play in self._plays)

    @property
    def sounding(self) -> tuple[str, int, int | None] | None:
        """The current play if some of it was read: name, samples heard, and samples left if its end is known."""
        if not (self._plays and self._plays[0].began):
            return None
        play = self._plays[0]
        return play.name, play.heard, play.left if play.closed or play.cut else None

    def append(self, name: str, pcm: bytes, *, end: bool = False) -> None:
        """Append s16le sound to the play `name`. A new play is added at the end of the queue. An odd last byte is dropped."""
        if name in self._dismissed:
            if end:
                self._dismissed.discard(name)
            return
        play = next((play for play in self._plays if play.name == name), None)
        if play is None:
            play = _Play(name)
            self._plays.append(play)
        play.append(np.frombuffer(pcm, dtype="<i2", count=len(pcm) // 2))
        play.closed = play.closed or end

    def finish(self, name: str, boundaries: Sequence[int]) -> None:
        """End the play `name` at the first of `boundaries` (ascending, in samples of the play) that it has not passed.

        The rest is dropped, and the play counts as stopped, not completed. No effect if that boundary is beyond the appended sound (the
        owner must end the play there) or if all boundaries have been passed.
        """
        play = next((play for play in self._plays if play.name == name), None)
        if play is None:
            return
        end = next((boundary for boundary in boundaries if boundary > play.heard), None)
        if end is not None and end <= play.queued:
            play.cut_at(end)

    def stop(self, fade: int, *, name: str = "") -> None:
        """Stop the play `name` (all if empty), with a fade-out of `fade` samples.

        A stopped play may be opened again at once.
        """
        self._dismissed -= {name} if name else self._dismissed
        kept: deque[_Play] = deque()
        for play in self._plays:
            if name and play.name != name:
                kept.append(play)
            else:
                self._cut(play, fade)
        self._plays = kept

    def pause(self, fade: int = 0) -> None:
        """Pause at this sample. The sound after it fades out within `fade` samples and remains unread."""
        if self.paused:
            return
        self.paused = True
        self._has_faded = fade > 0
        if fade > 0 and self._plays and self._plays[0].began:
            tail = self._plays[0].peek(fade)
            if len(tail):
                self._tails.append(_Tail(faded_out(tail), None))

    def resume(self, back: int = 0) -> None:
        """Resume at the sample of the pause, or `back` samples before it (at most half a second)."""
        if not self.paused:
            return
        self.paused = False
        self._tails = [tail for tail in self._tails if tail.mark is not None]
        if self._plays and self._plays[0].began:
            self._rising = self._has_faded or back > 0
            if back > 0:
                self._plays[0].go_back(min(back, self._rewind))

    def _cut(self, play: _Play, fade: int) -> None:
        tail = np.empty(max(fade, 0) if play.began and not self.paused else 0, np.int16)
        tail = tail[: play.read(tail)]
        mark = play.finished(completed=False)
        if len(tail):
            self._tails.append(_Tail(faded_out(tail), mark))
        else:
            self._marks.append(mark)

    def read(self, out: Samples) -> bool:
        """Fill the next frame. `out` must contain zeros; parts without a play stay silent.

        True: something plays and nothing has begun, ended or run dry, so there are no marks to take.
        """
        if self._plays and not (self.paused or self._tails or self._marks or self._rising) and self._plays[0].read_within_chunk(out):
            return True
        if not self.paused:
            self._read_plays(out)
            if self._rising:
                self._rising = False
                out[: self._rise] = faded_in(out[: self._rise])
        if self._tails:
            self._read_tails(out)
        return False

    def read_ahead(self, frames: Samples) -> int:
        """Fill as many of the next frames (n, samples) as contain no begin or end. Returns how many. The owner reads them in order."""
        if not self._plays or self.paused or self._tails or self._marks or self._rising:
            return 0
        return self._plays[0].read_ahead(frames)

    def take_back(self, n_samples: int) -> None:
        """Give back the last `n_samples` of `read_ahead`. Call it before any other change of the plays."""
        self._plays[0].take_back(n_samples)

    def _read_plays(self, out: Samples) -> None:
        filled = 0
        while self._plays:
            play = self._plays[0]
            n = play.read(out[filled:] if filled else out)
            filled += n
            if n and not play.began:
                play.began = True
                self._marks.append(Began(play.name))
            play.forget_past(self._rewind)
            left = play.left
            if left <= self._low_water and not (play.closed or play.low or play.cut):
                play.low = True
                self._marks.append(RunsLow(play.name, left))
            if left:
                return
            if not (play.closed or play.cut):
                if filled < len(out) and play.began and not play.dry:
                    play.dry = True
                    self._marks.append(RanDry(play.name))
                return
            self._plays.popleft()
            if not play.closed:
                self._dismissed.add(play.name)
            self._marks.append(play.finished(completed=not play.cut))

    def _read_tails(self, out: Samples) -> None:
        going: list[_Tail] = []
        for tail in self._tails:
            piece = tail.sound[tail.offset : tail.offset + len(out)]
            add_saturated(out[: len(piece)], piece)
            tail.offset += len(piece)
            if tail.offset < len(tail.sound):
                going.append(tail)
            elif tail.mark is not None:
                self._marks.append(tail.mark)
        self._tails = going

    def take_marks(self) -> list[Mark]:
        """What has begun and ended since the last call, in order."""
        if not self._marks:
            return []
        marks, self._marks = self._marks, []
        return marks
