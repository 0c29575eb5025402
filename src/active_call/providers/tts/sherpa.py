"""Local synthesis with a downloaded model: Supertonic, run by sherpa-onnx.

    tts: {provider: supertonic, speaker: M1, language: en}
    tts: {provider: sherpa, model: /models/mine}           a folder with the model's files

In: text, sentence by sentence. Out: sound at 24 kHz. Options: `speaker` F1 to F5 or M1 to M5 (or 0 to 9), `language` en, ko, es, pt or
fr, `speed` 0.5 to 2, `volume`. Engine processes (`sherpa_engine`) run the model, at most one per core, shared by all calls.
`active-call models download supertonic` downloads the model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from active_call.base.errors import ConfigError
from active_call.contract.options import TtsOption
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.models.catalogue import SUPERTONIC
from active_call.providers.models.download import how_without_internet
from active_call.providers.models.folders import is_installed, models_folder
from active_call.providers.services import Services
from active_call.providers.speech.spoken_english import spoken_words
from active_call.providers.text_to_speech import TextToSpeechCapabilities
from active_call.providers.tts import sherpa_engine
from active_call.providers.tts.sentences import as_written, parts_of
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.providers.vendor_parameters import base_language

NAME: Final = "sherpa"
SPEAKERS: Final = ("F1", "F2", "F3", "F4", "F5", "M1", "M2", "M3", "M4", "M5")
"""In the order of their numbers in the model's voice file, which is built from one file per voice in alphabetical order."""
DEFAULT_SPEAKER: Final = "M1"
MIN_SPEED, MAX_SPEED = 0.5, 2.0
DEFAULT_VOLUME: Final = 5
PIECE_BYTES: Final = 4_800
"""100 ms."""

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="sherpa-onnx with Supertonic, five languages on this machine",
    capabilities=TextToSpeechCapabilities(sherpa_engine.RATE_HZ, speakers=SPEAKERS),
    transport="local",
    documentation="https://k2-fsa.github.io/sherpa/onnx/tts/supertonic.html",
    options=(
        DeclaredOption("speaker", "F1 to F5, M1 to M5", DEFAULT_SPEAKER),
        DeclaredOption("language", "en, ko, es, pt, fr", "en"),
        DeclaredOption("speed", "0.5 to 2", "1.0"),
        DeclaredOption("volume", "1 to 10", "5"),
        DeclaredOption("model", "a folder with the files of the model", "the downloaded one"),
    ),
    aliases=("supertonic",),
    package="active-call[sherpa]",
    notes="Download the model with `active-call models download supertonic` (85 MB).",
)


def create(option: TtsOption, services: Services) -> SherpaTextToSpeech:
    """Create the adapter. Raises ConfigError for unknown voices, and if sherpa-onnx or the model is missing, with the install command."""
    if find_spec("sherpa_onnx") is None:
        raise ConfigError("tts.provider", "'sherpa' needs the Python package 'sherpa_onnx': pip install 'active-call[sherpa]'")
    files = find_files(option.model, models_folder(services.environment))
    return SherpaTextToSpeech(option, files, services)


def find_files(wanted: str | None, folder: Path) -> sherpa_engine.Files:
    """The model's files: from the folder `wanted`, else the files downloaded to `folder`. Raises ConfigError."""
    if wanted is not None and wanted.lower() != SUPERTONIC.name and "/" not in wanted:
        raise ConfigError("tts.model", f"unknown model {wanted!r}; known: {SUPERTONIC.name}; or the path of a folder")
    own = Path(wanted).expanduser() if wanted is not None and "/" in wanted else None
    if own is None and not is_installed(SUPERTONIC, folder):
        command = f"active-call models download {SUPERTONIC.name}"
        raise ConfigError("tts.model", f"{SUPERTONIC.name} is not on this machine: {command}. {how_without_internet(SUPERTONIC, folder)}")
    found: Mapping[str, Path] = SUPERTONIC.files_in(own or folder / SUPERTONIC.name)
    if missing := [str(path) for path in found.values() if not path.is_file()]:
        raise ConfigError("tts.model", f"missing files: {', '.join(missing)}")
    return tuple((role, str(path)) for role, path in sorted(found.items()))


def number_of(speaker: str) -> int | None:
    """The number of a voice, given its name or its number; None for an unknown voice."""
    if speaker.upper() in SPEAKERS:
        return SPEAKERS.index(speaker.upper())
    return int(speaker) if speaker.isdecimal() and int(speaker) < len(SPEAKERS) else None


class SherpaTextToSpeech(WholeTextToSpeech):
    """Supertonic as a `TextToSpeech`."""

    name = NAME
    rate_hz = sherpa_engine.RATE_HZ

    def __init__(self, option: TtsOption, files: sherpa_engine.Files, services: Services) -> None:
        language = base_language(option.language) or "en"
        if language not in SUPERTONIC.languages:
            raise ConfigError("tts.language", f"{SUPERTONIC.name} speaks {', '.join(SUPERTONIC.languages)}, not {option.language!r}")
        number = number_of(option.speaker or DEFAULT_SPEAKER)
        if number is None:
            raise ConfigError("tts.speaker", f"unknown voice {option.speaker!r}; known: {', '.join(SPEAKERS)}")
        if option.volume is not None and not 1 <= option.volume <= 10:
            raise ConfigError("tts.volume", f"expected 1 to 10, found {option.volume}")
        self._language = language
        self._number = number
        self._speed = option.speed or 1.0
        self._gain = (option.volume or DEFAULT_VOLUME) / DEFAULT_VOLUME
        self._files = files
        self._local = services.local
        self._local.use_all_cores(sherpa_engine.__name__, sherpa_engine.warm, files)

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return TextToSpeechCapabilities(self.rate_hz, speakers=SPEAKERS)

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        wished = number_of(speaker) if speaker else None
        number = self._number if wished is None else wished
        pace = min(MAX_SPEED, max(MIN_SPEED, speed or self._speed))
        parts = parts_of(text, spoken_words if self._language == "en" else as_written)
        for part in parts:
            said = " ".join(word.spoken for word in part.words)
            sound = await self._local.run(sherpa_engine.synthesise, said, self._files, number, self._language, pace, self._gain)
            if part is not parts[-1]:
                sound += bytes(2 * self.rate_hz * part.pause_ms // 1000)
            for start in range(0, len(sound), PIECE_BYTES):
                yield sound[start : start + PIECE_BYTES]

    async def warm(self) -> None:
        """Start an engine process and load the model."""
        await self._local.run(sherpa_engine.warm, self._files)

    async def close(self) -> None:
        """Nothing to close: the adapter does not own the engine processes."""
