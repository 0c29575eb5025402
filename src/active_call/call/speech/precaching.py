"""`POST /precache`: synthesises a sound in advance, by the rules of a call, and stores it for the calls that will play it.

A request enters, the key of the stored sound leaves. Incomplete sound is not stored. Knows no HTTP.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
from msgspec import Struct

from active_call.agent.reply.speakable import as_pronounced
from active_call.base.errors import ConfigError, MediaError, ProviderError
from active_call.base.trust import NO_TRUST, Trust
from active_call.call.dependencies import CallDependencies
from active_call.call.opening.options import merged
from active_call.contract.options import TtsOption
from active_call.contract.requests import PrecacheSpeech
from active_call.contract.wire import ContractError
from active_call.providers.base import speech_of
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.providers.usage.metering import metered_by

MAX_TEXT_CHARS: Final = 10_000
"""About ten minutes of speech."""
MAX_KEY_CHARS: Final = 256


class Precached(Struct, frozen=True):
    """A stored sound. `n_bytes`: its PCM, s16le mono at the synthesiser's rate. `was_kept`: it existed before."""

    key: str
    n_bytes: int
    was_kept: bool


class Voices(Protocol):
    """See `providers.registry.Engines`."""

    def get_voice(self, option: TtsOption, trust: Trust) -> CachedTextToSpeech: ...


async def precache(request: PrecacheSpeech, services: CallDependencies, voices: Voices) -> Precached:
    """Store the sound of `request.text`, unless it exists.

    Raises ContractError and ConfigError for an invalid request, ProviderError if the vendor fails, MediaError if it cannot be stored.
    """
    text = _checked_text(request.text)
    named = _checked_key(request)
    if services.speech is None:
        raise MediaError("this server keeps no sounds")
    option = merged(request.option or TtsOption(), services.defaults.tts or TtsOption())
    synthesiser = _synthesiser_of(request.option or TtsOption(), option, voices, NO_TRUST.with_keys(request.keys))
    made_of = synthesiser.voice.key_of(text, request.speaker)
    key = named or made_of
    n_kept = await services.speech.n_bytes_kept(key, made_of)
    if n_kept is not None:
        return Precached(key, n_kept, was_kept=True)
    with metered_by(services.spending.note):
        chunks = [chunk.pcm async for chunk in speech_of(synthesiser, text, speaker=request.speaker or None)]
    if not any(chunks):
        raise ProviderError(synthesiser.name, "returned no sound for this text")
    await services.speech.keep(key, chunks, synthesiser.capabilities.rate_hz, made_of)
    return Precached(key, sum(map(len, chunks)), was_kept=False)


def _checked_text(text: str) -> str:
    text = text.strip()
    if not text:
        raise ContractError("text", "empty; expected the text to speak")
    _check_is_unicode("text", text)
    text = as_pronounced(text) or text
    if len(text) > MAX_TEXT_CHARS:
        raise ContractError("text", f"too long: expected at most {MAX_TEXT_CHARS} characters, found {len(text)}")
    return text


def _checked_key(request: PrecacheSpeech) -> str | None:
    path, key = "cacheKey", request.cache_key
    if key is None and request.option is not None:
        path, key = "option.cacheKey", request.option.cache_key
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        advice = "leave it out to derive the key from text and voice"
        raise ContractError(path, f"expected 1 to {MAX_KEY_CHARS} characters ({advice}), found {len(key)}")
    _check_is_unicode(path, key)
    return key


def _check_is_unicode(path: str, text: str) -> None:
    """JSON may contain half a surrogate pair, which can neither be spoken nor returned."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ContractError(path, f"expected Unicode text, found {text[error.start]!r}") from error


def _synthesiser_of(asked: TtsOption, option: TtsOption, voices: Voices, trust: Trust) -> CachedTextToSpeech:
    """The synthesiser that a call with the same key set would choose. An error names the place in the request if it comes from there."""
    try:
        return voices.get_voice(option, trust)
    except ConfigError as error:
        if error.key == "keys":
            raise ContractError("keys", error.reason) from error
        for field in msgspec.structs.fields(TtsOption):
            if error.key == f"tts.{field.name}" and getattr(asked, field.name) is not None:
                raise ContractError(f"option.{field.encode_name}", error.reason) from error
        raise
