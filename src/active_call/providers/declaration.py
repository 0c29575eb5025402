"""What an adapter declares about itself beside its `create`: for `docs/providers.md`, `active-call providers` and the doctor.

A module of an adapter holds `DECLARATION`. It says what is true of the adapter and the vendor's service as documented; nothing here is
read in a call. Facts that change (prices) are not declared, only the page that tells them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from active_call.providers.chat import ChatModelCapabilities
from active_call.providers.realtime_model import RealtimeCapabilities
from active_call.providers.speech_to_text import SpeechToTextCapabilities
from active_call.providers.text_to_speech import TextToSpeechCapabilities

Capabilities = SpeechToTextCapabilities | TextToSpeechCapabilities | ChatModelCapabilities | RealtimeCapabilities

KINDS: Final = ("asr", "tts", "llm", "realtime")
TRANSPORTS: Final = ("WebSocket", "HTTP", "gRPC", "local")


@dataclass(frozen=True, slots=True)
class DeclaredOption:
    """An option that the adapter reads: its name as a config file has it (`model`, `extra.eot_threshold`), and what it does."""

    name: str
    meaning: str
    default: str = ""
    """As text, empty: the vendor's own default."""
    is_latency_knob: bool = False
    """It trades the time until an answer for something else; `meaning` says what."""


@dataclass(frozen=True, slots=True)
class ProviderDeclaration:
    """One provider. Raises ValueError for a declaration that cannot be printed (unknown kind, missing pages)."""

    kind: str
    """The section in config: one of `KINDS`."""
    name: str
    """The entry point, which `provider` takes."""
    title: str
    """The vendor and the service, as people call them."""
    capabilities: Capabilities
    transport: str
    """One of `TRANSPORTS`."""
    documentation: str
    """The page that describes the wire."""
    prices: str = ""
    """The page that tells the prices; empty for what runs on this machine."""
    keys: tuple[str, ...] = ()
    """Environment variables with the credentials, the first one the most usual."""
    key_page: str = ""
    """Where a key is made."""
    base_url: str = ""
    """The server that is asked unless the option names another one."""
    default_model: str = ""
    options: tuple[DeclaredOption, ...] = ()
    aliases: tuple[str, ...] = ()
    """Further entry points for the same adapter."""
    package: str = ""
    """What `pip install` must be told beside this program; empty: nothing."""
    notes: str = ""
    """What a reader must know beside that, in a sentence or two."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.transport not in TRANSPORTS:
            raise ValueError(f"{self.name}: kind is one of {KINDS} and transport one of {TRANSPORTS}")
        if self.transport != "local" and not (self.prices.startswith("https://") and self.documentation.startswith("https://")):
            raise ValueError(f"{self.name}: a service has a page of documentation and one of prices")

    @property
    def names(self) -> tuple[str, ...]:
        """All names that `provider` takes for it."""
        return (self.name, *self.aliases)

    @property
    def latency_knobs(self) -> tuple[DeclaredOption, ...]:
        return tuple(option for option in self.options if option.is_latency_knob)
