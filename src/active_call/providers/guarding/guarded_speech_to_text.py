"""The provider wall of a recognition engine: its events are checked before the call uses them, and no method of a stream raises.

Events of any shape enter; events with valid Unicode, known numbers and a confidence of 0 to 1 leave. A stream that fails while sound is
pushed reports it once, as a ProviderError, and its call continues without a result.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.repair import valid_unicode
from active_call.base.world import World
from active_call.providers.guarding.guard import Guard, limits_of
from active_call.providers.sources import warm
from active_call.providers.speech_to_text import (
    Alternative,
    Failed,
    Final,
    Partial,
    RecognitionEvent,
    RecognitionStream,
    SpeechToText,
    TakesOverlaps,
    TurnChange,
    TurnEvent,
    Whole,
    Word,
)
from active_call.providers.usage.billing import billed_by
from active_call.providers.usage.metering import current_meter
from active_call.providers.usage.speech_usage import SoundMeter
from active_call.providers.vendor_values import text_of

logger = logging.getLogger(__name__)

MAX_TEXT_CHARS = 20_000
"""The longest text of one utterance: twenty minutes of fast speech."""
MAX_ALTERNATIVES = 20
MAX_WORDS = 4_000
"""The most words of one utterance."""
MAX_SAMPLE = 2**53
"""Numbers beyond this cannot be written as JSON everywhere."""


class GuardedSpeechToText:
    """A recognition engine behind the wall. `guard` holds its limits, and refuses new streams while the circuit is open."""

    def __init__(self, inner: SpeechToText, world: World, *, default_model: str = "") -> None:
        self.name = inner.name
        self.billed = billed_by("asr", inner, default_model)
        self.capabilities = inner.capabilities
        self.guard = Guard(inner.name, world, limits_of(inner))
        self.inner = inner

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> GuardedRecognition:
        """Raises ActiveCallError."""

        def tell(event: Any) -> None:
            try:
                checked = checked_event(self.name, event)
            except ProviderError as error:
                on_event(Failed(error, _index_of(event)))
            else:
                on_event(checked)

        try:
            stream = self.inner.open(tell, language=language)
        except ActiveCallError:
            raise
        except Exception as error:  # the provider wall
            logger.warning("provider failed", extra={"provider": self.name, "reason": str(error)}, exc_info=error)
            raise ProviderError(self.name, f"unforeseen {type(error).__name__}: {error}") from error
        return GuardedRecognition(self, stream, on_event)

    async def warm(self) -> None:
        """Load the engine's models."""
        await warm(self.inner)

    async def close(self) -> None:
        await self.inner.close()


class GuardedRecognition:
    """One caller. It holds a reference to its engine."""

    def __init__(self, engine: GuardedSpeechToText, inner: RecognitionStream, on_event: Callable[[RecognitionEvent], None]) -> None:
        self._engine = engine
        self._inner = inner
        self._on_event = on_event
        self._has_failed = False
        self._push = inner.push_audio
        self._used = SoundMeter(engine.billed, current_meter(), inner)

    def push_audio(self, pcm: bytes, sample: int) -> None:
        try:
            self._push(pcm, sample)
            self._used.pushed(len(pcm))
        except Exception as error:  # noqa: BLE001 - the provider wall
            self._fail(error)

    def start_utterance(self, index: int, sample: int) -> None:
        self._do(lambda: self._inner.start_utterance(index, sample))

    def end_utterance(self, index: int, sample: int) -> None:
        self._do(lambda: self._inner.end_utterance(index, sample), awaited_index=index)

    def cancel_utterance(self, index: int) -> None:
        self._do(lambda: self._inner.cancel_utterance(index))

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self._do(lambda: self._inner.expect_phrases(tuple(valid_unicode(phrase) for phrase in phrases)))

    def note_overlap(self, is_over_agent: bool) -> None:
        inner = self._inner
        if isinstance(inner, TakesOverlaps):
            self._do(lambda: inner.note_overlap(is_over_agent))

    async def close(self) -> None:
        try:
            await self._inner.close()
        except Exception as error:  # noqa: BLE001 - the provider wall
            self._fail(error)
        finally:
            self._used.report()

    def _do(self, work: Callable[[], None], *, awaited_index: int | None = None) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the provider wall
            self._fail(error, awaited_index)

    def _fail(self, error: Exception, awaited_index: int | None = None) -> None:
        """Report the failure once, and again for each utterance whose result is awaited."""
        if self._has_failed and awaited_index is None:
            return
        self._has_failed = True
        name = self._engine.name
        logger.warning("provider failed", extra={"provider": name, "reason": str(error)}, exc_info=error)
        if not isinstance(error, ActiveCallError):
            error = ProviderError(name, f"unforeseen {type(error).__name__}: {error}")
        self._on_event(Failed(error, awaited_index))


def checked_event(provider: str, event: Any) -> RecognitionEvent:
    """`event` with valid values. Raises ProviderError for an event without usable content."""
    match event:
        case Partial() | Final() if isinstance(event.index, int):
            checked = type(event)(
                text=valid_unicode(text_of(event.text))[:MAX_TEXT_CHARS],
                index=event.index,
                start_sample=_sample(event.start_sample),
                end_sample=_sample(event.end_sample),
                confidence=_share(event.confidence),
                words=_words(event.words),
            )
            if not (isinstance(event, Final) and isinstance(checked, Final)):
                return checked
            return replace(checked, whole=_whole(event.whole), alternatives=_alternatives(event.alternatives))
        case TurnEvent() if isinstance(event.change, TurnChange):
            text = valid_unicode(text_of(event.text))[:MAX_TEXT_CHARS]
            return TurnEvent(event.change, _sample(event.sample), text, _share(event.confidence))
        case Failed() if isinstance(event.error, ActiveCallError):
            return event
        case _:
            raise ProviderError(provider, f"unexpected result: {type(event).__name__}")


def _whole(value: Any) -> Whole | None:
    if not isinstance(value, Whole) or not isinstance(value.first_index, int):
        return None
    return Whole(value.first_index, valid_unicode(text_of(value.text))[:MAX_TEXT_CHARS])


def _alternatives(values: Any) -> tuple[Alternative, ...] | None:
    if not isinstance(values, tuple):
        return None
    return tuple(_alternative(value) for value in values[:MAX_ALTERNATIVES] if isinstance(value, Alternative) and _is_finite(value.share))


def _alternative(value: Alternative) -> Alternative:
    return Alternative(valid_unicode(text_of(value.text))[:MAX_TEXT_CHARS], float(value.share))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _index_of(event: Any) -> int | None:
    index = getattr(event, "index", None)
    return index if isinstance(index, int) else None


def _words(words: Any) -> tuple[Word, ...]:
    if not isinstance(words, Sequence):
        return ()
    known = (word for word in words[:MAX_WORDS] if isinstance(word, Word))
    return tuple(
        Word(valid_unicode(text_of(word.text)), _sample(word.start_sample), _sample(word.end_sample), _share(word.confidence))
        for word in known
    )


def _sample(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value <= MAX_SAMPLE else 0


def _share(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        return None
    return float(min(1.0, max(0.0, value)))
