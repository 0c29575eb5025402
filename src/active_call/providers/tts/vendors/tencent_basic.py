"""Synthesis by Tencent Cloud's basic API: one request for each short text (`tencent_basic`).

Wire: https://cloud.tencent.com/document/product/1073/37995 (TextToVoice), signed by TC3-HMAC-SHA256. A text of more than 150 Chinese
characters or 500 letters is requested in parts. Options as for `tencent`, without `appId`, which this API does not need; and
`extra.Region`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from active_call.contract.options import TtsOption
from active_call.providers.accounts.tencent import KEY_PAGE, KEYS, TencentAccount, cloud_api_authorization, find_account
from active_call.providers.credentials import find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities, WordTime
from active_call.providers.tts.vendors.http_speech import HttpTextToSpeech, SpeechRequest
from active_call.providers.tts.vendors.socket_speech import parameters_in
from active_call.providers.tts.vendors.spoken_text import SpokenText
from active_call.providers.tts.vendors.tencent import DEFAULT_VOICE, OPTIONS, check_voice, voice_settings_of, words_of_subtitles
from active_call.providers.tts.vendors.vendor_voice import sound_in, without_wav_header

NAME: Final = "tencent_basic"
URL: Final = "https://tts.tencentcloudapi.com"
VERSION: Final = "2019-08-23"
DEFAULT_REGION: Final = "ap-guangzhou"
RATES: Final = (8_000, 16_000, 24_000)
MAX_WEIGHT: Final = 450
"""The limit of one request: a letter counts 1, a Chinese character 3."""
RETRYABLE: Final = ("RequestLimitExceeded", "InternalError", "ResourceUnavailable", "FailedOperation.ServerError")
"""Prefixes of error codes after which another attempt may work."""
_PARTS: Final = re.compile(r"[^.!?。！？;；,，\n]*[.!?。！？;；,，\n]*\s*")

CAPABILITIES: Final = TextToSpeechCapabilities(16_000, word_times=True, emotions=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Tencent Cloud basic synthesis",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://cloud.tencent.com/document/product/1073/37995",
    prices="https://cloud.tencent.com/document/product/1073/34112",
    keys=KEYS,
    needs_all_keys=True,
    key_page=KEY_PAGE,
    base_url=URL,
    default_model=DEFAULT_VOICE,
    options=(
        DeclaredOption("secretId, secretKey", "the account"),
        *OPTIONS,
        DeclaredOption("extra.Region", "the region of the service", DEFAULT_REGION, is_latency_knob=True),
    ),
    notes="The sound comes when the whole text is finished; tencent streams.",
)


def create(option: TtsOption, services: Services) -> TencentBasicTextToSpeech:
    """The adapter. Raises ConfigError without the two parts of an account, and for a voice that is not a number."""
    url = find_url("tts", option.endpoint, URL)
    secrets = {"secret_id": option.secret_id, "secret_key": option.secret_key}
    account = find_account("tts", url, services.environment, app_id=None, needs_app_id=False, **secrets)
    check_voice(option)
    return TencentBasicTextToSpeech(option, services, url, account)


class TencentBasicTextToSpeech(HttpTextToSpeech):
    """The basic API as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    answer = "object"

    def __init__(self, option: TtsOption, services: Services, url: str, account: TencentAccount) -> None:
        super().__init__(option, services, url, account.secret_key, account.secrets)
        self.model = option.speaker or DEFAULT_VOICE
        """For billing: the price depends on the voice."""
        self._account = account
        self._world = services.world

    async def _speak(self, spoken: SpokenText) -> AsyncGenerator[SpeechChunk, None]:
        began_ms = 0.0
        for part in parts_of(spoken.text):
            n_bytes = 0
            async for chunk in super()._speak(replace(spoken, text=part)):
                n_bytes += len(chunk.pcm)
                words = tuple(WordTime(word.text, word.start_ms + began_ms, word.end_ms + began_ms) for word in chunk.words)
                yield SpeechChunk(chunk.pcm, words)
            began_ms += n_bytes / 2 * 1000 / self.rate_hz

    def request(self, spoken: SpokenText) -> SpeechRequest:
        option = self._option
        body = write_object(
            {
                "Text": spoken.text,
                "SessionId": self._world.randomness.uuid(),
                "Codec": "pcm",
                "SampleRate": self.rate_hz,
                "EnableSubtitle": True,
                **voice_settings_of(option, spoken),
                **parameters_in(option.extra, "Region"),
            }
        )
        now, host = self._world.clock.utc_now(), urlsplit(self.endpoint).netloc
        headers = {
            "Authorization": cloud_api_authorization(self._account, host, body.encode(), now, "tts"),
            "X-TC-Action": "TextToVoice",
            "X-TC-Version": VERSION,
            "X-TC-Timestamp": str(int(now.timestamp())),
            "X-TC-Region": str(option.extra.get("Region", DEFAULT_REGION)),
        }
        return SpeechRequest(self.endpoint, body, headers)

    def read(self, answer: Mapping[str, Any]) -> SpeechChunk:
        response = mapping(answer.get("Response"))
        if error := mapping(response.get("Error")):
            code = text(error.get("Code"))
            raise self.fail(f"{code}: {text(error.get('Message')) or 'no explanation'}", retryable=code.startswith(RETRYABLE))
        pcm = without_wav_header(sound_in(NAME, response.get("Audio"))) if response.get("Audio") else b""
        return SpeechChunk(pcm, words_of_subtitles(response.get("Subtitles")))


def parts_of(said: str) -> Iterator[str]:
    """`said` in parts for one request each, cut after punctuation if there is any, else after a space or anywhere."""
    part = ""
    for clause in _PARTS.findall(said):
        if part and _weight(part + clause) > MAX_WEIGHT:
            yield part
            part = ""
        part += clause
        while _weight(part) > MAX_WEIGHT:
            n_chars = next(n for n in range(len(part), 0, -1) if _weight(part[:n]) <= MAX_WEIGHT)
            n_chars = part.rfind(" ", 1, n_chars) + 1 or n_chars
            yield part[:n_chars]
            part = part[n_chars:]
    if part.strip():
        yield part


def _weight(said: str) -> int:
    return sum(1 if char < "\u2000" else 3 for char in said)
