"""Bridges between streams, and music: what is sent in a tick in addition to the plays.

`take` gets the received frames once per tick. `mix` adds them and the music to the frames of the plays that are about to be sent. So the
sound received from one stream in a tick is sent to the other in the next tick. Everything is samples at the rate of the listener's plays:
codec, keys and packet sizes of the two sides are independent. Sums are clipped. This module knows no packets, no clock and no calls.

| mutable track           | what is silenced                                         |
|-------------------------|----------------------------------------------------------|
| `plays`                 | what the stream plays (the plays continue)               |
| `partner`               | what the stream receives from its bridges                |
| `caller`                | what the bridges of the stream receive from it           |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np

from active_call.base.pcm import FRAME_MS
from active_call.media.send.mixer import Samples, add_saturated, faded_out
from active_call.media.worker.slots import Stream

TRACKS: Final = ("plays", "partner", "caller")
MAX_MUSIC_BYTES: Final = 32 * 1024 * 1024
_RATES_HZ: Final = (8000, 16_000)
"""Rates at which received frames are available."""


class Heard(Protocol):
    """Gives access to the received frames."""

    def heard(self, number: int, rate_hz: int) -> Samples | None:
        """The frame of this tick, None if there was none."""
        ...


class _Music:
    """Sound that loops once its end is known."""

    __slots__ = ("_chunks", "_fading", "_index", "_offset", "is_complete", "n_bytes")

    def __init__(self) -> None:
        self._chunks: list[Samples] = []
        self._index = 0
        self._offset = 0
        self._fading: Samples | None = None
        self.is_complete = False
        self.n_bytes = 0

    def append(self, pcm: bytes, *, end: bool) -> None:
        """Append sound. An odd last byte is dropped."""
        sound = np.frombuffer(pcm, dtype="<i2", count=len(pcm) // 2)
        if len(sound):
            self._chunks.append(sound)
            self.n_bytes += len(pcm)
        self.is_complete = self.is_complete or end

    def fade(self, n_samples: int) -> None:
        """Fade out within `n_samples`."""
        self._fading = faded_out(self._next(n_samples)) if n_samples > 0 else np.zeros(0, np.int16)

    @property
    def is_over(self) -> bool:
        return self._fading is not None and not len(self._fading)

    def take(self, n_samples: int) -> Samples:
        """The next frame; shorter if there is not enough sound."""
        if self._fading is None:
            return self._next(n_samples)
        piece, self._fading = self._fading[:n_samples], self._fading[n_samples:]
        return piece

    def _next(self, n_samples: int) -> Samples:
        pieces: list[Samples] = []
        missing = n_samples
        while missing and self._rewind():
            piece = self._chunks[self._index][self._offset : self._offset + missing]
            pieces.append(piece)
            missing -= len(piece)
            self._offset += len(piece)
            if self._offset == len(self._chunks[self._index]):
                self._index, self._offset = self._index + 1, 0
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else np.zeros(0, np.int16)

    def _rewind(self) -> bool:
        """Whether there is a chunk to read. At the end, rewind to the first one."""
        if self._index == len(self._chunks) and self.is_complete:
            self._index = 0
        return self._index < len(self._chunks)


class Bridges:
    """All streams of a process with bridges or music. Owned by the tick."""

    def __init__(self) -> None:
        self._sources: dict[int, dict[int, Stream]] = {}
        """By listener: the streams that it hears."""
        self._listeners: dict[int, Stream] = {}
        self._frames: dict[tuple[int, int], Samples] = {}
        """The last frame of each stream that has listeners, by stream number and rate."""
        self._music: dict[int, _Music] = {}
        self._muted: dict[str, set[int]] = {track: set() for track in TRACKS}

    # -- orders ------------------------------------------------------------------------------------------------------------------------

    def join(self, listener: Stream, source: Stream) -> None:
        """Let `listener` hear `source`. Raises ValueError if they are the same, or if the listener's rate is not available."""
        if listener is source:
            raise ValueError("a stream cannot be joined to itself")
        if listener.rate_hz not in _RATES_HZ:
            raise ValueError(f"cannot bridge at {listener.rate_hz} Hz")
        self._listeners[listener.number] = listener
        self._sources.setdefault(listener.number, {})[source.number] = source
        source.n_listeners = self._count_listeners(source.number)

    def part(self, stream: int, partner: int = 0) -> None:
        """End the bridge between `stream` and `partner` (0: all partners)."""
        for listener, sources in list(self._sources.items()):
            for number, source in list(sources.items()):
                if stream in (listener, number) and (not partner or partner in (listener, number)):
                    del sources[number]
                    source.n_listeners = self._count_listeners(number)
                    if not source.n_listeners:
                        self._frames = {key: frame for key, frame in self._frames.items() if key[0] != number}
            if not sources:
                del self._sources[listener], self._listeners[listener]

    def mute(self, stream: int, track: str, *, muted: bool) -> None:
        """Mute or unmute one track of a stream. Raises ValueError for an unknown track."""
        if track not in self._muted:
            raise ValueError(f"unknown track {track!r}")
        (self._muted[track].add if muted else self._muted[track].discard)(stream)

    def queue_music(self, stream: int, pcm: bytes, *, end: bool, max_bytes: int = MAX_MUSIC_BYTES) -> None:
        """Append to the music of `stream`. Music that is complete or fading is replaced.

        Raises ValueError if it would exceed `max_bytes`; the music then ends with what it has.
        """
        music = self._music.get(stream)
        if music is not None and not music.is_complete and music.n_bytes + len(pcm) > max_bytes:
            music.is_complete = True
            raise ValueError(f"music of more than {max_bytes} bytes")
        if music is None or music.is_complete:
            music = self._music[stream] = _Music()
        music.append(pcm, end=end)

    def stop_music(self, stream: int, fade: int) -> None:
        """Fade the music out within `fade` samples."""
        music = self._music.get(stream)
        if music is not None:
            music.is_complete = True
            music.fade(fade)

    def forget(self, stream: int) -> None:
        """Drop the state of a closed stream."""
        self.part(stream)
        self._music.pop(stream, None)
        for muted in self._muted.values():
            muted.discard(stream)

    def _count_listeners(self, number: int) -> int:
        return sum(number in sources for sources in self._sources.values())

    # -- the tick ----------------------------------------------------------------------------------------------------------------------

    def take(self, hearing: Heard) -> None:
        """After the receiving half: store the frames of streams that have listeners."""
        self._frames = {}
        for listener, sources in self._sources.items():
            rate_hz = self._listeners[listener].rate_hz
            for number in sources:
                frame = None if (number, rate_hz) in self._frames else hearing.heard(number, rate_hz)
                if frame is not None:
                    self._frames[number, rate_hz] = frame.copy()

    def mix(self, frames: Mapping[int, Samples]) -> None:
        """In the sending half: add to the frames that are about to be sent, in place. `frames` is by stream."""
        for number in self._muted["plays"]:
            if (frame := frames.get(number)) is not None:
                frame[:] = 0
        rounds = self._heard_by(frames)
        while any(rounds):
            _add_all([sources.pop() for sources in rounds if sources])
        if self._music:
            self._mix_music(frames)

    def _heard_by(self, frames: Mapping[int, Samples]) -> list[list[tuple[Samples, Samples]]]:
        """For each sending listener: its frame, paired with each frame to be added to it."""
        found: list[list[tuple[Samples, Samples]]] = []
        silent, partner_muted = self._muted["caller"], self._muted["partner"]
        for listener, sources in self._sources.items():
            frame = frames.get(listener)
            if frame is None or listener in partner_muted:
                continue
            rate_hz = len(frame) * 1000 // FRAME_MS
            heard = [self._frames.get((number, rate_hz)) for number in sources if number not in silent]
            found.append([(frame, one) for one in heard if one is not None])
        return found

    def _mix_music(self, frames: Mapping[int, Samples]) -> None:
        for number, music in list(self._music.items()):
            frame = frames.get(number)
            if frame is not None:
                piece = music.take(len(frame))
                add_saturated(frame[: len(piece)], piece)
            if music.is_over:
                del self._music[number]


def _add_all(pairs: list[tuple[Samples, Samples]]) -> None:
    """Add the second of each pair to the first, clipped.

    No frame is the first of two pairs. Frames of equal length are added in one batch.
    """
    for length in {len(frame) for frame, _ in pairs}:
        chosen = [pair for pair in pairs if len(pair[0]) == length]
        total = np.stack([frame for frame, _ in chosen]).astype(np.int32)
        total += np.stack([sound for _, sound in chosen])
        np.clip(total, -32768, 32767, out=total)
        for (frame, _), row in zip(chosen, total.astype(np.int16), strict=True):
            frame[:] = row
