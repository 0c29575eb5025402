"""The local engines in order of preference, and whether each may be used. Imports none of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Final

from msgspec import Struct

from active_call.providers.asr import moonshine_engine
from active_call.providers.models.folders import installed_models, models_folder
from active_call.providers.tts.piper_voices import find_voice, plain_code

HasModel = Callable[[str, Mapping[str, str]], bool]


def _has_piper_voice(language: str, environment: Mapping[str, str]) -> bool:
    return find_voice(environment, None, language) is not None


def _has_moonshine_model(language: str, environment: Mapping[str, str]) -> bool:
    del language, environment
    return moonshine_engine.model_folder() is not None


def _has_sherpa_model(language: str, environment: Mapping[str, str]) -> bool:
    return any(model.speaks(language) for model in installed_models(models_folder(environment)))


@lru_cache(maxsize=64)
def _is_there(find: Callable[[str], object], module: str) -> bool:
    """Cached: it searches every folder of the import path, and each call asks about thirty times. A new package needs a restart."""
    return find(module) is not None


FRESH_S: Final = 5.0
"""Models may be added while the server runs. They are looked up again after this long, not at each request of a call."""


_generation = 0


def look_up_period() -> tuple[int, int]:
    """What was found on this machine is valid while this value is unchanged."""
    return _generation, int(time.monotonic() / FRESH_S)


@lru_cache(maxsize=64)
def _has_model(has_model: HasModel, language: str, environment: frozenset[tuple[str, str]], period: tuple[int, int]) -> bool:
    """Whether there is a model, as found in this `period`."""
    del period
    return has_model(language, dict(environment))


def forget_models() -> None:
    """Look models up again at the next request."""
    global _generation
    _generation += 1
    _has_model.cache_clear()


class LocalEngine(Struct, frozen=True):
    """One engine. `languages`: what it understands or speaks, by primary tag; empty: all.

    `stands_in`: it may take over from an engine before it, or from a vendor, that fails.
    """

    name: str
    modules: tuple[str, ...]
    languages: frozenset[str] = frozenset()
    stands_in: bool = True
    has_model: HasModel | None = None
    """Whether it has a model or voice of a language, if only its files show that."""

    def is_installed(self) -> bool:
        """Whether its packages are installed."""
        return all(_is_there(find_spec, module) for module in self.modules)

    def is_usable(self, language: str | None, environment: Mapping[str, str]) -> bool:
        """Whether it is installed and supports `language` (English if none is given)."""
        wanted = "en" if not language or language.lower() == "auto" else plain_code(language).partition("-")[0]
        if (self.languages and wanted not in self.languages) or not self.is_installed():
            return False
        return self.has_model is None or _has_model(self.has_model, language or "en", frozenset(environment.items()), look_up_period())


LOCAL_ENGINES: dict[str, tuple[LocalEngine, ...]] = {
    "asr": (
        LocalEngine("moonshine", ("moonshine_voice", "onnxruntime"), frozenset({"en"}), has_model=_has_moonshine_model),
        LocalEngine("sherpa", ("sherpa_onnx",), has_model=_has_sherpa_model),
        LocalEngine("pocketsphinx", ("pocketsphinx",), stands_in=False),
    ),
    "tts": (
        LocalEngine("piper", ("onnxruntime", "espeakng_loader"), has_model=_has_piper_voice),
        LocalEngine("espeak", ("espeakng_loader",)),
    ),
    "llm": (),
}
"""By section. pocketsphinx is selected for any language that no other engine supports; its adapter then reports the error. It recognises
listed phrases only, so it is never a fallback.
"""
