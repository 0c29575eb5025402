"""Another voice for single sentences: a mood, a language. Also what a call is heard and spoken in after a change of language.

In: the `option` of a `tts` command, the call's own choice. Out: a synthesiser; None if the call's own does as well. A mood is given to
engines that understand one and left out for all others: it must never cost a sentence.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from active_call.base.errors import ActiveCallError
from active_call.base.trust import NO_TRUST, Trust
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.text_to_speech import TextToSpeech


class Synthesisers(Protocol):
    """Where engines come from."""

    def get_synthesiser(self, option: TtsOption, trust: Trust) -> TextToSpeech:
        """The engine of `option`. Raises ConfigError."""
        ...


def voice_for(
    wanted: TtsOption | None, own: TtsOption, engines: Synthesisers, current: TextToSpeech | None, trust: Trust = NO_TRUST
) -> TextToSpeech | None:
    """The synthesiser for a sentence with the option `wanted`, in a call that speaks by `own` with `current` and has that `trust`."""
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
        return None  # the call's own voice says it


def spoken_in(own: TtsOption, language: str) -> TtsOption:
    """`own` for another language: its voice is of the language before, and left out."""
    if own.language is not None and _primary(own.language) == _primary(language):
        return own
    return msgspec.structs.replace(own, language=language, speaker=None, model=_engine_model(own))


def heard_in(own: AsrOption, language: str) -> AsrOption:
    """`own` for another language."""
    return msgspec.structs.replace(own, language=language)


def _engine_model(own: TtsOption) -> str | None:
    """`model` is another name of `voice` for the engines of this machine; a vendor's model speaks every language."""
    return own.model if own.provider == "openai" else None


def _primary(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].lower()
