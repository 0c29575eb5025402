"""The recognition adapters that the suite judges, each with its simulated vendor. A new adapter adds a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from active_call.contract.options import AsrOption
from active_call.testing.vendors.deepgram import DeepgramServer
from active_call.testing.vendors.server import VendorServer


@dataclass(frozen=True, slots=True)
class SttCase:
    """One adapter (`provider`), as it is configured by `settings`, against its vendor."""

    name: str
    provider: str
    vendor: Callable[[], VendorServer]
    settings: Mapping[str, Any] = field(default_factory=dict)
    scheme: str = "ws"
    is_streaming: bool = True
    """It listens while the caller speaks; else it transcribes whole utterances."""

    def option(self, server: VendorServer, **more: Any) -> AsrOption:
        """The option that leads to `server`, with the right key."""
        url = server.ws_url if self.scheme == "ws" else server.http_url
        settings = {"endpoint": url, "secret_key": server.key, **self.settings, **more}
        return AsrOption(provider=self.provider, **settings)

    def __str__(self) -> str:
        return self.name


CASES = [
    SttCase("deepgram", "deepgram", DeepgramServer),
    SttCase("deepgram-flux", "deepgram", DeepgramServer, {"model_type": "flux-general-en", "extra": {"eager_eot_threshold": 0.4}}),
]
VARIANTS = [
    SttCase("deepgram-mulaw", "deepgram", DeepgramServer, {"samplerate": 8000, "extra": {"encoding": "mulaw"}}),
]
"""Other ways to send the same sound."""
STREAMING = [case for case in CASES if case.is_streaming]
