"""Merges options field by field (a call's own override its playbook's, which override the server's), and derives the options for speech."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import msgspec
from msgspec import Struct

from active_call.agent.playbook.scenes import LlmOption, Playbook
from active_call.contract.options import AsrOption, CallOption, EouOption, Options, TtsOption, VadOption
from active_call.providers.settings import LlmSettings

T = TypeVar("T", bound=Options)
V = TypeVar("V")

DEFAULT_END_OF_TURN_MS = 550
"""Silence that ends a turn if `eou.timeout` is not set: pauses within a sentence last up to about half a second."""
DEFAULT_MAX_SILENCE_MS = 1200
"""Adaptive detector: after this much silence the turn ends whatever was said, except within a number or an address."""
DEFAULT_VOICE_THRESHOLD = 0.5
DEFAULT_SILENCE_MS = 100
"""Silence after which the end of speech is reported."""
DEFAULT_MIN_SPEECH_MS = 64
"""The shortest speech: two windows of the detector, so that a barge-in is noticed in about 100 ms."""


class TurnChoice(Struct, frozen=True):
    """How the end of the caller's turn is detected. `kind`: `adaptive`, `smart-turn` or `fixed`."""

    kind: str
    max_silence_ms: int = DEFAULT_MAX_SILENCE_MS
    speculates: bool = True
    model: str | None = None


class SpeechChoice(Struct, frozen=True):
    """The engines and options for recognition and synthesis of one call."""

    asr: AsrOption
    tts: TtsOption
    llm: LlmSettings | None
    voice_threshold: float
    min_speech_ms: int
    silence_ms: int
    end_of_turn_ms: int
    turn: TurnChoice


def merged(over: T, under: T) -> T:
    """`over`, with unset fields (None) taken from `under`; groups and maps are merged recursively."""
    silent = _silent(type(over))
    if silent is not None and type(over) is type(under):  # usually one of the two is unset
        if over == silent:
            return under
        if under == silent:
            return over
    values: dict[str, object] = {}
    for field in _fields_of(type(over)):
        top, below = getattr(over, field.name), getattr(under, field.name)
        if isinstance(top, Options) and isinstance(below, Options):
            values[field.name] = merged(top, below)
        elif isinstance(top, dict) and isinstance(below, dict):
            values[field.name] = {**below, **top}
        else:
            values[field.name] = below if top is None else top
    return type(over)(**values)


@cache
def _fields_of(kind: type[Options]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of `kind`; cached, because it resolves every annotation, and each call merges several times."""
    return msgspec.structs.fields(kind)


@cache
def _silent(kind: type[Options]) -> Options | None:
    """An instance with all fields unset; None if a field of the group has another default."""
    is_silent = all(field.default is None or field.default_factory is dict for field in _fields_of(kind))
    return kind() if is_silent else None


def given(value: V | None, otherwise: V) -> V:
    """The given value, else the built-in default."""
    return otherwise if value is None else value


def choose_speech(option: CallOption, playbook: Playbook | None) -> SpeechChoice:
    """The speech options that follow from the merged options and the playbook."""
    vad = option.vad or VadOption()
    eou = option.eou or EouOption()
    min_speech_ms = playbook.interruption.min_speech_ms if playbook is not None else None
    return SpeechChoice(
        asr=option.asr or AsrOption(),
        tts=option.tts or TtsOption(),
        llm=_llm_settings(playbook.llm) if playbook is not None and playbook.script is None else None,
        voice_threshold=given(vad.voice_threshold, DEFAULT_VOICE_THRESHOLD),
        min_speech_ms=min_speech_ms or DEFAULT_MIN_SPEECH_MS,
        silence_ms=given(vad.silence_padding, DEFAULT_SILENCE_MS),
        end_of_turn_ms=given(eou.timeout, given(vad.silence_timeout, DEFAULT_END_OF_TURN_MS)),
        turn=_turn_choice(eou, vad),
    )


def _turn_choice(eou: EouOption, vad: VadOption) -> TurnChoice:
    is_timed = eou.timeout is not None or vad.silence_timeout is not None
    kind = eou.type if eou.type in ("adaptive", "smart-turn", "fixed") else "fixed" if is_timed else "adaptive"
    return TurnChoice(kind, given(eou.max_silence, DEFAULT_MAX_SILENCE_MS), given(eou.speculate, True), eou.model)


def _llm_settings(llm: LlmOption) -> LlmSettings:
    return LlmSettings(
        provider=llm.provider,
        model=llm.model,
        base_url=llm.base_url,
        api_key=llm.api_key,
        temperature=llm.temperature,
        max_tokens=llm.max_tokens,
        extra=llm.extra,
        fallback=tuple(llm.fallback or ()),
        hedge_after_s=llm.hedge.after / 1000 if llm.hedge is not None else None,
        reasoning=llm.reasoning,
    )
