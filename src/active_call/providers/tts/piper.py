"""The local neural voice: Piper voices, run by onnxruntime in their own engine processes, streamed in pieces.

Text enters, sound at the voice's own rate (22 050 Hz) leaves with word times. A sentence is prepared as a whole and then decoded in
pieces of growing size, so that the first sound leaves before the rest is made. Requests are short, so that calls take turns. Options:
`speaker` (or `model`) is the name of an installed voice (`piper_voices`), else the first one that speaks `language`; `speed` 1.0 is the
voice's own; `volume` 1 to 10, default 5. Plain text only: no SSML.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from importlib.util import find_spec

from active_call.base.errors import ConfigError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.contract.options import TtsOption
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.services import LocalEngines, Services
from active_call.providers.speech.spoken_english import SpokenWord, spoken_words
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities, WordTime
from active_call.providers.tts import piper_engine
from active_call.providers.tts.piper_voices import FOLDER_VARIABLE, PiperVoice, find_voice, installed_voices
from active_call.providers.tts.quiet_ends import QuietEnds
from active_call.providers.tts.sentences import Part, as_written, parts_of
from active_call.providers.tts.whole_text import WholeTextStream

logger = logging.getLogger(__name__)

NAME = "piper"
FIRST_PIECE_FRAMES = 16
"""186 ms: the first sound of a sentence."""
MAX_PIECE_FRAMES = 64
"""743 ms: 75 ms of a core."""
MIN_SPEED, MAX_SPEED = 0.5, 2.5
"""Beyond these limits words run together or fall apart."""
DEFAULT_VOLUME = 5
BASE_GAIN = 1.6
"""At volume 5: raises the voice's -25 dBFS to the -21 dBFS of the other engines."""


DECLARATION = ProviderDeclaration(
    kind="tts",
    name="piper",
    title="Piper, a neural voice on this machine",
    capabilities=TextToSpeechCapabilities(22_050, word_times=True),
    transport="local",
    documentation="https://github.com/OHF-Voice/piper1-gpl",
    options=(
        DeclaredOption("speaker", "an installed voice", "joe"),
        DeclaredOption("speed", "0.5 to 2.5", "1.0"),
        DeclaredOption("volume", "1 to 10", "5"),
    ),
    package="active-call[local]",
    notes="English is part of the package; put other voices into the folder of voices.",
)


def create(option: TtsOption, services: Services) -> PiperTextToSpeech:
    """The adapter. Raises ConfigError if a package or a voice is missing, or an option is out of range."""
    for module in ("onnxruntime", "espeakng_loader"):
        if find_spec(module) is None:
            raise ConfigError("tts.provider", f"'piper' needs the Python package {module!r}: pip install 'active-call[local]'")
    if option.volume is not None and not 1 <= option.volume <= 10:
        raise ConfigError("tts.volume", f"expected 1 to 10, found {option.volume}")
    if option.speed is not None and option.speed <= 0:
        raise ConfigError("tts.speed", f"expected more than 0, found {option.speed}")
    return PiperTextToSpeech(option, _voice_of(option, services.environment), services.local, services.environment)


def _voice_of(option: TtsOption, environment: Mapping[str, str]) -> PiperVoice:
    voice = find_voice(environment, option.speaker or option.model, option.language)
    if voice is None:
        known = ", ".join(sorted(voice.name for voice in installed_voices(environment))) or "none"
        reason = (
            f"no Piper voice of {option.language or 'en'!r}; installed: {known}. Put NAME.onnx and NAME.onnx.json into {FOLDER_VARIABLE}"
        )
        raise ConfigError("tts.language", reason)
    return voice


