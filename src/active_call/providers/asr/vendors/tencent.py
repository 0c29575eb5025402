"""Recognition by Tencent Cloud's realtime ASR.

Wire: https://cloud.tencent.com/document/product/1093/48982. The address carries every parameter and a signature (base64 of the HMAC-SHA1
over host, path and sorted query); sound goes as binary frames, results come with `slice_type` 0 (begun), 1 (so far) and 2 (finished). The
vendor ends sentences by its own pause detection; `{"type": "end"}` ends the session. Options: `appId`, `secretId`, `secretKey`, `model`
(the engine), `language`, `keyterms`, `endpointing`; `extra` is sent as further parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.accounts.tencent import APP_ID, KEY_PAGE, KEYS, LIFETIME_S, NAME, find_account, signed_url
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, mappings, number, text
from active_call.providers.services import Services
from active_call.providers.speech_to_text import SpeechToTextCapabilities
from active_call.providers.vendor_parameters import OURS, base_language

URL: Final = "wss://asr.cloud.tencent.com/asr/v2"
DEFAULT_ENGINE: Final = "16k_zh"
TELEPHONE_ENGINE: Final = "8k_zh"
ENGINES: Final = {
    "zh": "16k_zh", "en": "16k_en", "yue": "16k_yue", "ja": "16k_ja", "ko": "16k_ko", "vi": "16k_vi", "ms": "16k_ms", "id": "16k_id",
    "fil": "16k_fil", "th": "16k_th", "pt": "16k_pt", "tr": "16k_tr", "ar": "16k_ar", "es": "16k_es", "hi": "16k_hi", "fr": "16k_fr",
    "de": "16k_de",
}  # fmt: skip
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, sample_rates=(8_000, 16_000), phrases=True)
DEFAULT_PAUSE_MS: Final = 300
"""Shorter than the pause after which the voice detector ends an utterance; 240 is the vendor's minimum."""
MAX_TERMS: Final = 128
MAX_TERM_CHARS: Final = 30
RETRYABLE: Final = frozenset({4006, 4008, 4009})
"""Codes below 5000 after which another connection may work: too many connections, no sound, a lost client."""

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Tencent Cloud realtime ASR",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://cloud.tencent.com/document/product/1093/48982",
    prices="https://cloud.tencent.com/document/product/1093/35686",
    keys=(*KEYS, *APP_ID.variables),
    needs_all_keys=True,
    key_page=KEY_PAGE,
    base_url=URL,
    default_model=DEFAULT_ENGINE,
    options=(
        DeclaredOption("appId, secretId, secretKey", "the account"),
        DeclaredOption("model", "the engine, such as 16k_zh, 16k_en, 8k_zh, 16k_zh_large", "by the language"),
        DeclaredOption("language", "selects the engine"),
        DeclaredOption("keyterms", "expected words, 128 at most, each of 30 characters"),
        DeclaredOption(
            "endpointing", "ms of silence after which a sentence ends, 240 to 2000", str(DEFAULT_PAUSE_MS), is_latency_knob=True
        ),
        DeclaredOption("extra.*", "any other parameter, such as filter_dirty or hotword_id"),
    ),
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without the three parts of an account."""
    url = find_url("asr", option.endpoint, URL)
    account = find_account("asr", url, services.environment, app_id=option.app_id, secret_id=option.secret_id, secret_key=option.secret_key)
    sound = chosen_format(option, WIDE, SoundFormat(8_000))
    setup = Setup(option, f"{url}/{account.app_id}", account.secret_key, sound, account.secret_id)
    return StreamingSpeechToText(TencentRecognition, CAPABILITIES, services, setup)


class TencentRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    packet_ms = 100
    waits_for_ready = True
    ends_by_itself = True

    async def address(self) -> Address:
        option, secret_id = self._option, self._setup.account
        world = self._services.world
        now = int(world.clock.utc_now().timestamp())
        pause_ms = DEFAULT_PAUSE_MS if option.endpointing is None else min(2_000, max(240, round(option.endpointing)))
        parameters: dict[str, Any] = {
            "secretid": secret_id,
            "timestamp": now,
            "expired": now + LIFETIME_S,
            "nonce": int(world.randomness.uniform(1, 2_000_000_000)),
            "engine_model_type": option.model_type or self._engine(),
            "voice_id": world.randomness.uuid(),
            "voice_format": 1,
            "needvad": 1,
            "vad_silence_time": pause_ms,
            "word_info": 1,
            "filter_modal": 0,
        }
        if terms := terms_of(option, self._phrases, MAX_TERMS):
            parameters["hotword_list"] = ",".join(f"{_clean(term)}|10" for term in terms)
        parameters.update({key: value for key, value in option.extra.items() if key not in OURS})
        return Address(signed_url(self._url, parameters, self._key), secrets=(self._key, secret_id))

    def _engine(self) -> str:
        language = base_language(self._language)
        if self._sound.rate_hz == 8_000 and language in (None, "zh"):
            return TELEPHONE_ENGINE
        return ENGINES.get(language or "zh", f"16k_{language}")

    def closing(self) -> Sequence[Message]:
        return ('{"type":"end"}',)

    def handle(self, message: Mapping[str, Any]) -> None:
        code = number(message.get("code"))
        if code:
            reason = without_secrets(f"{code:g}: {text(message.get('message')) or 'no explanation'}", self._secrets)
            raise ProviderError(NAME, reason, retryable=code >= 5_000 or int(code) in RETRYABLE)
        if not self._ready.is_set():
            self.note_ready()
        result = mapping(message.get("result"))
        transcript = text(result.get("voice_text_str"))
        if not transcript:
            return
        words = tuple(
            self.word(text(word.get("word")), _seconds(word.get("start_time")), _seconds(word.get("end_time")))
            for word in mappings(result.get("word_list"))
        )
        start = self.sample_at(_seconds(result.get("start_time")))
        segment = Segment(transcript, start, max(start, self.sample_at(_seconds(result.get("end_time")))), None, words)
        if result.get("slice_type") == 2:
            self.note_turn_final(segment)
        else:
            self.note_interim(segment)


def _clean(term: str) -> str:
    return term.replace("|", " ").replace(",", " ")[:MAX_TERM_CHARS]


def _seconds(milliseconds: Any) -> float | None:
    value = number(milliseconds)
    return None if value is None else value / 1000
