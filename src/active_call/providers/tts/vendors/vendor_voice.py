"""Shared by adapters of synthesis vendors: reading a `TtsOption`, sound and word times. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.json_values import number, text
from active_call.providers.text_to_speech import WordTime

MAX_VOLUME = 10
"""On the option's scale, whose middle is 5."""


def rate_in(option: TtsOption, known: Sequence[int], default: int) -> int:
    """The requested sample rate. Raises ConfigError if the vendor does not support it; an empty `known` is not checked."""
    if option.samplerate is None or not known:
        return default
    if option.samplerate not in known:
        raise ConfigError("tts.samplerate", f"expected one of {', '.join(map(str, known))}, found {option.samplerate}")
    return option.samplerate


def speed_in(option: TtsOption, wished: float | None, low: float, high: float) -> float | None:
    """The speed of one text, 1.0 being normal, limited to the vendor's range; None: not set."""
    speed = wished if wished is not None else option.speed
    return None if speed is None else min(high, max(low, speed))


def sound_in(provider: str, value: Any) -> bytes:
    """The bytes of a Base64 text. Raises ProviderError."""
    try:
        return base64.b64decode(text(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProviderError(provider, f"the sound is not Base64: {error}", retryable=True) from None


def without_wav_header(pcm: bytes) -> bytes:
    """The samples of `pcm`, which may begin with a WAV header (RIFF chunks up to `data`)."""
    if not pcm.startswith(b"RIFF"):
        return pcm
    place = 12
    while place + 8 <= len(pcm):
        name, size = pcm[place : place + 4], int.from_bytes(pcm[place + 4 : place + 8], "little")
        if name == b"data":
            return pcm[place + 8 :]
        place += 8 + size + size % 2
    return b""


def words_in(times: Mapping[str, Any], words: str, start: str, end: str) -> tuple[WordTime, ...]:
    """Word times as three lists of one length, in seconds."""
    lists = [times.get(name) for name in (words, start, end)]
    if not all(isinstance(one, list) for one in lists):
        return ()
    found = []
    for word, begin_s, end_s in zip(*lists, strict=False):
        begin, over = number(begin_s), number(end_s)
        if text(word) and begin is not None and over is not None:
            found.append(WordTime(text(word), begin * 1000, over * 1000))
    return tuple(found)
