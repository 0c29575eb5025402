"""The synthesis vendors of the suite: the simulator of each, and how an option leads to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from active_call.contract.options import TtsOption
from active_call.testing.vendors.tts.azure import AzureSpeechServer
from active_call.testing.vendors.tts.cartesia import CartesiaSpeechServer
from active_call.testing.vendors.tts.cosyvoice import CosyVoiceServer
from active_call.testing.vendors.tts.deepgram import DeepgramSpeechServer
from active_call.testing.vendors.tts.elevenlabs import ElevenLabsSpeechServer
from active_call.testing.vendors.tts.google import GoogleSpeechServer
from active_call.testing.vendors.tts.hume import HumeServer
from active_call.testing.vendors.tts.inworld import InworldServer
from active_call.testing.vendors.tts.rime import RimeServer
from active_call.testing.vendors.tts.tencent import TencentBasicServer, TencentSpeechServer
from active_call.testing.vendors.tts.voiceapi import VoiceApiServer
from active_call.testing.vendors.wire.server import VendorServer


@dataclass(frozen=True)
class TtsCase:
    """One vendor. `keeps`: its connections are used for several texts. `words`: it tells when each word sounds."""

    provider: str
    server: Callable[[], VendorServer]
    variable: str
    """The environment's variable with the key; empty: a server of one's own, which needs none."""
    keeps: bool = True
    words: bool = False
    is_socket: bool = True
    is_whole: bool = False
    """All of the sound comes at once."""
    option: Mapping[str, Any] = field(default_factory=dict)

    def option_for(self, server: VendorServer, **more: Any) -> TtsOption:
        """An option that leads to `server`."""
        url = server.ws_url if self.is_socket else server.http_url
        return TtsOption(provider=self.provider, **{"endpoint": url, "secret_key": server.key, **self.option, **more})


CASES = [
    TtsCase("deepgram", DeepgramSpeechServer, "DEEPGRAM_API_KEY"),
    TtsCase("elevenlabs", ElevenLabsSpeechServer, "ELEVENLABS_API_KEY", words=True),
    TtsCase("cartesia", CartesiaSpeechServer, "CARTESIA_API_KEY", words=True),
    TtsCase("azure", AzureSpeechServer, "AZURE_SPEECH_KEY", is_socket=False, option={"extra": {"region": "westeurope"}}),
    TtsCase("google", GoogleSpeechServer, "GOOGLE_API_KEY", is_socket=False, is_whole=True),
    TtsCase("inworld", InworldServer, "INWORLD_API_KEY", words=True),
    TtsCase("hume", HumeServer, "HUME_API_KEY", is_socket=False),
    TtsCase("rime", RimeServer, "RIME_API_KEY", words=True),
    TtsCase("aliyun", CosyVoiceServer, "DASHSCOPE_API_KEY", words=True),
    TtsCase(
        "tencent",
        TencentSpeechServer,
        "TENCENT_SECRET_KEY",
        keeps=False,
        words=True,
        option={"app_id": TencentSpeechServer.app_id, "secret_id": TencentSpeechServer.secret_id},
    ),
    TtsCase(
        "tencent_basic",
        TencentBasicServer,
        "TENCENT_SECRET_KEY",
        words=True,
        is_socket=False,
        is_whole=True,
        option={"secret_id": TencentBasicServer.secret_id},
    ),
    TtsCase("voiceapi", VoiceApiServer, "", keeps=False),
]
