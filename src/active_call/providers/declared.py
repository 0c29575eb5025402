"""The declarations of all installed providers, and whether each can be used here, by entry points and environment.

Imports every adapter, so calls do not use it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.util import find_spec

from msgspec import Struct

from active_call.providers.declaration import KINDS, ProviderDeclaration
from active_call.providers.entry_points import PIP_COMMANDS, found_adapters

MODULES_OF_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "moonshine": ("moonshine_voice", "onnxruntime"),
    "piper": ("onnxruntime", "espeakng_loader"),
    "espeak": ("espeakng_loader",),
    "pocketsphinx": ("pocketsphinx",),
    "sherpa": ("sherpa_onnx",),
    "livekit": ("livekit",),
}
"""The packages that local engines import at first use."""


class Declared(Struct, frozen=True):
    """One provider, by its name in `provider`. `declaration` is None if the adapter has none or does not load."""

    kind: str
    name: str
    declaration: ProviderDeclaration | None
    is_own: bool = True
    """It belongs to this program, not to another package."""
    missing: str = ""
    """Why it cannot be used here and how to fix that; empty: it can be used."""


def declared_providers(environment: Mapping[str, str]) -> list[Declared]:
    """All providers, by kind and name. An alias is left out if the provider that it stands for is listed."""
    found: list[Declared] = []
    for kind in KINDS:
        for name, module in sorted(found_adapters(kind).items()):
            one = _declared(kind, name, module, environment)
            if one.declaration is None or one.declaration.name == name:
                found.append(one)
    return found


def _declared(kind: str, name: str, module: str, environment: Mapping[str, str]) -> Declared:
    is_own = module.startswith(f"{__name__.partition('.')[0]}.")
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        return Declared(kind, name, None, is_own, _package(error.name or module))
    declarations = getattr(loaded, "DECLARATIONS", None) or (getattr(loaded, "DECLARATION", None),)
    mine = next((one for one in declarations if one is not None and name in one.names), None)
    return Declared(kind, name, mine, is_own, _missing(mine, environment) if mine is not None else "")


def _missing(declaration: ProviderDeclaration, environment: Mapping[str, str]) -> str:
    for module in MODULES_OF_PACKAGES.get(declaration.name, ()):
        if find_spec(module) is None:
            return _package(module)
    unset = [key for key in declaration.keys if not environment.get(key)]
    if declaration.needs_all_keys:
        return f"needs {' and '.join(unset)} (made at {declaration.key_page})" if unset else ""
    if declaration.keys and len(unset) == len(declaration.keys):
        return f"needs {' or '.join(unset)} (made at {declaration.key_page})"
    return ""


def _package(module: str) -> str:
    return f"needs a package ({PIP_COMMANDS.get(module, f'pip install {module}')})"
