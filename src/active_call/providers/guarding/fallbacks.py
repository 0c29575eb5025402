"""The options of fallback engines: an option with `fallback` names enters, one option for each engine leaves, in order.

A fallback is selected by its name alone. It keeps settings that mean the same everywhere (language, rates, speed, volume, temperature) and
drops what belongs to the first vendor (server, credentials, model, voice, extra); its own defaults and the environment apply there. Pure.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec.structs import replace

from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.settings import LlmSettings

_Option = TypeVar("_Option", AsrOption, TtsOption)


def asr_chain(option: AsrOption) -> list[AsrOption]:
    """The engines of `option`, in order."""
    names = option.fallback or []
    fallbacks = [
        AsrOption(
            provider=name,
            language=option.language,
            keyterms=option.keyterms,
            samplerate=option.samplerate,
            buffer_size=option.buffer_size,
            start_when_answer=option.start_when_answer,
        )
        for name in names
    ]
    return [_without_fallback(option), *fallbacks]


def tts_chain(option: TtsOption) -> list[TtsOption]:
    """The engines of `option`, in order."""
    names = option.fallback or []
    fallbacks = [
        TtsOption(
            provider=name,
            language=option.language,
            samplerate=option.samplerate,
            speed=option.speed,
            volume=option.volume,
            emotion=option.emotion,
        )
        for name in names
    ]
    return [_without_fallback(option), *fallbacks]


def llm_chain(settings: LlmSettings) -> list[LlmSettings]:
    """The models of `settings`, in order."""
    fallbacks = [LlmSettings(name, temperature=settings.temperature, max_tokens=settings.max_tokens) for name in settings.fallback]
    return [replace(settings, fallback=(), hedge_after_s=None), *fallbacks]


def _without_fallback(option: _Option) -> _Option:
    return msgspec.structs.replace(option, fallback=None, hedge=None)


def hedge_after_s(option: AsrOption | TtsOption) -> float | None:
    """The time without usable output after which the next engine is asked as well; None: only after the current one has failed."""
    return None if option.hedge is None else option.hedge.after / 1000
