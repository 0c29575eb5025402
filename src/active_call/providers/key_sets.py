"""Key sets: keys of providers under a name, such as those of one customer, which calls use instead of the environment's.

Tables of the config file enter (`[keys.acme]`, `openai = "…"`); the environment of a call leaves: that of the server with the variables of
the set over it. A key is named by its provider, or by a variable as the adapters declare it (`TENCENT_SECRET_ID`). Imports no adapter.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

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
"""The variables of a provider's key, where it is not `NAME_API_KEY`. All of them are set, so that none of the environment's is used."""
WITHOUT_KEYS: Final = frozenset(
    {"espeak", "livekit", "moonshine", "piper", "pocketsphinx", "sensevoice", "sherpa", "supertonic", "whisper"}
)
"""Names of providers that take no key from the environment."""
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")

Table = Mapping[str, str]
"""Keys by provider or variable, as the config file has them."""


def variables_of_set(name: str, table: Table, providers: Sequence[str]) -> dict[str, str]:
    """The variables that the set `name` comes to. Raises ConfigError for a provider that is not among `providers`, and for an empty key."""
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


@dataclass(frozen=True, slots=True)
class KeySet:
    """What the providers of a call find their keys in. `mark` tells sets of other keys apart; it is a secret, as the keys are."""

    environment: Mapping[str, str]
    choices: Choices
    mark: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class KeySets:
    """The key sets of this server by name. `environment` is the server's; what changes there counts for every set."""

    environment: Mapping[str, str]
    _sets: dict[str, KeySet] = field(default_factory=dict)
    _base: KeySet = field(init=False)

    def __post_init__(self) -> None:
        self._base = KeySet(self.environment, Choices(self.environment))

    def use(self, variables: Mapping[str, Mapping[str, str]]) -> None:
        """Go by these sets from now on: variables by the names of sets."""
        self._sets = {name: self._made(name, dict(own)) for name, own in variables.items()}

    def _made(self, name: str, own: dict[str, str]) -> KeySet:
        mark = tuple(sorted(own.items()))
        before = self._sets.get(name)
        if before is not None and before.mark == mark:
            return before
        environment = ChainMap(own, cast("MutableMapping[str, str]", self.environment))  # it is read only
        return KeySet(environment, Choices(environment), mark)

    def of(self, name: str) -> KeySet:
        """The set `name`; empty: the environment alone. Raises ConfigError for an unknown one."""
        if not name:
            return self._base
        found = self._sets.get(name)
        if found is None:
            raise ConfigError("keys", unknown_set(name, self._sets))
        return found


def unknown_set(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """What is wrong with a name that no set has."""
    return f"there is no key set {name!r}; the config file has: {', '.join(sorted(known)) or 'none'} ([keys.NAME])"
