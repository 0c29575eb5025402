"""Synthesis by OpenAI's speech API, or any server that speaks it (Kokoro-FastAPI, speaches, openedai-speech …), streamed.

Text enters, sound at 24 kHz leaves as it arrives. API: `POST {base}/audio/speech` with `response_format: pcm` (s16le, 24 kHz, mono).
Options: `speaker` (alloy), `model` (gpt-4o-mini-tts), `speed` 0.25 to 4, `endpoint` (base URL), `api_key`; `emotion` becomes
`instructions`; `extra` is sent as further fields, except `pcm_rate_hz`, the rate of a server that does not send 24 kHz.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Limits
from active_call.providers.http import check_status, open_connection
from active_call.providers.openai_settings import KEY_VARIABLE, OPENAI_URL, Server, find_server
from active_call.providers.services import Services
from active_call.providers.text_to_speech import TextToSpeechCapabilities
from active_call.providers.tts.whole_text import WholeTextToSpeech

NAME = "openai"
DEFAULT_MODEL = "gpt-4o-mini-tts"
DEFAULT_VOICE = "alloy"
OPENAI_VOICES = frozenset(
    {"alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"}
)
RATE_HZ = 24_000
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 48_000
MIN_SPEED, MAX_SPEED = 0.25, 4.0
"""The API's own limits."""


DECLARATION = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="OpenAI, and any server with its speech API",
    capabilities=TextToSpeechCapabilities(RATE_HZ, speakers=tuple(sorted(OPENAI_VOICES)), emotions=True),
    transport="HTTP",
    documentation="https://platform.openai.com/docs/api-reference/audio/createSpeech",
    prices="https://openai.com/api/pricing",
    keys=(KEY_VARIABLE,),
    key_page="https://platform.openai.com/api-keys",
    base_url=OPENAI_URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("speaker", "a voice", DEFAULT_VOICE),
        DeclaredOption("model", "tts-1 is faster and plainer", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("speed", "0.25 to 4", "1.0"),
        DeclaredOption("emotion", "how to say it"),
        DeclaredOption("extra.pcm_rate_hz", "the sample rate of your own server", str(RATE_HZ)),
    ),
)


def create(option: TtsOption, services: Services) -> OpenAiTextToSpeech:
    """The adapter. Raises ConfigError without a key for OpenAI itself, or for a speed out of range."""
    if option.speed is not None and not MIN_SPEED <= option.speed <= MAX_SPEED:
        raise ConfigError("tts.speed", f"expected {MIN_SPEED} to {MAX_SPEED}, found {option.speed}")
    return OpenAiTextToSpeech(option, find_server("tts", option.endpoint, option.secret_key, services.environment), services.http)


class OpenAiTextToSpeech(WholeTextToSpeech):
    """A speech API as a `TextToSpeech`."""

    name = NAME
    limits = Limits(next_result_s=5.0)

    def __init__(self, option: TtsOption, server: Server, http: httpx.AsyncClient) -> None:
        extra = dict(option.extra)
        self.rate_hz = _rate_of(extra.pop("pcm_rate_hz", RATE_HZ))
        self._http = http
        self._server = server
        self.endpoint = server.base_url
        model, voice = _model_and_voice(option)
        self.model = model
        self._voice = voice
        self._speed = option.speed
        self._body: dict[str, Any] = {"model": model, "response_format": "pcm", **extra}
        if option.emotion:
            self._body.setdefault("instructions", f"Speak in a {option.emotion} tone.")

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        moods = not str(self._body["model"]).startswith("tts-1")  # the older models accept no instructions
        return TextToSpeechCapabilities(self.rate_hz, speakers=tuple(sorted(OPENAI_VOICES)), emotions=moods)

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        if not text.strip():
            return
        body = {**self._body, "input": text, "voice": speaker or self._voice}
        speed = speed if speed is not None else self._speed
        if speed is not None:
            body["speed"] = min(MAX_SPEED, max(MIN_SPEED, speed))
        url = f"{self._server.base_url}/audio/speech"
        timeout = httpx.Timeout(self.limits.first_result_s)
        async with self._http.stream("POST", url, json=body, headers=self._server.headers, timeout=timeout) as response:
            await check_status(NAME, response)
            _check_is_pcm(response.headers.get("content-type", ""))
            odd = b""
            async for chunk in response.aiter_bytes():
                sound = odd + chunk
                n_even = len(sound) & ~1
                odd = sound[n_even:]
                if n_even:
                    yield sound[:n_even]

    async def connect_ahead(self) -> None:
        """Open a connection for the next text."""
        await open_connection(self._http, self.endpoint)

    async def close(self) -> None:
        """Does nothing: the HTTP client belongs to the server."""


def _model_and_voice(option: TtsOption) -> tuple[str, str]:
    """In the contract `voice` is another name of `model`. If it holds one of OpenAI's voices, it is used as the voice."""
    if option.model in OPENAI_VOICES:
        return DEFAULT_MODEL, option.speaker or option.model
    return option.model or DEFAULT_MODEL, option.speaker or DEFAULT_VOICE


def _rate_of(value: Any) -> int:
    """A rate from the options. Raises ConfigError."""
    try:
        rate_hz = int(value)
    except (TypeError, ValueError, OverflowError):
        rate_hz = 0
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ConfigError("tts.extra.pcm_rate_hz", f"expected {MIN_RATE_HZ} to {MAX_RATE_HZ}, found {value!r}")
    return rate_hz


def _check_is_pcm(content_type: str) -> None:
    """Refuse data that would sound as noise: servers that ignore `response_format` send MP3, and some send errors as JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind in ("application/json", "audio/mpeg", "audio/mp3", "audio/ogg", "audio/wav", "audio/x-wav"):
        raise ProviderError(NAME, f"the server sent {kind} instead of PCM")
