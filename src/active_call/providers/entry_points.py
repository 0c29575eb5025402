"""Adapters and tools by entry point: which names this installation knows, and which object a name loads.

Groups: `active_call.asr`, `.tts`, `.llm`, `.realtime` for adapters (the object is `create(option, services)`), and `active_call.tools` for
tools. Nothing is imported before it is chosen.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from msgspec import Struct

from active_call.base.errors import ConfigError
from active_call.providers.declaration import ProviderDeclaration
from active_call.providers.services import Services

log = logging.getLogger("active_call.providers")

LOCAL_EXTRA = "pip install 'active-call[local]'"
PIP_COMMANDS = {
    "pocketsphinx": LOCAL_EXTRA,
    "espeakng_loader": LOCAL_EXTRA,
    "moonshine_voice": LOCAL_EXTRA,
    "onnxruntime": LOCAL_EXTRA,
    "livekit": "pip install 'active-call[livekit]' livekit-plugins-NAME",
}
"""How to install a missing module if `pip install` with its name is not enough."""

Create = Callable[[Any, Services], Any]
Installed = Callable[[], EntryPoints]


class Kind(Struct, frozen=True):
    """A kind of provider: its config section, and its name in sentences."""

    section: str
    word: str

    @property
    def group(self) -> str:
        return f"active_call.{self.section}"

    @property
    def key(self) -> str:
        return f"{self.section}.provider"


ASR = Kind("asr", "speech recognition")
TTS = Kind("tts", "speech synthesis")
LLM = Kind("llm", "a language model")
REALTIME = Kind("realtime", "a speech-to-speech model")
KINDS = {kind.section: kind for kind in (ASR, TTS, LLM, REALTIME)}

FAMILIES = ("livekit",)
"""Adapters for many providers, which are named after a slash: `livekit/murf`."""

TOOLS_GROUP = "active_call.tools"
MAX_TOOLS = 128
"""The most tools of one entry point. Models refuse requests with more."""


def known_providers(section: str) -> list[str]:
    """The names that `asr.provider`, `tts.provider`, `llm.provider` or `realtime.provider` may take on this installation, sorted."""
    return sorted(_found(KINDS[section].group))


def all_providers() -> list[str]:
    """The names of the providers of every section, sorted."""
    return sorted({name for section in KINDS for name in known_providers(section)})


def found_adapters(section: str) -> dict[str, str]:
    """The adapters of a section by name, each with its module. Nothing is imported."""
    return {name: point.module for name, point in _found(KINDS[section].group).items()}


def load_adapter(kind: Kind, provider: str) -> Create:
    """Import the adapter's `create`. Raises ConfigError for an unknown name or a missing package."""
    adapters = _found(kind.group)
    point = adapters.get(family_of(provider))
    if point is None:
        raise ConfigError(kind.key, f"unknown provider {provider!r}; known here: {', '.join(sorted(adapters)) or 'none'}")
    create: Create = _load(point, kind.key, provider)
    return create


def default_model_of(create: Create) -> str:
    """The default model that the adapter's module declares; empty if it declares none."""
    module = sys.modules.get(getattr(create, "__module__", ""))
    declarations = getattr(module, "DECLARATIONS", None) or (getattr(module, "DECLARATION", None),)
    declared = next((one for one in declarations if isinstance(one, ProviderDeclaration)), None)
    return declared.default_model if declared is not None else ""


def family_of(provider: str) -> str:
    """The name of the adapter that serves `provider`: for a family, the part before the slash."""
    name = provider.lower()
    family = name.partition("/")[0]
    return family if family in FAMILIES else name


def load_tools(name: str) -> tuple[Callable[..., Any], ...]:
    """The tools that an installed package offers as `name`: one callable, or a list of them.

    Raises ConfigError for an unknown name, for a package that is not installed, and for an object that is neither.
    """
    points = _found(TOOLS_GROUP)
    point = points.get(name)
    if point is None:
        raise ConfigError("tools", f"unknown tools {name!r}; known here: {', '.join(sorted(points)) or 'none'}")
    loaded = _load(point, "tools", name)
    tools = tuple(loaded) if isinstance(loaded, list | tuple) else (loaded,)
    if not tools or len(tools) > MAX_TOOLS or not all(callable(tool) for tool in tools):
        raise ConfigError("tools", f"{name!r} ({point.value}) is neither a callable nor a list of 1 to {MAX_TOOLS} callables")
    return tools


def missing_package(key: str, provider: str, module: str) -> ConfigError:
    """The error for a provider whose Python package is not installed, with the command that installs it."""
    command = PIP_COMMANDS.get(module.partition(".")[0], f"pip install {module.partition('.')[0]}")
    return ConfigError(key, f"{provider!r} needs the Python package {module!r}, which is not installed: {command}")


def _found(group: str) -> dict[str, EntryPoint]:
    return _look_up(entry_points, group)


@lru_cache(maxsize=32)
def _look_up(installed: Installed, group: str) -> dict[str, EntryPoint]:
    """Cached: every call asks. Callers must not modify it.

    Another package cannot take the name of an adapter of ours: it would get that vendor's keys.
    """
    points = sorted(_read(installed).select(group=group), key=_is_ours)
    found = {point.name: point for point in points}
    for point in points:
        if found[point.name] != point:
            log.warning("entry point left out: another one has its name", extra={"entry_point": point.name, "left_out": point.value})
    return found


def _is_ours(point: EntryPoint) -> bool:
    return point.value.partition(":")[0].partition(".")[0] == __name__.partition(".")[0]


@lru_cache(maxsize=1)
def _read(installed: Installed) -> EntryPoints:
    """All groups at once: reading the metadata of every installed package takes about 20 ms."""
    return installed()


def _load(point: EntryPoint, key: str, name: str) -> Any:
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise missing_package(key, name, error.name or "") from error
    except (Exception, SystemExit) as error:  # a wall: the code of another package
        raise ConfigError(key, f"{name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}") from error
