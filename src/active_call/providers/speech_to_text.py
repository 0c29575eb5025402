"""The interface of recognition engines: sound enters, partial and final texts, turn events and failures leave.

A stream belongs to one caller. The voice detector of the call marks utterances (`start_utterance` … `end_utterance`); an engine that
segments by itself listens to all sound, and answers each `end_utterance` with what it heard of that utterance. Sample numbers count the
caller's 16 kHz sound from the start of the call. An adapter raises ConfigError for settings that it cannot use, reports every later failure
as `Failed`, and never blocks the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

from msgspec import Struct

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import LISTEN_RATE_HZ


class Word(Struct, frozen=True):
    """A recognised word and its position. `confidence` is 0 to 1, None if the engine reports none."""

    text: str
    start_sample: int
    end_sample: int
    confidence: float | None = None


class Recognised(Struct, frozen=True):
    """The engine's text for utterance `index`: a `Partial` or a `Final`. `words` is empty if the engine reports none."""

    text: str
    index: int
    start_sample: int
    end_sample: int
    confidence: float | None = None
    words: tuple[Word, ...] = ()


class Partial(Recognised, frozen=True):
    """The whole text of the utterance so far. A later event replaces it."""


class Whole(Struct, frozen=True):
    """The text of several utterances from `first_index` on, recognised as one: surer than their own texts."""

    first_index: int
    text: str


class Alternative(Struct, frozen=True):
    """Another text of the same sound. `share`: how likely it is by its sound, as a multiple of the recognised text's likelihood."""

    text: str
    share: float


class Final(Recognised, frozen=True):
    """The answer to `end_utterance(index)`. An empty text: the speech was not understood."""

    whole: Whole | None = None
    """Set if the utterance continues earlier ones and they were recognised together."""
    alternatives: tuple[Alternative, ...] | None = None
    """Short replies that are nearly as likely, the likeliest first; none for a long or sure text. None: the engine rates none."""


class TurnChange(Enum):
    """A report of the engine's own turn detector about the caller's turn."""

    STARTED = "started"
    EAGER_END = "eager end"
    """The turn has probably ended: a reply may be prepared, but not spoken."""
    RESUMED = "resumed"
    """The caller continues after an eager end."""
    ENDED = "ended"


class TurnEvent(Struct, frozen=True):
    """A change of the caller's turn at `sample`. `text` is the turn's text so far, empty if the engine does not report it."""

    change: TurnChange
    sample: int
    text: str = ""
    confidence: float | None = None


class Failed(Struct, frozen=True):
    """With an `index`: that utterance has no text, and the stream continues. Without one: the stream has ended and sends no more events."""

    error: ActiveCallError
    index: int | None = None


RecognitionEvent = Partial | Final | TurnEvent | Failed


class RecognitionStream(Protocol):
    """Recognition of one caller. All methods return at once; events come by the callback of `open`, never from within a method.

    Every `end_utterance` is followed by exactly one `Final` or `Failed` of its index, unless the stream fails before.
    """

    def push_audio(self, pcm: bytes, sample: int) -> None:
        """s16le mono, 16 kHz, beginning at `sample`. Called all the time, during speech and between. An engine without `between_speech`
        gets only speech and the sound closely around it; gaps count as silence.
        """
        ...

    def start_utterance(self, index: int, sample: int) -> None:
        """Speech began at `sample`, slightly earlier than the sound pushed last."""
        ...

    def end_utterance(self, index: int, sample: int) -> None:
        """The utterance ended at `sample`. The engine finishes it now, without waiting for more silence."""
        ...

    def cancel_utterance(self, index: int) -> None:
        """The result of this utterance is no longer needed."""
        ...

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """What the caller is likely to say: a grammar for some engines, a hint for others. Called again when the scene changes."""
        ...

    async def close(self) -> None:
        """Free everything. No event comes after this returns."""
        ...


@runtime_checkable
class TakesOverlaps(Protocol):
    """An optional ability of a stream: it does more for speech over the agent's voice."""

    def note_overlap(self, is_over_agent: bool) -> None:
        """Whether the caller speaks over the agent's reply, which is paused until the final text decides. Short doubtful texts then have
        `Final.alternatives`, which take time.
        """
        ...


class SpeechToTextCapabilities(Struct, frozen=True):
    """What an engine can do. `languages` holds BCP 47 tags; empty: the vendor's list is not known here."""

    languages: tuple[str, ...] = ()
    partials: bool = False
    """It transcribes while the caller speaks, and sends `Partial`."""
    words: bool = False
    """`Final.words` holds the words with their times."""
    turn_events: bool = False
    sample_rates: tuple[int, ...] = (LISTEN_RATE_HZ,)
    """Rates in Hz that the engine accepts. An adapter whose engine does not accept 16 kHz resamples."""
    free_speech: bool = True
    """It understands any sentence. False: only the phrases given by `expect_phrases`."""
    phrases: bool = False
    """`expect_phrases` has an effect."""
    between_speech: bool = True
    """It needs the sound between utterances as well: it segments by itself, or its server counts time by sound. False: only speech is sent
    to it, which saves transport.
    """


class SpeechToText(Protocol):
    """A configured recognition engine."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> SpeechToTextCapabilities: ...

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> RecognitionStream:
        """Begin to recognise one caller. A connection is made in the background. Raises ConfigError for an unsupported language."""
        ...

    async def close(self) -> None: ...
