"""Synthesis over a vendor's HTTP API: one request for each text, with streamed sound.

A vendor's adapter builds the request (`request`) and says how to read the answer: as plain samples, as one JSON object, or as one line of
JSON for each piece. Knows no vendor.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, ClassVar, Final, Literal

import httpx
from msgspec import Struct, field
from msgspec.structs import replace

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.credentials import without_secrets
from active_call.providers.guarding.guard import Limits
from active_call.providers.http import error_text, lines_of, open_connection, status_error
from active_call.providers.json_values import read_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, SynthesisStream, TextToSpeechCapabilities
from active_call.providers.tts.vendors.spoken_text import SpokenText
from active_call.providers.tts.vendors.vendor_voice import rate_in
from active_call.providers.tts.whole_text import WholeTextStream

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024


class SpeechRequest(Struct, frozen=True):
    """One POST. `body` is JSON, or the text of another type (`content_type`)."""

    url: str
    body: Mapping[str, Any] | str
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class HttpTextToSpeech:
    """The base of a `TextToSpeech` over HTTP. An adapter sets the class variables and implements `request`, and `read` unless the answer is
    PCM.
    """

    name: ClassVar[str]
    can: ClassVar[TextToSpeechCapabilities] = TextToSpeechCapabilities(16_000)
    """The vendor's capabilities, with the default sample rate."""
    rates: ClassVar[tuple[int, ...]] = ()
    """The sample rates that the vendor supports; empty: not checked."""
    limits = Limits(next_result_s=5.0)
    answer: ClassVar[Literal["pcm", "object", "lines"]] = "pcm"

    def __init__(self, option: TtsOption, services: Services, url: str, key: str, secrets: tuple[str, ...] = ()) -> None:
        """Error messages never contain `key` or `secrets`. Raises ConfigError for a sample rate that the vendor does not support."""
        self.rate_hz = rate_in(option, self.rates, self.can.rate_hz)
        self.endpoint = url
        self._option = option
        self._key = key
        self._http = services.http
        self._secrets = (key, *secrets)

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return replace(self.can, rate_hz=self.rate_hz)

    def request(self, spoken: SpokenText) -> SpeechRequest:
        """The request for `spoken`."""
        raise NotImplementedError

    def read(self, answer: Mapping[str, Any]) -> SpeechChunk:
        """The sound of one JSON object. Raises ProviderError."""
        raise NotImplementedError

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> SynthesisStream:
        return WholeTextStream(lambda text: self._speak(SpokenText(text, "", speaker, speed)), self.rate_hz)

    async def connect_ahead(self) -> None:
        """Open a connection for the next text."""
        with contextlib.suppress(ConfigError, ProviderError):
            await open_connection(self._http, self.request(SpokenText("", "")).url)

    async def close(self) -> None:
        """Does nothing: the HTTP client belongs to the server."""

    def fail(self, reason: str, *, retryable: bool = False) -> ProviderError:
        """An error whose text contains no secret."""
        return ProviderError(self.name, without_secrets(reason, self._secrets), retryable=retryable)

    async def _speak(self, spoken: SpokenText) -> AsyncGenerator[SpeechChunk, None]:
        if not spoken.text.strip():
            return
        asked = self.request(spoken)
        content: dict[str, Any] = {"content": asked.body.encode()} if isinstance(asked.body, str) else {"json": dict(asked.body)}
        headers = {**asked.headers, "Content-Type": asked.content_type}
        timeout = httpx.Timeout(self.limits.first_result_s)
        async with self._http.stream("POST", asked.url, headers=headers, timeout=timeout, **content) as response:
            if not response.is_success:
                body = without_secrets(await error_text(response), self._secrets)
                raise status_error(self.name, response.status_code, body)
            async for chunk in self._chunks(response):
                if chunk.pcm or chunk.words:
                    yield chunk

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[SpeechChunk]:
        match self.answer:
            case "pcm":
                self._check_is_sound(response)
                async for piece in response.aiter_bytes():
                    yield SpeechChunk(piece)
            case "object":
                yield self.read(read_object(self.name, await self._whole(response)))
            case "lines":
                async for line in lines_of(self.name, response):
                    if line.strip():
                        yield self.read(read_object(self.name, line))

    def _check_is_sound(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("text/") or kind == "application/json":
            raise self.fail(f"sent {kind} instead of sound", retryable=True)

    async def _whole(self, response: httpx.Response) -> bytes:
        parts: list[bytes] = []
        async for piece in response.aiter_bytes():
            parts.append(piece)
            if sum(map(len, parts)) > MAX_ANSWER_BYTES:
                raise self.fail("the response is too long")
        return b"".join(parts)
