"""Which recogniser of this machine serves where none is named."""

from __future__ import annotations

from importlib.util import find_spec

from active_call.providers.asr import moonshine, moonshine_engine


def local_recogniser(language: str | None) -> str | None:
    """The best installed one for `language` (a BCP 47 tag; None or `auto`: English); None where this machine has none for it.

    Moonshine understands free speech; PocketSphinx serves machines without it.
    """
    if not moonshine.is_english(language):
        return None
    if moonshine_engine.model_folder() is not None and find_spec("onnxruntime") is not None:
        return moonshine.NAME
    return "pocketsphinx" if find_spec("pocketsphinx") is not None else None
