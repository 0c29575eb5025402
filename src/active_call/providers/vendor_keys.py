"""Which environment variable configures which vendor, and which vendor comes first where several are configured. Pure; imports no adapter.

A vendor is configured by `NAME_API_KEY` unless it is listed here. The lists know what adapters declare (`declaration`), which is not loaded
before an adapter is chosen; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ASR_PREFERENCE: Final = (
    "deepgram", "assemblyai", "soniox", "speechmatics", "gladia", "elevenlabs", "cartesia", "azure", "google", "aliyun", "tencent", "groq",
)  # fmt: skip
"""Recognisers in the order in which they are chosen where their keys are in the environment: those who stream and do nothing else first."""
TTS_PREFERENCE: Final = (
    "cartesia", "elevenlabs", "deepgram", "rime", "inworld", "hume", "azure", "google", "aliyun", "tencent",
)  # fmt: skip
"""Voices in the order in which they are chosen where their keys are in the environment: those who take text as it is written first."""
ORDER: Final[Mapping[str, tuple[str, ...]]] = {"asr": ASR_PREFERENCE, "tts": TTS_PREFERENCE}

_VARIABLES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("asr", "aliyun"): ("DASHSCOPE_API_KEY",),
    ("asr", "dashscope"): (),
    ("asr", "azure"): ("AZURE_SPEECH_KEY",),
    ("asr", "google"): ("GOOGLE_SPEECH_API_KEY",),
    ("asr", "tencent"): ("TENCENT_SECRET_KEY",),
    ("asr", "openai-realtime"): (),
    ("asr", "whisper"): (),
    ("tts", "aliyun"): ("DASHSCOPE_API_KEY",),
    ("tts", "dashscope"): (),
    ("tts", "cosyvoice"): (),
    ("tts", "azure"): ("AZURE_SPEECH_KEY",),
    ("tts", "tencent"): ("TENCENT_SECRET_KEY",),
    ("tts", "tencent_basic"): (),
    ("tts", "voiceapi"): (),
    ("tts", "sherpa"): (),
    ("tts", "supertonic"): (),
    ("asr", "livekit"): (),
    ("tts", "livekit"): (),
}
"""None: the name is an alias, or is only used where it is named."""


def variables_of(section: str, name: str) -> tuple[str, ...]:
    """The environment variables that configure the vendor `name`."""
    return _VARIABLES.get((section, name), (f"{name.upper().replace('-', '_')}_API_KEY",))


def rank_of(section: str, name: str) -> tuple[int, str]:
    """For sorting: vendors with a place in the order come in it, before all others by name."""
    order = ORDER.get(section, ())
    return (order.index(name) if name in order else len(order), name)
