"""The embedded recogniser for calls in virtual time: the same adapter over the same model, which is asked in this process.

What it hears of a stretch of sound is kept, also in a file, so that the same calls can be run again and again with other settings. The
virtual time that an answer takes is that of a free core.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ
from active_call.providers.asr import moonshine_engine
from active_call.providers.asr.moonshine_engine import Effort
from active_call.providers.asr.partials import PartialRecognition
from active_call.providers.asr.utterances import Transcript
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities

BASE_S, SHARE = 0.035, 0.035
"""How long the tiny model takes for an utterance, and for each second of it, on a free core of the machine of benchmarks/RESULTS.md."""


_RECOGNISE: Mapping[Effort, Callable[[bytes, tuple[str, ...]], tuple[object, ...]]] = {
    Effort.DRAFT: moonshine_engine.draft,
    Effort.USUAL: moonshine_engine.forecast,
    Effort.THOROUGH: moonshine_engine.transcribe_again,
}


class CachedRecogniser:
    """The model with a cache of its results. `file`: where the results are stored, and read from at the beginning."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._heard: dict[str, list[object]] = {}
        if file is not None and file.exists():
            self._heard = json.loads(file.read_text(encoding="utf-8"))
        self.n_asked = 0

    def hear(self, pcm: bytes, phrases: tuple[str, ...] = (), *, effort: Effort = Effort.USUAL) -> Transcript:
        """Recognise `pcm` (s16le, 16 kHz); `phrases` are expected."""
        self.n_asked += 1
        name = hashlib.blake2b(pcm + "|".join((effort.name, *phrases)).encode(), digest_size=12).hexdigest()
        if name not in self._heard:
            self._heard[name] = list(_RECOGNISE[effort](pcm, phrases))
        text, confidence, *is_clear = self._heard[name]
        return Transcript(str(text), float(str(confidence)), is_clear=is_clear == [True])

    def rate(self, pcm: bytes, texts: tuple[str, ...]) -> tuple[float, ...]:
        """The natural log of the probability of each text in `pcm`."""
        name = hashlib.blake2b(pcm + "|".join(("rate", *texts)).encode(), digest_size=12).hexdigest()
        if name not in self._heard:
            self._heard[name] = list(moonshine_engine.rate(pcm, texts))
        return tuple(float(str(rate)) for rate in self._heard[name])

    def keep(self) -> None:
        """Store the results."""
        if self._file is not None:
            self._file.write_text(json.dumps(self._heard), encoding="utf-8")


class OfflineRecogniser:
    """A `SpeechToText` in virtual time."""

    name = "moonshine"
    capabilities = SpeechToTextCapabilities(languages=("en",), partials=True)

    def __init__(self, cached: CachedRecogniser) -> None:
        self._cached = cached

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> PartialRecognition:
        """Recognise one caller."""
        sure = moonshine_engine.SURE_CONFIDENCE
        again, draft, rate = self._transcribe_again, self._draft, self._rate
        return PartialRecognition(self._transcribe, on_event, sure_confidence=sure, transcribe_again=again, draft=draft, rate=rate)

    async def close(self) -> None:
        """Nothing to close."""

    async def _transcribe(self, pcm: bytes, background: bool, phrases: tuple[str, ...]) -> Transcript:
        await asyncio.sleep(_takes_s(pcm))
        heard = self._cached.hear(pcm, phrases)
        return heard if background or is_sure(heard) else await self._transcribe_again(pcm, phrases)

    async def _transcribe_again(self, pcm: bytes, phrases: tuple[str, ...]) -> Transcript:
        await asyncio.sleep(_takes_s(pcm) * (1 + len(moonshine_engine.PACES)))
        return self._cached.hear(pcm, phrases, effort=Effort.THOROUGH)

    async def _draft(self, pcm: bytes, phrases: tuple[str, ...]) -> Transcript:
        await asyncio.sleep(_takes_s(pcm))
        return self._cached.hear(pcm, phrases, effort=Effort.DRAFT)

    async def _rate(self, pcm: bytes, texts: tuple[str, ...]) -> tuple[float, ...]:
        await asyncio.sleep(_takes_s(pcm))
        return self._cached.rate(pcm, texts)


def is_sure(heard: Transcript) -> bool:
    """Whether `heard` is not recognised again."""
    return not heard.text or heard.is_clear is True


def _takes_s(pcm: bytes) -> float:
    return BASE_S + SHARE * len(pcm) / (BYTES_PER_SAMPLE * LISTEN_RATE_HZ)
