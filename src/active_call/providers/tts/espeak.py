"""The local synthesiser for every language: espeak-ng from the wheel `espeakng-loader`, in its engine process.

Text enters, sound at 22 050 Hz leaves, sentence by sentence and in pieces of at most 200 ms. A long text is requested one sentence at a
time, so that calls take turns. Options: `speaker` (or `model`, or `language`) is an espeak voice such as `en-us`, `en-gb`, `en-us+f3`,
`de`; `speed` 1.0 is 165 words a minute; `volume` 1 to 10, default 5. Plain text only: no SSML.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections import OrderedDict
from collections.abc import AsyncIterator
from importlib.util import find_spec

from active_call.base.errors import ConfigError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.contract.options import TtsOption
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.services import LocalEngines, Services
from active_call.providers.speech.spoken_english import spoken_english
from active_call.providers.text_to_speech import TextToSpeechCapabilities
from active_call.providers.tts import espeak_engine
from active_call.providers.tts.whole_text import WholeTextToSpeech

logger = logging.getLogger(__name__)

NAME = "espeak"
DEFAULT_VOICE = "en-us"
PIECE_BYTES = espeak_engine.RATE_HZ // 5 * BYTES_PER_SAMPLE
"""200 ms."""
SENTENCE_PAUSE_MS = 250
"""Silence between two sentences of one text."""
OTHER_NAMES = {"zh": "cmn", "no": "nb"}
"""Languages with another code in the library."""
VOLUME_STEP = 20
"""Maps the contract's 1 to 10 to the library's 20 to 200, where 100 is normal."""
DEFAULT_VOLUME = 5

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|(?<=[。！？；])|\n+")
MAX_KNOWN_VOICES = 256
"""How many voice look-ups are cached."""
MAX_SENTENCE_CHARS = 300
"""A longer one is requested in parts, so that no call waits long for another one's words."""
MIN_SENTENCE_CHARS = 12
"""Shorter pieces ("Dr.", "1.", "No!") stay with what follows them."""


DECLARATION = ProviderDeclaration(
    kind="tts",
    name="espeak",
    title="eSpeak NG, a synthesiser for a hundred languages on this machine",
    capabilities=TextToSpeechCapabilities(22_050, word_times=False),
    transport="local",
    documentation="https://github.com/espeak-ng/espeak-ng",
    options=(
        DeclaredOption("speaker", "a voice or a variant"),
        DeclaredOption("language", "a BCP 47 tag", "en"),
        DeclaredOption("speed", "0.5 to 2.5", "1.0"),
    ),
    package="active-call[local]",
    notes="GPL-3: only its own adapter loads it.",
)


def create(option: TtsOption, services: Services) -> EspeakTextToSpeech:
    """The adapter. Raises ConfigError if the wheel is missing or an option is out of range."""
    if find_spec("espeakng_loader") is None:
        raise ConfigError("tts.provider", "'espeak' needs the Python package 'espeakng_loader': pip install 'active-call[local]'")
    if option.volume is not None and not 1 <= option.volume <= 10:
        raise ConfigError("tts.volume", f"expected 1 to 10, found {option.volume}")
    if option.speed is not None and option.speed <= 0:
        raise ConfigError("tts.speed", f"expected more than 0, found {option.speed}")
    return EspeakTextToSpeech(option, services.local)


class EspeakTextToSpeech(WholeTextToSpeech):
    """espeak-ng as a `TextToSpeech`."""

    name = NAME
    rate_hz = espeak_engine.RATE_HZ

    def __init__(self, option: TtsOption, local: LocalEngines) -> None:
        self._local = local
        self._voices = [voice for voice in (option.speaker, option.model, option.language) if voice]
        self._speed = option.speed or 1.0
        self._volume = (option.volume or DEFAULT_VOLUME) * VOLUME_STEP
        self._known: OrderedDict[str, str | None] = OrderedDict()

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        voice = await self._voice_for(speaker)
        if voice.startswith("en"):
            text = "\n".join(spoken_english(line) for line in text.split("\n"))
        sentences = split_sentences(text)
        for i, sentence in enumerate(sentences):
            tail_ms = espeak_engine.TAIL_MS if i == len(sentences) - 1 else SENTENCE_PAUSE_MS
            sound = await self._local.run(espeak_engine.synthesise, sentence, voice, speed or self._speed, self._volume, tail_ms)
            for start in range(0, len(sound), PIECE_BYTES):
                yield sound[start : start + PIECE_BYTES]

    async def warm(self) -> None:
        """Start the engine process and load the voice."""
        await self._local.run(espeak_engine.synthesise, "ready", await self._voice_for(None), self._speed, self._volume, 0)

    async def close(self) -> None:
        """Does nothing: the process belongs to the engine pool."""

    async def _voice_for(self, speaker: str | None) -> str:
        """The first requested voice that exists; an unknown one is logged once."""
        for wanted in [speaker, *self._voices] if speaker else self._voices:
            if wanted not in self._known:
                self._known[wanted] = await self._find_voice(wanted)
                if len(self._known) > MAX_KNOWN_VOICES:
                    self._known.popitem(last=False)
            voice = self._known.get(wanted)
            if voice is not None:
                return voice
        return DEFAULT_VOICE

    async def _find_voice(self, wanted: str) -> str | None:
        plain = wanted.replace("_", "-").lower()
        short = plain.partition("-")[0]
        for name in (wanted, plain, OTHER_NAMES.get(short, short)):
            if await self._local.run(espeak_engine.has_voice, name):
                return name
        logger.warning("unknown voice, another one speaks", extra={"provider": NAME, "voice": wanted})
        return None


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, none of them very short; empty for a text without anything to speak."""
    sentences: list[str] = []
    pending = ""
    for part in _SENTENCE_END.split(text):
        pending = f"{pending} {part}".strip()
        if len(pending) >= MIN_SENTENCE_CHARS:
            sentences += textwrap.wrap(pending, MAX_SENTENCE_CHARS)
            pending = ""
    if pending:
        sentences.append(pending)
    return sentences
