"""The recognition adapters that the suite judges, each with its simulated vendor. A new adapter adds a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from active_call.contract.options import AsrOption
from active_call.testing.vendors.stt.aliyun import DashScopeServer
from active_call.testing.vendors.stt.assemblyai import AssemblyAiServer
from active_call.testing.vendors.stt.azure import AzureSpeechServer
from active_call.testing.vendors.stt.cartesia import InkServer
from active_call.testing.vendors.stt.deepgram import DeepgramServer
from active_call.testing.vendors.stt.elevenlabs import ScribeServer
from active_call.testing.vendors.stt.gladia import GladiaServer
from active_call.testing.vendors.stt.openai_transcription import OpenAiTranscriptionServer
from active_call.testing.vendors.stt.soniox import SonioxServer
from active_call.testing.vendors.stt.speechmatics import SpeechmaticsServer
from active_call.testing.vendors.stt.tencent import TencentServer
from active_call.testing.vendors.wire.server import VendorServer
from active_call.testing.vendors.wire.transcription import GoogleServer, TranscriptionServer


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

    path: str = ""

    def option(self, server: VendorServer, **more: Any) -> AsrOption:
        """The option that leads to `server`, with the right key."""
        url = server.ws_url if self.scheme == "ws" else server.http_url
        settings = {"endpoint": url + self.path, "secret_key": server.key, **self.settings, **more}
        return AsrOption(provider=self.provider, **settings)

    def __str__(self) -> str:
        return self.name


CASES = [
    SttCase("deepgram", "deepgram", DeepgramServer),
    SttCase("deepgram-flux", "deepgram", DeepgramServer, {"model_type": "flux-general-en", "extra": {"eager_eot_threshold": 0.4}}),
    SttCase("openai-realtime", "openai-realtime", OpenAiTranscriptionServer, {"model_type": "gpt-live-transcribe"}),
    SttCase("assemblyai", "assemblyai", AssemblyAiServer),
    SttCase("elevenlabs", "elevenlabs", ScribeServer),
    SttCase("cartesia", "cartesia", InkServer),
    SttCase("soniox", "soniox", SonioxServer),
    SttCase("speechmatics", "speechmatics", SpeechmaticsServer),
    SttCase("gladia", "gladia", GladiaServer, scheme="http"),
    SttCase("azure", "azure", AzureSpeechServer),
    SttCase("aliyun", "aliyun", DashScopeServer),
    SttCase("tencent", "tencent", TencentServer, {"app_id": TencentServer.app_id, "secret_id": TencentServer.secret_id}),
    SttCase("groq", "groq", TranscriptionServer, scheme="http", is_streaming=False, path="/v1"),
    SttCase("whisper", "whisper", TranscriptionServer, scheme="http", is_streaming=False, path="/v1"),
    SttCase("google", "google", GoogleServer, scheme="http", is_streaming=False),
]
VARIANTS = [
    SttCase("deepgram-mulaw", "deepgram", DeepgramServer, {"samplerate": 8000, "extra": {"encoding": "mulaw"}}),
    SttCase(
        "openai-realtime-mulaw", "openai-realtime", OpenAiTranscriptionServer, {"samplerate": 8000, "model_type": "gpt-live-transcribe"}
    ),
    SttCase("assemblyai-mulaw", "assemblyai", AssemblyAiServer, {"samplerate": 8000, "extra": {"encoding": "mulaw"}}),
    *(
        SttCase(f"{name}-mulaw", name, vendor, {"samplerate": 8000, "extra": {"encoding": "mulaw"}}, scheme)
        for name, vendor, scheme in (
            ("elevenlabs", ScribeServer, "ws"),
            ("cartesia", InkServer, "ws"),
            ("azure", AzureSpeechServer, "ws"),
            ("soniox", SonioxServer, "ws"),
            ("speechmatics", SpeechmaticsServer, "ws"),
            ("gladia", GladiaServer, "http"),
        )
    ),
]
"""Other ways to send the same sound."""
STREAMING = [case for case in CASES if case.is_streaming]
