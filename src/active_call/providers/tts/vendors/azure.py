"""Synthesis by Azure AI Speech over its REST API, streamed as plain samples.

Wire: https://learn.microsoft.com/azure/ai-services/speech-service/rest-text-to-speech. The request is SSML; the text is escaped. Options:
`speaker` (en-US-AvaMultilingualNeural), `speed` 0.5 to 2, `volume`, `emotion` (a style), `language`, `samplerate`; `secret_key`
(AZURE_SPEECH_KEY), `endpoint` or `extra.region` (AZURE_SPEECH_REGION).
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape, quoteattr

from active_call.base.errors import ConfigError
from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.services import Services
from active_call.providers.text_to_speech import TextToSpeechCapabilities
from active_call.providers.tts.vendors.http_speech import HttpTextToSpeech, SpeechRequest
from active_call.providers.tts.vendors.spoken_text import SpokenText
from active_call.providers.tts.vendors.vendor_voice import MAX_VOLUME, speed_in
from active_call.providers.vendor_parameters import tag_of

NAME: Final = "azure"
PATH: Final = "/cognitiveservices/v1"
REGION_VARIABLE: Final = "AZURE_SPEECH_REGION"
SOURCE: Final = KeySource("Azure AI Speech", ("AZURE_SPEECH_KEY",), "https://portal.azure.com", ("microsoft.com", "azure.com"))
DEFAULT_VOICE: Final = "en-US-AvaMultilingualNeural"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
FORMATS: Final = {
    8_000: "raw-8khz-16bit-mono-pcm",
    16_000: "raw-16khz-16bit-mono-pcm",
    22_050: "raw-22050hz-16bit-mono-pcm",
    24_000: "raw-24khz-16bit-mono-pcm",
    44_100: "raw-44100hz-16bit-mono-pcm",
    48_000: "raw-48khz-16bit-mono-pcm",
}

CAPABILITIES: Final = TextToSpeechCapabilities(16_000, emotions=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Azure AI Speech",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://learn.microsoft.com/azure/ai-services/speech-service/rest-text-to-speech",
    prices="https://azure.microsoft.com/pricing/details/cognitive-services/speech-services/",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url="https://REGION.tts.speech.microsoft.com",
    default_model=DEFAULT_VOICE,
    options=(
        DeclaredOption("speaker", "the name of a voice", DEFAULT_VOICE),
        DeclaredOption("extra.region", f"such as westeurope; else {REGION_VARIABLE}"),
        DeclaredOption("speed", "0.5 to 2", "1.0"),
        DeclaredOption("emotion", "a style of the voice, such as cheerful"),
        DeclaredOption("samplerate", "8000 to 48000", "16000"),
    ),
)


def create(option: TtsOption, services: Services) -> AzureTextToSpeech:
    """The adapter. Raises ConfigError without a key, or without an endpoint and a region."""
    region = option.extra.get("region") or services.environment.get(REGION_VARIABLE)
    if not option.endpoint and not region:
        raise ConfigError(
            "tts.extra.region", f"missing; expected a region such as westeurope, here or in {REGION_VARIABLE}, or a URL in tts.endpoint"
        )
    url = find_url("tts", option.endpoint, f"https://{region}.tts.speech.microsoft.com{PATH}")
    return AzureTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class AzureTextToSpeech(HttpTextToSpeech):
    """Azure's REST API as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES

    def __init__(self, option: TtsOption, services: Services, url: str, key: str) -> None:
        super().__init__(option, services, url, key)
        self.model = "neural-hd" if "HD" in (option.speaker or option.model or DEFAULT_VOICE) else "neural"
        """The model name for billing."""

    def request(self, spoken: SpokenText) -> SpeechRequest:
        headers = {"Ocp-Apim-Subscription-Key": self._key, "X-Microsoft-OutputFormat": FORMATS[self.rate_hz], "User-Agent": "active-call"}
        return SpeechRequest(self.endpoint, self._ssml(spoken), headers, "application/ssml+xml")

    def _ssml(self, spoken: SpokenText) -> str:
        option = self._option
        voice = spoken.speaker or option.speaker or option.model or DEFAULT_VOICE
        language = tag_of(option.language) or "-".join(voice.split("-")[:2])
        said = escape(spoken.text)
        speed = speed_in(option, spoken.speed, 0.5, 2.0)
        prosody = [f"rate={quoteattr(f'{round((speed - 1) * 100):+d}%')}"] if speed is not None else []
        if option.volume is not None:
            prosody.append(f"volume={quoteattr(str(round(100 * option.volume / MAX_VOLUME)))}")
        if prosody:
            said = f"<prosody {' '.join(prosody)}>{said}</prosody>"
        if option.emotion:
            said = f"<mstts:express-as style={quoteattr(option.emotion)}>{said}</mstts:express-as>"
        names = 'xmlns="http://www.w3.org/2001/10/synthesis" xmlns:mstts="https://www.w3.org/2001/mstts"'
        return f'<speak version="1.0" {names} xml:lang={quoteattr(language)}><voice name={quoteattr(voice)}>{said}</voice></speak>'