class PiperTextToSpeech:
    """A Piper voice as a `TextToSpeech`."""

    name = NAME

    def __init__(self, option: TtsOption, voice: PiperVoice, local: LocalEngines, environment: Mapping[str, str]) -> None:
        self.voice = voice
        self._local = local
        self._local.use_all_cores(piper_engine.__name__, piper_engine.warm, voice.model)
        self._language = option.language
        self._environment = environment
        self._speed = option.speed or 1.0
        self._gain = BASE_GAIN * (option.volume or DEFAULT_VOLUME) / DEFAULT_VOLUME
        self._unknown: set[str] = set()
        if wanted := option.speaker or option.model:
            self._note_unknown(wanted, voice)

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        speakers = tuple(sorted(voice.speaker for voice in installed_voices(self._environment) if voice.rate_hz == self.voice.rate_hz))
        return TextToSpeechCapabilities(self.voice.rate_hz, word_times=True, speakers=speakers)

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> WholeTextStream:
        voice = self._voice_for(speaker)
        return WholeTextStream(lambda text: self._speak(text, voice, speed or self._speed), self.voice.rate_hz)

    async def warm(self) -> None:
        """Start an engine process and load the voice."""
        await self._local.run(piper_engine.warm, self.voice.model)

    async def close(self) -> None:
        """Does nothing: the processes belong to the engine pool."""

    def _voice_for(self, speaker: str | None) -> PiperVoice:
        """The voice of one stream; a voice with another rate than the engine's is refused."""
        if not speaker:
            return self.voice
        voice = find_voice(self._environment, speaker, self._language)
        if voice is None or voice.rate_hz != self.voice.rate_hz:
            voice = self.voice
        self._note_unknown(speaker, voice)
        return voice

    def _note_unknown(self, wanted: str, voice: PiperVoice) -> None:
        if wanted.lower() not in (voice.name.lower(), voice.speaker) and wanted not in self._unknown and len(self._unknown) < 100:
            self._unknown.add(wanted)
            logger.warning("unknown voice, another one speaks", extra={"provider": NAME, "voice": wanted})

    async def _speak(self, text: str, voice: PiperVoice, speed: float) -> AsyncGenerator[SpeechChunk, None]:
        parts = parts_of(text, spoken_words if voice.speaks("en") else as_written)
        n_samples = 0
        for part in parts:
            pause_ms = None if part is parts[-1] else part.pause_ms
            async for chunk in self._speak_part(part, voice, min(MAX_SPEED, max(MIN_SPEED, speed)), n_samples, pause_ms):
                n_samples += len(chunk.pcm) // BYTES_PER_SAMPLE
                yield chunk

    async def _speak_part(
        self, part: Part, voice: PiperVoice, speed: float, n_before: int, pause_ms: int | None
    ) -> AsyncGenerator[SpeechChunk, None]:
        """The sound of one part; `n_before` samples of the text came before it. Its words come with its first sound."""
        sentence = await self._local.run(piper_engine.prepare, voice.model, [word.spoken for word in part.words], speed, self._gain)
        ends = QuietEnds(voice.rate_hz, pause_ms)
        is_first = True
        async for pcm in self._pieces(sentence, voice):
            sound = ends.take(pcm)
            if sound:
                words = _word_times(part.words, sentence, voice.rate_hz, n_before - ends.n_skipped) if is_first else ()
                is_first = False
                yield SpeechChunk(sound, words)
        if tail := ends.end():
            yield SpeechChunk(tail)

    async def _pieces(self, sentence: piper_engine.Sentence, voice: PiperVoice) -> AsyncGenerator[bytes, None]:
        if sentence.sound:
            yield sentence.sound
        first, size, n_frames = 0, FIRST_PIECE_FRAMES, sentence.latent.shape[2]
        while first < n_frames:
            last = n_frames if n_frames - first < size + FIRST_PIECE_FRAMES else first + size
            yield await self._local.run(piper_engine.decode, voice.model, *piper_engine.piece(sentence.latent, first, last), self._gain)
            first, size = last, min(MAX_PIECE_FRAMES, size * 2)


def _word_times(words: tuple[SpokenWord, ...], sentence: piper_engine.Sentence, rate_hz: int, offset_samples: int) -> tuple[WordTime, ...]:
    """When each written word sounds. Several words spoken as a unit share its time by their letters."""
    times: list[WordTime] = []
    frame_ms, offset_ms = sentence.frame_samples * 1000 / rate_hz, offset_samples * 1000 / rate_hz
    reached_ms = max(0.0, offset_ms)
    for word, span in zip(words, sentence.ends, strict=True):
        begin_ms = max(reached_ms, span[0] * frame_ms + offset_ms) if span else reached_ms
        end_ms = max(begin_ms, span[1] * frame_ms + offset_ms) if span else begin_ms
        written = word.written.split()
        ms_per_letter = (end_ms - begin_ms) / sum(map(len, written))
        for text in written:
            times.append(WordTime(text, begin_ms, begin_ms + len(text) * ms_per_letter))
            begin_ms = times[-1].end_ms
        reached_ms = end_ms
    return tuple(times)
