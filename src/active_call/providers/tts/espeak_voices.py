"""The voices of espeak-ng, read from its data files without loading it. A requested voice enters; whether none matches leaves."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from active_call.providers.tts.espeak import OTHER_NAMES


def lacks_voice(wanted: str) -> bool:
    """Whether no voice is named `wanted` or speaks it (`en-us`, `de`, `en-gb+f3`); False if the data cannot be read."""
    known = _voices()
    plain = wanted.replace("_", "-").lower().partition("+")[0]
    short = plain.partition("-")[0]
    return bool(known) and not {plain, OTHER_NAMES.get(short, short)} & known


@cache
def _voices() -> frozenset[str]:
    try:
        import espeakng_loader  # type: ignore[import-untyped, unused-ignore]

        files = [file for file in (Path(espeakng_loader.get_data_path()) / "lang").rglob("*") if file.is_file()]
        lines = [line.split() for file in files for line in file.read_text(encoding="utf-8", errors="replace").split("\n")]
    except (ImportError, OSError):
        return frozenset()
    names = {word.lower() for words in lines if len(words) > 1 and words[0] in ("language", "name") for word in words[1:]}
    return frozenset(names | {file.name.lower() for file in files})
