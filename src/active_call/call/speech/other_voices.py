"""Another voice for single sentences (an emotion, a language), and the engines after a change of language.

The `option` of a `tts` command and the call's own settings enter; a synthesiser leaves, None if the call's own is suitable. An emotion is
passed to engines that support it and left out for others: it must never cost a sentence.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from active_call.base.errors import ActiveCallError
from active_call.base.trust import NO_TRUST, Trust
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.text_to_speech import TextToSpeech


class Synthesisers(Protocol):
    """See `call/dependencies.EngineSource`."""

    def get_synthesiser(self, option: TtsOption, trust: Trust) -> TextToSpeech:
        """The engine of `option`. Raises ConfigError."""
        ...


def voice_for(
    wanted: TtsOption | None, own: TtsOption, engines: Synthesisers, current: TextToSpeech | None, trust: Trust = NO_TRUST
) -> TextToSpeech | None:
    """The synthesiser for a sentence with option `wanted`, in a call that speaks by `own` with `current` and has that `trust`."""
    if wanted is None or not (wanted.emotion or wanted.language):
        return None
    option = spoken_in(own, wanted.language) if wanted.language else own
    understands = current is not None and current.capabilities.emotions
    if wanted.emotion and understands:
        option = msgspec.structs.replace(option, emotion=wanted.emotion)
    if option == own:
        return None
    try:
        return engines.get_synthesiser(option, trust)
    except ActiveCallError:
        return None  # the call's own voice speaks it


def spoken_in(own: TtsOption, language: str) -> TtsOption:
    """`own` for another language, without its voice, which belongs to the previous language."""
    if own.language is not None and _primary(own.language) == _primary(language):
        return own
    return msgspec.structs.replace(own, language=language, speaker=None, model=_engine_model(own))


def heard_in(own: AsrOption, language: str) -> AsrOption:
    """`own` for another language."""
    return msgspec.structs.replace(own, language=language)


def _engine_model(own: TtsOption) -> str | None:
    """For local engines `model` is another name of `voice`; a vendor's model speaks every language."""
    return own.model if own.provider == "openai" else None


def _primary(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].lower()
