"""The speech or sound of one playId: its pieces, the progress of their sound, and the jobs that produce it. Knows no stream."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from active_call.call.speech.leading_silence import LeadingSilence
from active_call.contract.options import TtsOption

INLINE_AUDIO_RATE_HZ = 16_000
AHEAD_MS = 4000.0
"""How much of a file may wait in the media process; `PlayLow` asks for more when two seconds are left."""
AGAIN = "\x1f"
"""Separates a number from the media process's name of a play, used if another play of that playId has not ended."""


def told_id(name: str) -> str:
    """The playId of a play, from its name in the media process."""
    return name.partition(AGAIN)[0]


@dataclass(slots=True)
class Piece:
    """One part of a play: its words and the length of its sound."""

    text: str
    duration_ms: float = 0.0
    is_whole: bool = False
    """All of its sound has been sent to the media process."""


class GoesOn(Protocol):
    """Speech that accepts further text."""

    def takes(self, job: Job) -> bool:
        """Whether the text of `job` belongs to it."""
        ...

    def add(self, piece: Piece) -> None:
        """Add text."""
        ...

    def end(self) -> None:
        """No more text follows. May be called again."""
        ...


@dataclass(slots=True)
class Play:
    """The speech or sound of one playId without a gap. `closed`: no further command is expected. `stopped`: it was cut off."""

    id: str
    """Its name in the media process."""
    pieces: list[Piece] = field(default_factory=list)
    auto_hangup: bool = False
    closed: bool = False
    stopped: bool = False
    failed: bool = False
    """Some of its sound failed; its later pieces are left out."""
    finishing: bool = False
    """It ends with the current command; later commands are left out."""
    is_over: bool = False
    """The media process reported its end."""
    is_known: bool = False
    """The media process knows it, and reports its end."""
    is_ended: bool = False
    """The media process knows that nothing more follows."""
    written: GoesOn | None = None
    """The stream that speaks its text while it is being written, if there is one: later text goes there."""
    n_jobs: int = 0
    """Its commands without complete sound."""
    lead: LeadingSilence = field(default_factory=LeadingSilence)
    room_ms: float = AHEAD_MS
    """How much more of a file the media process accepts."""
    started_at: float | None = None
    """When its first packet left, in monotonic seconds."""
    follows: Play | None = None
    """The part of the same playId before it, whose end the media process already knew when further words came."""
    is_told: bool = False
    """Its `trackStart`, or that of a part before it, was sent."""
    earlier: list[Piece] = field(default_factory=list)
    """The pieces of the parts before it that are over."""
    heard_ms: float = 0.0
    queued_ms: float = 0.0
    """How much of it and of those parts was heard, and was there; 0 until the media process has reported an end."""
    cut_ms: float = 0.0
    """How much of the parts behind it was cut off before they began."""
    has_news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is room, or the play was stopped."""

    @property
    def play_id(self) -> str:
        """The playId in events."""
        return told_id(self.id)

    @property
    def text(self) -> str:
        """The words of all its pieces."""
        return " ".join(piece.text for piece in self.pieces if piece.text)

    @property
    def takes_sound(self) -> bool:
        """Sound produced for it now can still be played."""
        return not (self.stopped or self.is_over)

    @property
    def ends_early(self) -> bool:
        """None of its further commands is started."""
        return self.finishing or self.failed

    @property
    def is_heard_to_its_end(self) -> bool:
        """It is complete once the media process has played everything it was given."""
        return all(piece.is_whole for piece in self.pieces)

    def is_over_with(self, heard_ms: float, queued_ms: float) -> None:
        """The media process reports its end."""
        self.heard_ms += heard_ms
        self.queued_ms += max(queued_ms, heard_ms)

    def go_on_with(self, following: Play) -> None:
        """The end of this part is not that of its playId, because `following` has its further words."""
        following.earlier = [*self.earlier, *self.pieces]
        following.heard_ms, following.queued_ms = self.heard_ms, self.queued_ms
        following.is_told |= self.is_told
        following.auto_hangup |= self.auto_hangup
        following.failed |= self.failed

    def boundaries(self, rate_hz: int) -> list[int]:
        """The ends of its commands, in samples at `rate_hz`, as far as their sound is complete."""
        ends = itertools.accumulate(piece.duration_ms for piece in itertools.takewhile(lambda piece: piece.is_whole, self.pieces))
        return [round(end_ms * rate_hz / 1000) for end_ms in ends]


class Job(Struct, frozen=True):
    """Work that produces sound: `pcm` at `rate_hz`, a file or URL, or text."""

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
    """For a file: how much of its beginning to skip."""
    repeats: bool = False
    option: TtsOption | None = None
    """The command's voice options."""
