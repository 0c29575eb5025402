"""What is said or played under one playId: its pieces, how far their sound is made, and the jobs that make it. Knows no stream."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Protocol

from active_call.call.speech.leading_silence import LeadingSilence
from active_call.contract.options import TtsOption

INLINE_AUDIO_RATE_HZ = 16_000
AHEAD_MS = 4000.0
"""So much of a file may wait in the media process; `PlayLow` asks for more when two seconds are left."""
AGAIN = "\x1f"
"""Stands in the media process's name of a play before a number, where another play of that playId is not over yet."""


def told_id(name: str) -> str:
    """The playId of a play by its name in the media process."""
    return name.partition(AGAIN)[0]


@dataclass(slots=True)
class Piece:
    """One stretch of a play: its words and how long it sounds."""

    text: str
    duration_ms: float = 0.0
    is_whole: bool = False
    """All of its sound has been sent to the media process."""


class GoesOn(Protocol):
    """Speech that takes more words."""

    def takes(self, job: Job) -> bool:
        """Whether the words of `job` belong to it."""
        ...

    def add(self, piece: Piece) -> None:
        """More words."""
        ...

    def end(self) -> None:
        """No more words come. Harmless a second time."""
        ...


@dataclass(slots=True)
class Play:
    """What is said or played under one playId without a gap. `closed`: no further command needs to come. `stopped`: it was cut."""

    id: str
    """Its name in the media process."""
    pieces: list[Piece] = field(default_factory=list)
    auto_hangup: bool = False
    closed: bool = False
    stopped: bool = False
    failed: bool = False
    """Sound of it could not be made; its later pieces are left out."""
    finishing: bool = False
    """It ends with the command that is heard now; later commands are left out."""
    is_over: bool = False
    """The media process reported its end."""
    is_ended: bool = False
    """The media process was told that nothing more comes."""
    written: GoesOn | None = None
    """What says its words while they are written, where that is so: later words go there."""
    n_jobs: int = 0
    """Commands of it whose sound is not made yet."""
    lead: LeadingSilence = field(default_factory=LeadingSilence)
    room_ms: float = AHEAD_MS
    """How much more of a file the media process takes at present."""
    started_at: float | None = None
    """When its first packet left, in monotonic seconds."""
    has_news: asyncio.Event = field(default_factory=asyncio.Event)
    """There is room, or the play was stopped."""

    @property
    def play_id(self) -> str:
        """What events call it."""
        return told_id(self.id)

    @property
    def text(self) -> str:
        """The words of all its pieces."""
        return " ".join(piece.text for piece in self.pieces if piece.text)

    @property
    def takes_sound(self) -> bool:
        """Sound that is made for it now can be heard."""
        return not (self.stopped or self.is_over)

    @property
    def ends_early(self) -> bool:
        """No further command of it is begun."""
        return self.finishing or self.failed

    @property
    def is_heard_to_its_end(self) -> bool:
        """Nothing of it is missing, once the media process has played all that it was given."""
        return all(piece.is_whole for piece in self.pieces)

    def boundaries(self, rate_hz: int) -> list[int]:
        """Where its commands end, in samples at `rate_hz`, as far as their sound is made."""
        ends = itertools.accumulate(piece.duration_ms for piece in itertools.takewhile(lambda piece: piece.is_whole, self.pieces))
        return [round(end_ms * rate_hz / 1000) for end_ms in ends]


@dataclass(frozen=True, slots=True)
class Job:
    """Something to make sound of: `pcm` at `rate_hz`, a file or URL, or text."""

    play: Play
    piece: Piece
    text: str = ""
    source: str = ""
    pcm: bytes = b""
    rate_hz: int = INLINE_AUDIO_RATE_HZ
    speaker: str | None = None
    speed: float | None = None
    cache_key: str = ""
    skipped_ms: int = 0
    """Of a file: so much of its beginning is left out."""
    repeats: bool = False
    option: TtsOption | None = None
    """What the command says of its voice."""
