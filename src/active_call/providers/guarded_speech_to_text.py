"""The provider wall of a recogniser: what it reports is checked before the call believes it, and no method of it raises.

Results of any shape enter; `Recognised` with valid Unicode, known numbers and a confidence of 0 to 1 leaves. A recogniser that fails while
it is fed is told once, as a ProviderError, and its call goes on without a result.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.repair import valid_unicode
from active_call.providers.base import Recognised, Recognition, SpeechToText
from active_call.providers.vendor_values import text_of

logger = logging.getLogger(__name__)

MAX_TEXT_CHARS = 20_000
"""Of one utterance: twenty minutes of fast speech."""


class GuardedSpeechToText:
    """A recogniser behind the wall."""

    def __init__(self, inner: SpeechToText) -> None:
        self.name = inner.name
        self.inner = inner

    def start(
        self,
        on_result: Callable[[Recognised], None],
        on_error: Callable[[Exception], None],
        *,
        language: str | None = None,
    ) -> GuardedRecognition:
        """Raises ActiveCallError."""

        def tell(result: Any) -> None:
            try:
                checked = checked_result(self.name, result)
            except ProviderError as error:
                on_error(error)
            else:
                on_result(checked)

        return GuardedRecognition(self, self.inner.start(tell, on_error, language=language), on_error)

    async def warm(self) -> None:
        """Load what the engine loads at first use."""
        warm = getattr(self.inner, "warm", None)
        if warm is not None:
            await warm()

    async def close(self) -> None:
        await self.inner.close()


class GuardedRecognition:
    """One caller. It keeps its recogniser in use."""

    def __init__(self, recogniser: GuardedSpeechToText, inner: Recognition, on_error: Callable[[Exception], None]) -> None:
        self._recogniser = recogniser
        self._inner = inner
        self._on_error = on_error
        self._has_failed = False
        self._push = inner.push_audio

    def push_audio(self, pcm: bytes, sample: int) -> None:
        try:
            self._push(pcm, sample)
        except Exception as error:  # noqa: BLE001 - the provider wall
            self._fail(error)

    def start_utterance(self, index: int, sample: int) -> None:
        self._do(lambda: self._inner.start_utterance(index, sample))

    def end_utterance(self, index: int, sample: int) -> None:
        self._do(lambda: self._inner.end_utterance(index, sample), is_awaited=True)

    def cancel_utterance(self, index: int) -> None:
        self._do(lambda: self._inner.cancel_utterance(index))

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self._do(lambda: self._inner.expect_phrases(tuple(valid_unicode(phrase) for phrase in phrases)))

    async def close(self) -> None:
        try:
            await self._inner.close()
        except Exception as error:  # noqa: BLE001 - the provider wall
            self._fail(error)

    def _do(self, work: Callable[[], None], *, is_awaited: bool = False) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the provider wall
            self._fail(error, always=is_awaited)

    def _fail(self, error: Exception, *, always: bool = False) -> None:
        """Tell it once; of an utterance whose result is waited for, each time."""
        if self._has_failed and not always:
            return
        self._has_failed = True
        logger.warning("provider failed", extra={"provider": self._recogniser.name, "reason": str(error)}, exc_info=error)
        is_ours = isinstance(error, ActiveCallError)
        self._on_error(error if is_ours else ProviderError(self._recogniser.name, f"unforeseen {type(error).__name__}: {error}"))


def checked_result(provider: str, result: Any) -> Recognised:
    """`result` with values that everybody can use. Raises ProviderError for one that says nothing usable."""
    if not isinstance(result, Recognised) or not isinstance(result.index, int):
        raise ProviderError(provider, f"a result is no result: {type(result).__name__}")
    return Recognised(
        text=valid_unicode(text_of(result.text))[:MAX_TEXT_CHARS],
        final=bool(result.final),
        index=result.index,
        start_sample=_sample(result.start_sample),
        end_sample=_sample(result.end_sample),
        confidence=_share(result.confidence),
    )


def _sample(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else 0


def _share(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(1.0, max(0.0, float(value)))
