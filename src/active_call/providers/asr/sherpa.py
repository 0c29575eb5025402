"""Local recognition with downloaded models: Zipformer, Moonshine, SenseVoice, Whisper, Parakeet, run by sherpa-onnx.

    asr: {provider: sherpa, model: parakeet-v3}          a model of `active-call models list`
    asr: {provider: sensevoice}                          the same by its own name
    asr: {provider: sherpa, model: /models/mine, extra: {kind: whisper, files: {encoder: e.onnx, …}}}

Without a model the first installed one that supports the language is used. Partial and final texts leave, with word times if the model
reports them. The computing happens in engine processes (`sherpa_engine`), up to one for each core, shared by all calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption
from active_call.providers.asr import sherpa_engine
from active_call.providers.asr.partials import PartialRecognition
from active_call.providers.asr.utterances import TimedWord, Transcript
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Guard, Limits
from active_call.providers.models.catalogue import MODELS, ModelKind, model_named
from active_call.providers.models.download import how_without_internet
from active_call.providers.models.folders import installed_models, is_installed, models_folder
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities

NAME = "sherpa"
LIMITS = Limits(first_result_s=10.0)
WITH_TIMES = frozenset({ModelKind.PARAKEET, ModelKind.SENSE_VOICE, ModelKind.ZIPFORMER})
ROLES: Mapping[ModelKind, frozenset[str]] = {model.kind: frozenset(model.files) for model in MODELS}


class LocalModel(Struct, frozen=True):
    """A model on this machine. `languages` is empty if the model detects the language, or if they are unknown."""

    name: str
    kind: ModelKind
    files: sherpa_engine.Files
    languages: tuple[str, ...] = ()


DECLARATION = ProviderDeclaration(
    kind="asr",
    name="sherpa",
    title="sherpa-onnx, many languages on this machine",
    capabilities=SpeechToTextCapabilities(partials=True, between_speech=False),
    transport="local",
    documentation="https://k2-fsa.github.io/sherpa/onnx/",
    options=(DeclaredOption("model", "a name from `active-call models list`, or a folder"),),
    aliases=("sensevoice",),
    package="active-call[sherpa]",
    notes="Download models with `active-call models download`.",
)


def create(option: AsrOption, services: Services) -> SherpaSpeechToText:
    """The adapter. Raises ConfigError if sherpa-onnx or the model is missing, with the command that installs it."""
    if find_spec("sherpa_onnx") is None:
        raise ConfigError("asr.provider", "'sherpa' needs the Python package 'sherpa_onnx': pip install 'active-call[sherpa]'")
    model = find_model(option, models_folder(services.environment))
    check_language(model, option.language)
    return SherpaSpeechToText(model, option.language, services)


def create_sensevoice(option: AsrOption, services: Services) -> SherpaSpeechToText:
    """The adapter with the model SenseVoice, for `asr.provider: sensevoice`."""
    return create(option if option.model_type else msgspec.structs.replace(option, model_type="sensevoice"), services)


def find_model(option: AsrOption, folder: Path) -> LocalModel:
    """The model that `option` selects: by its name in the table, by its folder, or the best one in `folder` for its language."""
    wanted = option.model_type
    if wanted is None:
        usable = [model for model in installed_models(folder) if model.speaks(option.language)]
        if not usable:
            known = ", ".join(model.name for model in MODELS if model.speaks(option.language)) or "none"
            raise ConfigError("asr.model", f"no model for language {option.language or 'auto'} in {folder}; to download: {known}")
        return _local(usable[0].name, usable[0].kind, usable[0].files_in(folder / usable[0].name), usable[0].languages)
    if "/" in wanted:
        return _own_model(wanted, option)
    try:
        model = model_named(wanted)
        if model not in MODELS:
            raise ConfigError("asr.model", f"{model.name} speaks, it does not recognise")
    except ConfigError as error:
        raise ConfigError("asr.model", f"{error.reason}; or the path of a folder") from None
    if not is_installed(model, folder):
        command = f"active-call models download {model.name}"
        raise ConfigError("asr.model", f"{model.name} is not on this machine: {command}. {how_without_internet(model, folder)}")
    return _local(model.name, model.kind, model.files_in(folder / model.name), model.languages)


def check_language(model: LocalModel, language: str | None) -> None:
    """Raise ConfigError for a language that the model does not support."""
    if _primary(language) and model.languages and _primary(language) not in model.languages:
        known = [other.name for other in MODELS if other.speaks(language)]
        raise ConfigError("asr.language", f"{model.name} does not know {language!r}; models that do: {', '.join(known) or 'none'}")


class SherpaSpeechToText:
    """A model run by sherpa-onnx as a `SpeechToText`."""

    def __init__(self, model: LocalModel, language: str | None, services: Services) -> None:
        self.name = NAME
        has_times = model.kind in WITH_TIMES
        self.capabilities = SpeechToTextCapabilities(languages=model.languages, partials=True, words=has_times, between_speech=False)
        self._model = model
        self._language = language
        self._local = services.local
        self._local.use_all_cores(sherpa_engine.__name__, sherpa_engine.warm, model.kind.value, model.files, _primary(language))
        self._guard = Guard(NAME, services.world, LIMITS)

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> PartialRecognition:
        chosen = language or self._language
        check_language(self._model, chosen)
        return PartialRecognition(lambda pcm, background, _: self._transcribe(pcm, _primary(chosen), background), on_event)

    async def warm(self) -> None:
        """Start the first engine process and load the model."""
        await self._local.run(sherpa_engine.warm, self._model.kind.value, self._model.files, _primary(self._language))

    async def close(self) -> None:
        """Does nothing: the processes belong to the engine pool."""

    async def _transcribe(self, pcm: bytes, language: str, background: bool) -> Transcript:
        args = (pcm, self._model.kind.value, self._model.files, language)
        if background:  # not guarded: a refusal is not a failure of the engine
            text, words = await self._local.run(sherpa_engine.transcribe, *args, background=True)
        else:
            text, words = await self._guard.call(lambda: self._local.run(sherpa_engine.transcribe, *args))
        return Transcript(text, words=tuple(TimedWord(*word) for word in words))


def _own_model(folder: str, option: AsrOption) -> LocalModel:
    """A user's own model: its folder, its kind, and the names of its files."""
    kinds = {kind.value: kind for kind in ModelKind}
    kind = kinds.get(str(option.extra.get("kind")))
    if kind is None:
        raise ConfigError("asr.extra.kind", f"for the model in {folder}: expected one of {', '.join(kinds)}")
    names = option.extra.get("files")
    if not isinstance(names, Mapping) or set(names) != ROLES[kind]:
        raise ConfigError("asr.extra.files", f"the file names of {', '.join(sorted(ROLES[kind]))}")
    files = {str(role): Path(folder).expanduser() / str(name) for role, name in names.items()}
    if missing := [str(path) for path in files.values() if not path.is_file()]:
        raise ConfigError("asr.extra.files", f"missing files: {', '.join(missing)}")
    return _local(folder, kind, files, ())


def _local(name: str, kind: ModelKind, files: Mapping[str, Path], languages: tuple[str, ...]) -> LocalModel:
    return LocalModel(name, kind, tuple((role, str(path)) for role, path in sorted(files.items())), languages)


def _primary(language: str | None) -> str:
    """The primary tag; empty for None and `auto`."""
    primary = (language or "").lower().replace("_", "-").partition("-")[0]
    return "" if primary == "auto" else primary
