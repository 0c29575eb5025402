"""Key sets: named sets of provider keys, such as the keys of one customer. A call with a key set uses them instead of the environment's.

In: tables of the config file (`[keys.acme]`, `openai = "…"`). Out: the environment of a call, which is the server's environment overridden
by the variables of the set. A key is named by its provider, or by a variable that an adapter declares (`TENCENT_SECRET_ID`). Imports no
adapter.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from msgspec import Struct

from active_call.base.errors import ConfigError
from active_call.providers.choices import Choices
from active_call.providers.openai_settings import SERVER_KEYS

VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "aliyun": ("DASHSCOPE_API_KEY",),
    "azure": ("AZURE_SPEECH_KEY", "SPEECH_KEY"),
    "azure-openai": ("AZURE_OPENAI_API_KEY",),
    "cosyvoice": ("DASHSCOPE_API_KEY",),
    "elevenlabs": ("ELEVENLABS_API_KEY", "ELEVEN_API_KEY"),
    "google": ("GOOGLE_SPEECH_API_KEY", "GOOGLE_API_KEY"),
    **{variable.removesuffix("_API_KEY").lower().replace("_", "-"): (variable,) for variable in SERVER_KEYS.values()},
    "openai-realtime": ("OPENAI_API_KEY",),
    "openai-responses": ("OPENAI_API_KEY",),
    "tencent": ("TENCENT_SECRET_KEY",),
    "tencent-basic": ("TENCENT_SECRET_KEY",),
}
"""The variables of a provider's key if they differ from `NAME_API_KEY`. A set overrides all of them, so the environment's are not used."""
WITHOUT_KEYS: Final = frozenset(
    {"espeak", "livekit", "moonshine", "piper", "pocketsphinx", "sensevoice", "sherpa", "supertonic", "whisper"}
)
"""The providers that read no key from the environment."""
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")

Table = Mapping[str, str]
"""A table of the config file: keys by provider or variable."""


def variables_of_set(name: str, table: Table, providers: Sequence[str]) -> dict[str, str]:
    """The variables of the set `name`. Raises ConfigError for a provider that is not among `providers`, and for an empty key."""
    found: dict[str, str] = {}
    for given, key in table.items():
        place = f"keys.{name}.{given}"
        if not key.strip():
            raise ConfigError(place, "is empty; leave it out where the environment's key is to be used")
        provider = given.lower().replace("_", "-")
        if _VARIABLE.fullmatch(given):
            found[given] = key.strip()
            continue
        known = {each.replace("_", "-") for each in providers} - WITHOUT_KEYS | VARIABLES.keys()
        if provider not in known:
            raise ConfigError(
                place, f"unknown provider; expected a variable such as TENCENT_SECRET_ID, or one of {', '.join(sorted(known))}"
            )
        for variable in VARIABLES.get(provider, (f"{provider.upper().replace('-', '_')}_API_KEY",)):
            found.setdefault(variable, key.strip())
    return found


class KeySet(Struct, frozen=True):
    """The environment from which the providers of a call read their keys. `mark` identifies the keys; it is a secret, as they are."""

    environment: Mapping[str, str]
    choices: Choices
    mark: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class KeySets:
    """The key sets of this server by name. `environment` is the server's; its changes apply to every set."""

    environment: Mapping[str, str]
    _sets: dict[str, KeySet] = field(default_factory=dict)
    _base: KeySet = field(init=False)

    def __post_init__(self) -> None:
        self._base = KeySet(self.environment, Choices(self.environment))

    def use(self, variables: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the sets. `variables`: the variables of each set, by its name."""
        self._sets = {name: self._made(name, dict(own)) for name, own in variables.items()}

    def _made(self, name: str, own: dict[str, str]) -> KeySet:
        mark = tuple(sorted(own.items()))
        before = self._sets.get(name)
        if before is not None and before.mark == mark:
            return before
        environment = ChainMap(own, cast("MutableMapping[str, str]", self.environment))  # only read
        return KeySet(environment, Choices(environment), mark)

    def of(self, name: str) -> KeySet:
        """The set `name`, or the environment alone if `name` is empty. Raises ConfigError for an unknown name."""
        if not name:
            return self._base
        found = self._sets.get(name)
        if found is None:
            raise ConfigError("keys", unknown_set(name, self._sets))
        return found


def unknown_set(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """The error message for an unknown name."""
    return f"there is no key set {name!r}; the config file has: {', '.join(sorted(known)) or 'none'} ([keys.NAME])"
