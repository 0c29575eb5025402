"""What an adapter declares about itself besides `create`: for `docs/providers.md`, `active-call providers` and the doctor.

An adapter's module holds `DECLARATION`. It states facts about the adapter and the vendor's documented service; no call reads it. Prices
change, so only the address of the price page is declared.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from active_call.providers.chat import ChatModelCapabilities
from active_call.providers.realtime_model import RealtimeCapabilities
from active_call.providers.speech_to_text import SpeechToTextCapabilities
from active_call.providers.text_to_speech import TextToSpeechCapabilities

Capabilities = SpeechToTextCapabilities | TextToSpeechCapabilities | ChatModelCapabilities | RealtimeCapabilities

KINDS: Final = ("asr", "tts", "llm", "realtime")
TRANSPORTS: Final = ("WebSocket", "HTTP", "gRPC", "local")


class DeclaredOption(Struct, frozen=True):
    """An option that the adapter reads: its name as in a config file (`model`, `extra.eot_threshold`), and its effect."""

    name: str
    meaning: str
    default: str = ""
    """The default as text. Empty: the vendor's default."""
    is_latency_knob: bool = False
    """The option trades response time for something else; `meaning` says what."""


class ProviderDeclaration(Struct, frozen=True):
    """One provider. Raises ValueError for a declaration that cannot be printed (unknown kind, missing pages)."""

    kind: str
    """The config section: one of `KINDS`."""
    name: str
    """The entry point, as `provider` names it."""
    title: str
    """The common name of vendor and service."""
    capabilities: Capabilities
    transport: str
    """One of `TRANSPORTS`."""
    documentation: str
    """The page that documents the protocol."""
    prices: str = ""
    """The page with the prices; empty for local engines."""
    keys: tuple[str, ...] = ()
    """Environment variables for the credentials, the usual one first."""
    needs_all_keys: bool = False
    """All of `keys` are needed; else any one of them."""
    key_page: str = ""
    """The page that issues keys."""
    base_url: str = ""
    """The server used unless the option names another one."""
    default_model: str = ""
    options: tuple[DeclaredOption, ...] = ()
    aliases: tuple[str, ...] = ()
    """Further entry points for the same adapter."""
    package: str = ""
    """The argument of `pip install` that this adapter needs in addition; empty: none."""
    notes: str = ""
    """Further notes for the reader, in one or two sentences."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.transport not in TRANSPORTS:
            raise ValueError(f"{self.name}: kind is one of {KINDS} and transport one of {TRANSPORTS}")
        if self.transport != "local" and not (self.prices.startswith("https://") and self.documentation.startswith("https://")):
            raise ValueError(f"{self.name}: a service has a page of documentation and one of prices")

    @property
    def names(self) -> tuple[str, ...]:
        """All names that `provider` accepts for it."""
        return (self.name, *self.aliases)
