"""Which environment variable configures which vendor, and which vendor comes first if several are configured. Pure; imports no adapter.

A vendor is configured by `NAME_API_KEY` unless it is listed here. The lists repeat what adapters declare (`declaration`), because an
adapter is not loaded before it is chosen. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ASR_PREFERENCE: Final = (
    "deepgram", "assemblyai", "soniox", "speechmatics", "gladia", "elevenlabs", "cartesia", "azure", "google", "aliyun", "tencent", "groq",
)  # fmt: skip
"""The order in which recognition vendors are chosen if their keys are in the environment: first those that stream and do nothing else."""
TTS_PREFERENCE: Final = (
    "cartesia", "elevenlabs", "deepgram", "rime", "inworld", "hume", "azure", "google", "aliyun", "tencent",
)  # fmt: skip
"""The order in which synthesis vendors are chosen if their keys are in the environment: first those that accept streamed text."""
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
"""None: the name is an alias, or the provider is used only when named."""


def variables_of(section: str, name: str) -> tuple[str, ...]:
    """The environment variables that configure vendor `name`."""
    return _VARIABLES.get((section, name), (f"{name.upper().replace('-', '_')}_API_KEY",))


def rank_of(section: str, name: str) -> tuple[int, str]:
    """A sort key: vendors in the list come in its order, then all others by name."""
    order = ORDER.get(section, ())
    return (order.index(name) if name in order else len(order), name)
